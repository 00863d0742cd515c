"""Run every bundle in replicas of AWS's containers, as AWS would, and the artifact under Ray Serve.

Each starts in a fresh copy of its environment, installs its requirements and runs on small pictures: once
with the package index and once, as with package_source = "bundle", without one.
benchmarks/replicas/environment.sh makes the environments.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from benchmarks.replicas.account import CONFIG, ENDPOINT, account
from benchmarks.replicas.containers import ROOT, CheckError, Container, start, wait_for
from entrypoints.contract import (
    ENGINES,
    EVALUATION,
    GATE,
    MODEL_ARCHIVE,
    MODEL_WEIGHTS,
    PNG,
    PRETRAINED,
    RANDOM_WEIGHTS,
    SAMPLES,
    TEST,
    TRAIN,
    VALIDATION,
)
from scripts.datasets import digits
from steps import code

# In the container: 8000 for Ray Serve, 8080 for the adapter.
RAY_PORT, PORT, GCS_PORT = 8000, 8080, 6379
CLASSES, PICTURES = 3, 40
ARTIFACT = "artifact"  # TrainModel's artifact, served; not a bundle, but has a row
HYPERPARAMETERS = {
    "sagemaker_program": code.TRAINING_PROGRAM,
    "sagemaker_torch_distributed_enabled": "true",
    **{"epochs": "2", "image_size": "32", "seed": "1", "learning_rate": "0.002", "batch_size": "32"},
}
HOOK = {
    "CollectionConfigurations": [{"CollectionName": "losses", "CollectionParameters": {"save_interval": "1"}}]
}


@dataclass(frozen=True)
class Result:
    """One row of the table."""

    bundle: str
    source: str
    ran: str
    ok: bool
    seconds: float
    versions: str
    error: str = ""


@dataclass
class Replicas:
    """The folder for the checks of one package source; each uses the results of those before it."""

    folder: Path
    source: str
    pictures: Path

    def __post_init__(self) -> None:
        self.bundles = code.bundles(package_source=self.source)

    def container(self, image: str, bundle: str) -> Container:
        installs = bundle == ARTIFACT or "requirements.txt" in self.bundles[bundle].files
        environment, folder = ROOT / f".venv-replica-{image}", self.folder / bundle
        return start(environment, folder, offline=self.source == "bundle", installs=installs)

    def split(self, container: Container) -> None:
        folders = {name: self.folder / "data" / name for name in (TRAIN, VALIDATION, TEST, "summary")}
        outputs = [word for name, path in folders.items() for word in (f"--{name}", path)]
        fractions = ("--validation-fraction", "0.15", "--test-fraction", "0.15", "--seed", "1")
        self._process(container, "split", "--input", self.pictures, *outputs, *fractions)
        expect(
            folders["summary"] / "summary.json", *(folders[name] / "0" for name in (TRAIN, VALIDATION, TEST))
        )

    def train(self, container: Container, bundle: str) -> None:
        """With the image's toolkit, which unpacks the bundle, installs its requirements and runs torchrun."""
        ml = container.folder / "ml"
        config = ml / "input" / "config"
        config.mkdir(parents=True)
        for channel in (TRAIN, VALIDATION):
            shutil.copytree(self.folder / "data" / channel, ml / "input" / "data" / channel)
        pretrained = ml / "input" / "data" / PRETRAINED
        pretrained.mkdir()
        (pretrained / RANDOM_WEIGHTS).touch()
        archive = container.folder / "sourcedir.tar.gz"
        archive.write_bytes(self.bundles[bundle].archive())
        given = {**HYPERPARAMETERS, "sagemaker_submit_directory": str(archive)}
        given |= {"engines": "0"} if bundle == "tune" else {}
        channel_config = {"TrainingInputMode": "File", "S3DistributionType": "FullyReplicated"}
        group = {"instance_group_name": "homogeneousCluster", "instance_type": "ml.m5.2xlarge"}
        files = {
            "hyperparameters.json": {key: json.dumps(value) for key, value in given.items()},
            "inputdataconfig.json": {
                name: {**channel_config, "RecordWrapperType": "None"}
                for name in (TRAIN, VALIDATION, PRETRAINED)
            },
            # The container's host is algo-1; here only localhost has an address.
            "resourceconfig.json": {
                "current_host": "localhost",
                "hosts": ["localhost"],
                "network_interface_name": "lo",
                "current_instance_type": group["instance_type"],
                "current_group_name": group["instance_group_name"],
                "instance_groups": [{**group, "hosts": ["localhost"]}],
            },
        }
        tensors = ml / "output" / "tensors"
        if bundle == "train_debugged":
            files["debughookconfig.json"] = {
                "LocalPath": str(tensors),
                "S3OutputPath": "s3://b/debugger",
                **HOOK,
            }
        for name, value in files.items():
            (config / name).write_text(json.dumps(value))
        container.run(
            container.python.with_name("train"),
            SAGEMAKER_BASE_DIR=str(ml),
            SAGEMAKER_TRAINING_MODULE="sagemaker_pytorch_container.training:main",
            SMDEBUG_CONFIG_FILE_PATH=str(config / "debughookconfig.json"),
        )
        model = ml / "model"
        expect(model / MODEL_WEIGHTS, model / "code" / "requirements.txt", model / "config.yaml")
        if bundle == "tune":
            return
        expect(*(model / name for name in ENGINES.values() if name == ENGINES["fp32"]))
        if bundle == "train_debugged" and not list(tensors.rglob("*.tfevents")):
            raise CheckError(f"Debugger recorded nothing in {tensors}; see {container.folder / 'log.txt'}")
        packed = self.folder / "model" / MODEL_ARCHIVE
        packed.parent.mkdir(exist_ok=True)
        with tarfile.open(packed, "w:gz", compresslevel=1) as tar:
            for path in sorted(model.iterdir()):
                tar.add(path, path.name)

    def evaluate(self, container: Container) -> None:
        output = self.folder / "evaluation"
        inputs = ("--model", self.folder / "model", "--test", self.folder / "data" / TEST)
        self._process(container, "evaluate", *inputs, "--output", output)
        expect(output / GATE, output / EVALUATION, output / SAMPLES / "answers.json")

    def serve(self, container: Container, then: Callable[[], None]) -> None:
        """The image's entrypoint, command by command; `then` runs while it serves the artifact."""
        model = container.folder / "model"
        with tarfile.open(self.folder / "model" / MODEL_ARCHIVE) as tar:
            tar.extractall(model, filter="data")
        bin_folder = container.python.parent
        container.run(bin_folder / "pip", "install", "-r", model / "code" / "requirements.txt")
        variables = {
            "PYTHONPATH": f"{model}:{model / 'code'}:",
            "RAY_ADDRESS": f"127.0.0.1:{GCS_PORT}",
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        # Ray puts sockets there; their paths must be shorter than 108 characters.
        scratch = tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True)
        head = ("start", "--head", "--block", f"--port={GCS_PORT}", f"--temp-dir={scratch.name}")
        url = f"http://127.0.0.1:{PORT}"
        processes: list[tuple[str | Path, subprocess.Popen[bytes]]] = []
        with scratch, contextlib.ExitStack() as stack:

            def running(*command: str | Path) -> None:
                process = stack.enter_context(container.running(*command, **variables))
                processes.append((command[0], process))

            def up(address: str) -> Iterator[bool]:
                while True:
                    for name, process in processes:
                        if process.poll() is not None:
                            raise CheckError(f"{name} ended; see {container.folder / 'log.txt'}")
                    yield answers(address)

            running(bin_folder / "ray", *head, "--include-dashboard=False", "--num-gpus=0")
            wait_for("Ray", iter(partial(listens, GCS_PORT), None))
            container.run(
                bin_folder / "serve", "start", "--http-host=127.0.0.1", f"--http-port={RAY_PORT}", **variables
            )
            running(bin_folder / "serve", "run", model / "config.yaml")
            wait_for("Ray Serve", up(f"http://127.0.0.1:{RAY_PORT}/-/healthz"))
            running(
                container.python, ROOT / "benchmarks" / "replicas" / "adapter.py", str(RAY_PORT), str(PORT)
            )
            wait_for("/ping", up(f"{url}/ping"))
            picture = next((self.folder / "data" / TEST / "0").iterdir())
            request = urllib.request.Request(
                f"{url}/invocations", picture.read_bytes(), {"Content-Type": PNG}
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                if "label" not in json.load(answer):
                    raise CheckError(f"{url}/invocations answers without a label")
            then()

    def verify(self, container: Container) -> None:
        """Sends the evaluation's test pictures to the artifact while it is served."""
        with account(f"http://127.0.0.1:{PORT}") as url:
            message = container.folder / "message"
            arguments = ("--endpoint", ENDPOINT, "--config", CONFIG, "--previous-config", "-")
            questions = ("--samples", self.folder / "evaluation" / SAMPLES, "--message", message)
            rest = ("--timeout-s", "60", "--region", "us-east-1")
            self._process(container, "verify", *arguments, *questions, *rest, **aws(url))

    def deploy(self, container: Container) -> None:
        """The function's zip: Python 3.12 with boto3 calls its handler as Lambda does."""
        archive = container.folder / "function.zip"
        archive.write_bytes(self.bundles["deploy"].archive())
        module, _, name = code.FUNCTION_HANDLER.rpartition(".")
        event = {
            "model_package_arn": "arn:aws:sagemaker:us-east-1:123456789012:model-package/replica/1",
            "endpoint_name": ENDPOINT,
            "endpoint_instance_type": "ml.m5.xlarge",
            "endpoint_instance_count": "1",
            "execution_role": "arn:aws:iam::123456789012:role/X",
        }
        program = (
            f"import importlib, sys; sys.path.insert(0, {str(archive)!r})\n"
            f"answer = importlib.import_module({module!r}).{name}({event!r}, None)\n"
            "assert answer['deployed'] is False and 'PendingManualApproval' in answer['reason'], answer"
        )
        with account("http://127.0.0.1:9") as url:
            container.run(container.python, "-c", program, **aws(url))

    def _process(self, container: Container, bundle: str, *arguments: str | Path, **variables: str) -> None:
        """As in a processing container: the bundle's files in a folder, started with bash run.sh."""
        folder = container.folder / "code"
        for path, content in self.bundles[bundle].contents().items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        container.run("/bin/bash", folder / code.LAUNCHER, bundle, *arguments, **variables)


def aws(url: str) -> dict[str, str]:
    """The variables that send boto3 to `url`."""
    keys = {"AWS_ACCESS_KEY_ID": "replica", "AWS_SECRET_ACCESS_KEY": "replica"}
    return {**keys, "AWS_ENDPOINT_URL": url, "AWS_DEFAULT_REGION": "us-east-1", "NO_PROXY": "127.0.0.1"}


def expect(*paths: Path) -> None:
    """Raises CheckError if one of them is missing."""
    if missing := [str(path) for path in paths if not path.exists()]:
        raise CheckError(f"it left no {', '.join(missing)}")


def listens(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answers(url: str) -> bool:
    """Whether a GET has status 200."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def check_all(folder: Path, source: str, pictures: Path) -> Iterator[Result]:
    """All bundles and the artifact with one package source; yields each row when it is ready."""
    replicas = Replicas(folder, source, pictures)
    rows: list[Result] = []

    def check(bundle: str, image: str, ran: str, work: Callable[[Container], None]) -> Result:
        container = replicas.container(image, bundle)
        began, error = time.monotonic(), ""
        try:
            work(container)
        except CheckError as failure:
            error = str(failure)
        except (OSError, ValueError) as failure:  # no answer, or an earlier check's results are missing
            error = f"{type(failure).__name__}: {failure}".splitlines()[0]
        seconds = time.monotonic() - began
        row = Result(bundle, source, ran, not error, round(seconds, 1), container.versions(), error)
        # Failed checks keep their files and logs.
        shutil.rmtree(container.folder if row.ok else container.folder / "environment", ignore_errors=True)
        return row

    toolkit, against = "train (toolkit, torchrun)", "run.sh verify, against the artifact"
    yield check("split", "training", "run.sh split", replicas.split)
    yield check("tune", "training", toolkit, partial(replicas.train, bundle="tune"))
    yield check("train", "training", toolkit, partial(replicas.train, bundle="train"))
    debugged = partial(replicas.train, bundle="train_debugged")
    yield check("train_debugged", "training", f"{toolkit}, Debugger's hook", debugged)
    yield check("evaluate", "serving", "run.sh evaluate", replicas.evaluate)

    def verify() -> None:
        rows.append(check("verify", "training", against, replicas.verify))

    serve = partial(replicas.serve, then=verify)
    yield check(ARTIFACT, "serving", "pip, ray, serve run, adapter on 8080: /ping, /invocations", serve)
    yield from rows or [Result("verify", source, against, False, 0, "", "nothing served the artifact")]
    yield check(
        "deploy", "training", f"{code.FUNCTION_HANDLER}, a package that is not approved", replicas.deploy
    )


def few_pictures(folder: Path) -> Path:
    """Some of scikit-learn's digits, a folder per class."""
    every = digits(folder / "digits")
    for label in range(CLASSES):
        (folder / "pictures" / str(label)).mkdir(parents=True)
        for file in sorted((every / str(label)).iterdir())[:PICTURES]:
            shutil.copy(file, folder / "pictures" / str(label))
    return folder / "pictures"


def table(results: Sequence[Result], when: str) -> str:
    """The results in Markdown."""
    processor = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    lines = [
        f"Last run: {when} on {processor}.\n",
        "| bundle | packages from | what ran | result | s | with |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in results:
        outcome = "ok" if row.ok else f"failed: {row.error}"
        lines.append(
            f"| {row.bundle} | {row.source} | {row.ran} | {outcome} | {row.seconds:g} | {row.versions} |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replicas", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to this file")
    parser.add_argument(
        "--source", choices=("index", "bundle"), action="append", help="only with this package source"
    )
    arguments = parser.parse_args(argv)
    for image in ("training", "serving"):
        if not (ROOT / f".venv-replica-{image}" / "complete").is_file():
            print(f"replicas: no .venv-replica-{image} yet; make it with: make replicas", file=sys.stderr)
            return 2
    for port in (RAY_PORT, PORT, GCS_PORT):
        if listens(port):
            print(
                f"replicas: port {port} is in use, but the serving container needs it; free it",
                file=sys.stderr,
            )
            return 2
    results = []
    for source in arguments.source or ("index", "bundle"):
        folder = ROOT / "build" / "replicas" / source
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for row in check_all(folder, source, few_pictures(folder)):
            results.append(row)
            outcome = "ok" if row.ok else f"failed: {row.error}"
            print(f"{row.bundle:15} {source:7} {row.seconds:6.1f} s  {outcome}", file=sys.stderr, flush=True)
    when = f"{datetime.now(UTC):%Y-%m-%d}"
    print(table(results, when))
    if arguments.json:
        arguments.json.write_text(
            json.dumps({"when": when, "results": [asdict(row) for row in results]}, indent=2)
        )
    return 0 if all(row.ok for row in results) else 1


if __name__ == "__main__":
    sys.exit(main())
