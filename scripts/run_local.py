"""Run the whole pipeline on this machine: no AWS account, no Docker, no network.

Starts the local service, uploads the pictures, upserts the very definition that upsert_pipeline.py would
send to AWS, starts an execution, shows its steps and asks the endpoint about a test picture. Everything
lies under the home folder and stays there.
"""

from __future__ import annotations

if not __package__:
    import root  # noqa: F401

import argparse
import contextlib
import hashlib
import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import scripts.command as command
from config.parameters import check_assignments, dataset_url, execution_parameters
from config.settings import Settings
from entrypoints import contract
from entrypoints.backbones import BACKBONES
from entrypoints.dataset import Dataset, DatasetError, check_dataset
from local.endpoints.model_server import SERVERS, UVICORN, LaunchError
from local.home.home import OtherRegion
from local.processes.ending import leave_on_signals
from local.service import HomeInUse, LocalService
from scripts import refusals
from scripts.datasets import digits, hymenoptera
from scripts.download import download
from scripts.execution import deployment, follow
from scripts.invoke import predict_picture
from scripts.owners import owned
from scripts.report import SETTINGS as REPORT_SETTINGS
from scripts.results import Results, write_report
from scripts.start_execution import report, start
from scripts.upload_dataset import delete, split_url, upload
from scripts.upsert_pipeline import upsert

if TYPE_CHECKING:
    import boto3

HOME = Path(".local-sagemaker")
POLL_S = 0.3
# The digits are small and plain: fewer pixels and epochs than the parameters' defaults are enough.
DIGITS_PARAMETERS = {"Epochs": "4", "ImageSize": "32"}


def find_dataset(data: str | None, home: Path, subfolders_are_groups: bool) -> tuple[Dataset, dict[str, str]]:
    """The dataset that --data names, checked, and the execution parameters that suit it.

    Raises:
        Failure: it cannot be had or cannot be trained on.
    """
    parameters: dict[str, str] = {}
    if data is None:
        folder, parameters = digits(home / "datasets" / "digits"), DIGITS_PARAMETERS
    elif data == "hymenoptera":
        folder = hymenoptera(home / "datasets" / "hymenoptera")
    else:
        folder = Path(data)
    try:
        with command.status(f"looking at every picture of {folder}"):
            return check_dataset(folder, subfolders_are_groups), parameters
    except DatasetError as error:
        command.fail(str(error))


def find_weights(weights: str, home: Path) -> Path | None:
    """The weights file that --weights names, None for random weights.

    Raises:
        Failure: there is no such file, or it cannot be downloaded.
    """
    if weights == "none":
        return None
    if weights == "imagenet":
        network = BACKBONES[contract.BACKBONE]
        file = home / "weights" / Path(network.weights_url).name
        return download(network.weights_url, file, network.weights_sha256)
    path = Path(weights)
    if not path.is_file():
        command.fail(f"--weights {weights!r} is no file; give none, imagenet or the path of a weights file")
    return path


def dataset_name(data: str | None, dataset: Dataset) -> str:
    """The name of the prefix for what --data names: two folders with the same name have two."""
    if data is None or data == "hymenoptera":
        return dataset.root.name
    return f"{dataset.root.name}-{hashlib.sha256(bytes(dataset.root)).hexdigest()[:8]}"


def put_dataset(session: boto3.Session, dataset: Dataset, url: str) -> None:
    """Make the objects under `url` the pictures of the dataset.

    Raises:
        Failure: something else put objects there, which are not for a run to delete.
    """
    s3 = session.client("s3")
    bucket, _ = split_url(url)
    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=command.console, transient=True) as progress:
        done = upload(dataset, url, s3, progress, replaces=True)
    ours = owned(s3, bucket, done.extra, url)
    if others := sorted(set(done.extra) - set(ours)):
        command.fail(
            f"{url} holds {len(others)} objects that no run put there and that would be trained on, "
            f"such as s3://{bucket}/{others[0]}; remove them, or take another --home"
        )
    delete(s3, bucket, ours)
    say = command.console.print
    say(
        f"{done.sent + done.kept} pictures of {len(dataset.classes)} classes are in {url}"
        f" ({done.sent} sent, {done.kept} already there)",
        soft_wrap=True,
    )
    for rejected in dataset.rejected:
        say(f"left out: {rejected.file}: {rejected.reason}", soft_wrap=True)


def put_weights(session: boto3.Session, settings: Settings, weights: Path) -> str:
    """Upload a weights file under its digest and return its prefix."""
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    prefix = f"{settings.name}/weights/{digest}/"
    session.client("s3").upload_file(str(weights), settings.bucket, f"{prefix}{weights.name}")
    return f"s3://{settings.bucket}/{prefix}"


@contextlib.contextmanager
def dry_run(arguments: argparse.Namespace) -> Iterator[Callable[[], str]]:
    """Build the definition in a process of its own, meanwhile; the function given waits for it.

    The SDK's 200 MiB and 4 s are gone by the time that training needs them.
    """
    program = Path(__file__).with_name("upsert_pipeline.py")
    with subprocess.Popen(
        [sys.executable, program, "--dry-run", *command.same_settings(arguments, command.UPSERTED)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is answered here
    ) as process:

        def definition() -> str:
            with command.status("building the definition"):
                output, errors = process.communicate()
            if process.returncode != 0:
                command.fail(errors.decode().strip())
            return output.decode()

        try:
            yield definition
        finally:
            process.kill()


def run(
    service: LocalService,
    arguments: argparse.Namespace,
    settings: Settings,
    values: dict[str, str],
    dataset: Dataset,
    weights: Path | None,
) -> int:
    """Upload, upsert, execute, predict; the command's exit code."""
    began = time.monotonic()
    arguments.local = service.url
    session = command.session(arguments, settings)
    session.client("s3").create_bucket(Bucket=settings.bucket)
    url = dataset_url(settings, dataset_name(arguments.data, dataset))
    values = {"InputDataUrl": url, **values}
    with dry_run(arguments) as definition:
        put_dataset(session, dataset, url)
        if weights is not None:
            values = {"PretrainedWeightsUrl": put_weights(session, settings, weights), **values}
        for line in upsert(settings, session, definition()):
            command.console.print(line, soft_wrap=True)
    arn = start(session, settings.pipeline_name, values)
    command.console.print(
        f"{arn}\nstarted with {', '.join(f'{k}={v}' for k, v in values.items())}",
        soft_wrap=True,
    )
    execution = follow(session, arn, POLL_S)
    results = Results(service.home, session, execution)
    typed = ["python", "scripts/run_local.py", *arguments.typed]
    code = report(session, execution, POLL_S, lambda refusal: refusals.retry_command(refusal, typed))
    summary = results.summary()
    summary["endpoint_prediction"] = None
    answer = deployment(execution)
    if code == 0 and answer.get("deployed", "").lower() == "true":
        summary["endpoint_name"] = answer["endpoint_name"]
        test = results.output("SplitDataset", contract.TEST)
        if test is not None:
            picture = min(path for path in test.rglob("*") if path.is_file())
            runtime = session.client("sagemaker-runtime")
            prediction = predict_picture(picture, answer["endpoint_name"], runtime)
            summary["endpoint_prediction"] = {"file": str(picture), **prediction}
    options = [f"--local={service.url}", *command.same_settings(arguments, REPORT_SETTINGS)]
    with command.status("writing the report"):
        if page := write_report(arn, service.home.root / "reports", options):
            summary["artifacts"]["report"] = str(page)
    summary["seconds"] = round(time.monotonic() - began, 1)
    tell(summary)
    if arguments.summary:
        partial = arguments.summary.with_name(f".{arguments.summary.name}.partial")
        partial.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(arguments.summary)
    return code


def tell(summary: dict[str, Any]) -> None:
    """Print what a run gave and where it lies."""
    say = command.output.print
    if summary["best_hyperparameters"]:
        best = ", ".join(f"{name} {value}" for name, value in sorted(summary["best_hyperparameters"].items()))
        say(f"best of {len(summary['trials'])} trials: {best}", soft_wrap=True)
    if summary["test_accuracy"] is not None:
        low, high = summary["test_accuracy_interval"]
        say(
            f"test accuracy: {summary['test_accuracy']:.1%} of {summary['test_images']} pictures, "
            f"which may be {low:.1%} to {high:.1%} of others like them (95 % interval)",
            soft_wrap=True,
        )
        say(f"champion: {summary['champion']}", soft_wrap=True)
    if prediction := summary["endpoint_prediction"]:
        sure = prediction["probabilities"][prediction["label"]]
        true = Path(prediction["file"]).parent.name
        say(
            f"the endpoint {summary['endpoint_name']} says of a picture of {true}:"
            f" {prediction['label']} ({sure:.1%})",
            soft_wrap=True,
        )
    for name, path in summary["artifacts"].items():
        say(f"{name}: {path}", soft_wrap=True)
    say(f"{summary['status']} after {summary['seconds']:.0f} s")


def keep_serving(service: LocalService) -> None:
    """Answer until Ctrl-C."""
    example = f"python scripts/predict.py --local {service.url} PICTURE"
    command.console.print(f"{service.url} goes on answering until Ctrl-C: {example}", soft_wrap=True)
    for page in service.pages():
        command.console.print(f"in a browser: {page}", soft_wrap=True)
    while True:
        signal.pause()


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command.parser(__doc__ or "", command.UPSERTED, local_help=argparse.SUPPRESS)
    command.add_parameters(parser)
    parser.add_argument("--data", metavar="DIR", help="a folder per class, or hymenoptera (default: digits)")
    parser.add_argument(
        "--weights",
        metavar="FILE",
        default="none",
        help=f"none, imagenet or a {contract.BACKBONE} weights file (none)",
    )
    parser.add_argument("--home", type=Path, default=HOME, help=f"where everything lies ({HOME})")
    parser.add_argument(
        "--server", choices=SERVERS, default=UVICORN, help="what serves the endpoint (uvicorn)"
    )
    parser.add_argument("--keep-serving", action="store_true", help="go on answering until Ctrl-C")
    parser.add_argument("--summary", metavar="FILE", type=Path, help="write the results as JSON")
    arguments = parser.parse_args(argv)
    arguments.typed = sys.argv[1:] if argv is None else list(argv)
    if arguments.local:
        parser.error("run_local.py starts a service of its own; with --local use start_execution.py")
    if arguments.summary and not arguments.summary.absolute().parent.is_dir():
        parser.error(f"--summary {arguments.summary}: there is no such folder")
    if arguments.summary and arguments.summary.is_dir():
        parser.error(f"--summary {arguments.summary}: that is a folder; name a file")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    settings = command.settings(arguments)
    asked = check_assignments(execution_parameters(settings, ""), arguments.parameters)
    home: Path = arguments.home.resolve()
    dataset, suited = find_dataset(arguments.data, home, bool(settings.split.group_level))
    weights = find_weights(arguments.weights, home)
    try:
        service = LocalService(home, settings.region, server=arguments.server)
    except (HomeInUse, OtherRegion, LaunchError) as error:
        command.fail(str(error))
    try:
        with service:
            try:
                code = run(service, arguments, settings, {**suited, **asked}, dataset, weights)
                if arguments.keep_serving:
                    keep_serving(service)
                elif service.pages():
                    serve = f"python -m local --home {shlex.quote(str(arguments.home))}"
                    command.console.print(f"{serve} goes on serving it, in a browser, too", soft_wrap=True)
            except KeyboardInterrupt:
                command.console.print("stopping; Ctrl-C again does not wait for what runs")
                raise
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"everything that was finished is kept in {home}; the same command starts a new run beside it"
        ) from None
    return code


if __name__ == "__main__":
    leave_on_signals()  # the first one through the service's stop()
    command.run(main)
