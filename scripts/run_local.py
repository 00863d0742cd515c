"""Run the whole pipeline on this machine: no AWS account, no Docker, no network.

  run_local.py --data flowers --weights imagenet --open
  run_local.py --data hymenoptera --weights imagenet
  run_local.py

The first trains on your own pictures: flowers holds a folder for each class. The last takes scikit-learn's
handwritten digits, which are enough for random weights. A few hundred pictures need pretrained ones: imagenet
is torchvision's file (45 MB), downloaded once, or taken from torch's cache. Without a network, fetch it on
another machine from https://download.pytorch.org/models/ and give the file: --weights resnet18-f37072fd.pth.

It starts the local service, uploads the pictures, upserts the same definition that upsert_pipeline.py would
send to AWS, starts an execution, shows its steps and has the endpoint classify a test picture. Everything is
kept under the home folder.

--resume continues the home's latest run that was interrupted, killed or failed. Finished steps and trials are
kept.
"""

from __future__ import annotations

if not __package__:
    import root  # noqa: F401

import argparse
import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import scripts.command as command
from config.parameters import check_assignments, dataset_url, execution_parameters
from config.settings import Settings
from entrypoints import contract
from entrypoints.dataset import Dataset
from local.endpoints.model_server import SERVERS, UVICORN, LaunchError
from local.home.home import Home, UnfitHome
from local.home.lock import HomeInUse
from local.processes.ending import end_at_once, leave_on_signals
from local.processes.start import start as start_process
from local.service import LocalService
from scripts.conclusion import after_success, open_report, tell
from scripts.exclude import add_option
from scripts.execution import ENDED, deployment, follow, parameters_of
from scripts.invoke import predict_picture
from scripts.refusals import Refused, ways_of_run
from scripts.report import SETTINGS as REPORT_SETTINGS
from scripts.results import Results, write_report
from scripts.start_execution import RETRIED, report, retry, start
from scripts.training_data import dataset_name, find_dataset, put_dataset
from scripts.upload_dataset import add_label_regex
from scripts.upsert_pipeline import upsert
from scripts.weights import find_weights, put_weights

if TYPE_CHECKING:
    import boto3

HOME = Path(".local-sagemaker")
POLL_S = 0.3
# docs/laptop.md: "a few hundred or a few thousand pictures" need pretrained weights.
FEW_FOR_RANDOM_WEIGHTS = 5000


@contextlib.contextmanager
def dry_run(service: LocalService, arguments: argparse.Namespace) -> Iterator[Callable[[], str]]:
    """Build the definition in its own process, in parallel; the returned function waits for it.

    So the SDK's 200 MiB and 4 s do not burden the training.
    """
    program = Path(__file__).with_name("upsert_pipeline.py")
    with start_process(
        service.home.processes,
        [sys.executable, str(program), "--dry-run", *command.same_settings(arguments, command.UPSERTED)],
        os.environ,
        Path.cwd(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:

        def definition() -> str:
            with command.status("building the definition"):
                output, errors = process.communicate()
            if process.returncode != 0:
                command.fail(errors.decode().strip().splitlines()[-1])
            return output.decode()

        try:
            yield definition
        finally:
            process.end(0)


def begin(
    service: LocalService,
    session: boto3.Session,
    arguments: argparse.Namespace,
    settings: Settings,
    values: dict[str, str],
    dataset: Dataset,
    weights: Path | None,
) -> str:
    """Upload, upsert, start; the execution's ARN."""
    session.client("s3").create_bucket(Bucket=settings.bucket)
    url = dataset_url(settings, dataset_name(arguments.data, dataset))
    values = {"InputDataUrl": url, **values}
    with dry_run(service, arguments) as definition:
        put_dataset(session, dataset, url)
        if weights is not None:
            values = {"PretrainedWeightsUrl": put_weights(session, settings, weights), **values}
        elif arguments.data and (pictures := sum(dataset.counts.values())) < FEW_FOR_RANDOM_WEIGHTS:
            command.console.print(
                f"starts from random weights, for which {pictures} pictures are few;"
                " --weights imagenet starts from pretrained ones",
                soft_wrap=True,
            )
        for line in upsert(settings, session, definition()):
            command.console.print(line, soft_wrap=True)
    arn = start(session, settings.pipeline_name, values)
    command.console.print(
        f"{arn}\nstarted with {', '.join(f'{k}={v}' for k, v in values.items())}",
        soft_wrap=True,
    )
    return arn


def go_on(session: boto3.Session, settings: Settings) -> str:
    """Resume the latest execution, if it has not succeeded; return its ARN.

    Raises:
        Failure: there is nothing to resume.
    """
    sagemaker = session.client("sagemaker")
    pipeline = settings.pipeline_name
    try:
        (found,) = sagemaker.list_pipeline_executions(
            PipelineName=pipeline, SortBy="CreationTime", SortOrder="Descending", MaxResults=1
        )["PipelineExecutionSummaries"]
    except (ValueError, sagemaker.exceptions.ResourceNotFound):
        command.fail(f"--resume: pipeline {pipeline} has no execution here; leave out --resume to start one")
    arn, status = found["PipelineExecutionArn"], found["PipelineExecutionStatus"]
    if status in RETRIED:
        retry(sagemaker, arn)
    elif status in ENDED:
        command.fail(f"--resume: {arn} is {status}, nothing is left to do; start a new run without --resume")
    command.console.print(f"{arn}\ncontinues from what was finished", soft_wrap=True)
    return arn


def run(
    service: LocalService,
    arguments: argparse.Namespace,
    settings: Settings,
    start: Callable[[LocalService, boto3.Session], str],
) -> int:
    """Start or resume an execution, follow it, predict, report; return the command's exit code."""
    began = time.monotonic()
    arguments.local = service.url
    session = command.session(arguments, settings)
    arn = start(service, session)
    execution = follow(session, arn, POLL_S)
    results = Results(service.home, session, execution)
    # A refusal is reported at the end, with the next steps.
    code = 1 if execution.refused else report(session, execution, POLL_S, lambda _: ())
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
    typed = ["python", "scripts/run_local.py", *arguments.typed]
    told = [f"--typed={shlex.join(typed)}", f"--home={arguments.home}"]
    options = [f"--local={service.url}", *command.same_settings(arguments, REPORT_SETTINGS), *told]
    with command.status("writing the report"):
        if page := write_report(service.home, arn, options):
            summary["artifacts"]["report"] = str(page)
    summary["seconds"] = round(time.monotonic() - began, 1)
    if execution.refused:
        counts = summary["training_images"] or {}
        refused = Refused(execution.refused, arn, parameters_of(session, arn), counts)
        ways = ways_of_run(refused, settings, typed, arguments.home)
    else:
        ways = after_success(arguments.home, service.pages(), arguments.data is not None) if code == 0 else []
    tell(summary, ways)
    if arguments.open and "report" in summary["artifacts"]:
        open_report(summary["artifacts"]["report"])
    if arguments.summary:
        partial = arguments.summary.with_name(f".{arguments.summary.name}.partial")
        partial.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(arguments.summary)
    return code


def keep_serving(service: LocalService) -> None:
    """Serve until Ctrl-C."""
    example = f"python scripts/predict.py --local {service.url} PICTURE"
    command.console.print(f"{service.url} keeps serving until Ctrl-C: {example}", soft_wrap=True)
    for page in service.pages():
        command.console.print(f"in a browser: {page}", soft_wrap=True)
    while True:
        signal.pause()


def _end(reason: str) -> NoReturn:
    end_at_once(f"{Path(sys.argv[0]).name}: {reason}")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command.parser(__doc__ or "", command.UPSERTED, local_help=argparse.SUPPRESS)
    command.add_parameters(parser)
    parser.add_argument("--data", metavar="DIR", help="a folder per class, or hymenoptera (default: digits)")
    add_label_regex(parser)
    add_option(parser)
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help=f"imagenet: torchvision's, downloaded once; none: random; or a {contract.BACKBONE} file (none)",
    )
    parser.add_argument("--home", type=Path, default=HOME, help=f"the folder that keeps everything ({HOME})")
    parser.add_argument(
        "--server", choices=SERVERS, default=UVICORN, help="what serves the endpoint (uvicorn)"
    )
    parser.add_argument("--resume", action="store_true", help="continue the latest run that did not succeed")
    parser.add_argument("--open", action="store_true", help="show the report in the browser at the end")
    parser.add_argument("--keep-serving", action="store_true", help="keep serving until Ctrl-C")
    parser.add_argument("--summary", metavar="FILE", type=Path, help="write the results as JSON")
    arguments = parser.parse_args(argv)
    arguments.typed = sys.argv[1:] if argv is None else list(argv)
    if arguments.local:
        parser.error("run_local.py starts its own service; with --local use start_execution.py")
    begins = {
        "--data": arguments.data,
        "--weights": arguments.weights,
        "--parameter": arguments.parameters,
        "--exclude": arguments.exclude,
    }
    if arguments.resume and (given := [name for name, value in begins.items() if value]):
        parser.error(f"--resume continues what was started: leave out {' and '.join(given)}")
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
    try:
        Home(home).check()  # before anything is written there
    except UnfitHome as error:
        command.fail(str(error))
    if arguments.resume:
        if not home.is_dir():
            command.fail(f"--resume: there is no {home}; name the --home of the run to continue")

        def first(_: LocalService, session: boto3.Session) -> str:
            return go_on(session, settings)
    else:
        weights = find_weights(arguments.weights or "none", home)
        dataset, suited = find_dataset(arguments.data, home, settings, arguments.exclude)
        first = partial(
            begin,
            arguments=arguments,
            settings=settings,
            values={**suited, **asked},
            dataset=dataset,
            weights=weights,
        )
    resume = ["python", "scripts/run_local.py", f"--home={arguments.home}", "--resume"]
    try:
        service = LocalService(
            home,
            settings.region,
            server=arguments.server,
            resume=arguments.resume,
            when_gone=_end,
            fire=False,
        )
    except (HomeInUse, UnfitHome, LaunchError) as error:
        command.fail(str(error))
    try:
        with service:
            for note in service.notes:
                command.console.print(note, soft_wrap=True)
            try:
                code = run(service, arguments, settings, first)
                if arguments.keep_serving:
                    keep_serving(service)
            except KeyboardInterrupt:
                command.console.print("stopping; Ctrl-C again does not wait for what runs")
                raise
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"everything that was finished is kept in {home}; {shlex.join(resume)} continues from there"
        ) from None
    return code


if __name__ == "__main__":
    leave_on_signals()  # the first through the service's stop()
    command.run(main)
