"""The pipeline's executions: which there were, what runs, why one failed.

  executions.py                          the newest, with test accuracy, duration and cost
  executions.py show latest              one with its steps, and the log of a step that failed
  executions.py logs latest TrainModel --follow
  executions.py stop latest
  executions.py retry 4pgs2cmubnq3

An execution is named by its id, its ARN, or latest, which is what show, logs and retry take without a name.
logs shows one step, by default the one that failed, runs, or ran last. retry goes on from the steps that
failed, under the same id. The list counts the last attempt of each step; cost.py counts all.
"""

from __future__ import annotations

if not __package__:
    import root  # noqa: F401

import argparse
import json
import shlex
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import scripts.command as command
from config.settings import Settings
from scripts import execution_list, execution_log, execution_names, start_execution
from scripts.execution import ENDED, detail, parameters_of, steps_of, table_of
from scripts.execution_list import duration
from scripts.execution_names import LATEST, id_of
from scripts.prices import Prices

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_sagemaker.client import SageMakerClient

SETTINGS = ("name", "region")
LIST, SHOW, LOGS, STOP, RETRY = ACTIONS = ("list", "show", "logs", "stop", "retry")
LIMIT, MOST = 10, 1000
THREADS = 8
RUNNING = "Executing"


def list_executions(session: boto3.Session, settings: Settings, limit: int, as_json: bool) -> int:
    """Print the newest executions."""
    sagemaker, prices = session.client("sagemaker"), Prices(session, settings.region)
    with command.status("reading the executions"):
        command.live_pipeline(sagemaker, settings)
        summaries, more = execution_list.newest(sagemaker, settings.pipeline_name, limit)
        with ThreadPoolExecutor(THREADS) as pool:
            rows = list(pool.map(lambda summary: execution_list.row(sagemaker, summary, prices), summaries))
    if as_json:
        print(json.dumps([execution_list.as_json(item) for item in rows], indent=2))
        return 0
    if not rows:
        command.output.print(
            f"pipeline {settings.pipeline_name} has no execution yet; "
            "start one with python scripts/start_execution.py",
            soft_wrap=True,
        )
        return 0
    command.output.print(execution_list.table_of(rows), soft_wrap=True)
    if more:
        command.output.print(f"the newest {limit}; --limit {min(10 * limit, MOST)} shows more")
    notes = [prices.note] if prices.note else []
    if command.is_local():
        notes.append("costs are what AWS would charge for the same seconds")
    for note in notes:
        command.console.print(note, soft_wrap=True)
    return 0


def show(session: boto3.Session, execution: Mapping[str, Any], options: str) -> int:
    """Print an execution with its steps, and the logs of those that failed; exit code 1 if it failed."""
    sagemaker: Any = session.client("sagemaker")
    arn, status = execution["PipelineExecutionArn"], execution["PipelineExecutionStatus"]
    definition = json.loads(
        sagemaker.describe_pipeline_definition_for_execution(PipelineExecutionArn=arn)["PipelineDefinition"]
    )
    steps = steps_of(sagemaker, arn)
    say = command.output.print
    began = execution["CreationTime"]
    ended = execution["LastModifiedTime"] if status in ENDED else datetime.now(UTC)
    took = duration((ended - began).total_seconds())
    say(arn, soft_wrap=True)
    say(f"{status}, started {began.astimezone():%Y-%m-%d %H:%M}, {took}", soft_wrap=True)
    if parameters := parameters_of(session, arn):
        say(f"with {', '.join(f'{name}={value}' for name, value in parameters.items())}", soft_wrap=True)
    details = {step["StepName"]: detail(sagemaker, step) for step in steps}
    say(table_of(definition["Steps"], steps, details))
    if "FailureReason" in execution:
        say(execution["FailureReason"], soft_wrap=True)
    for step in steps:
        if step["StepStatus"] == "Failed" and "Fail" not in step.get("Metadata", {}):
            execution_log.tell_failure(session, step)
    if status == RUNNING:
        say(f"follow it: python scripts/executions.py logs {id_of(arn)} --follow{options}", soft_wrap=True)
    elif status in start_execution.RETRIED and not any("Fail" in s.get("Metadata", {}) for s in steps):
        say(f"go on with it: python scripts/executions.py retry {id_of(arn)}{options}", soft_wrap=True)
    say(f"its cost: python scripts/cost.py {id_of(arn)}{options}", soft_wrap=True)
    return 1 if status in {"Failed", "CompletedWithFailures"} else 0


def stop(sagemaker: SageMakerClient, execution: Mapping[str, Any], options: str) -> int:
    """Stop an execution that runs."""
    arn, status = execution["PipelineExecutionArn"], execution["PipelineExecutionStatus"]
    if status != RUNNING:
        command.fail(f"execution {id_of(arn)} is {status}; only one that is {RUNNING} can be stopped")
    sagemaker.stop_pipeline_execution(PipelineExecutionArn=arn, ClientRequestToken=uuid.uuid4().hex)
    command.output.print(
        f"{arn} is stopping; python scripts/executions.py retry {id_of(arn)}{options} goes on with it later",
        soft_wrap=True,
    )
    return 0


def retry(sagemaker: SageMakerClient, settings: Settings, named: str, options: str) -> int:
    """Go on with an execution that failed or was stopped."""
    arn = start_execution.to_retry(sagemaker, settings, named, "EXECUTION")
    start_execution.retry(sagemaker, arn)
    command.output.print(
        f"{arn} goes on; follow it with python scripts/executions.py logs {id_of(arn)} --follow{options}",
        soft_wrap=True,
    )
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command.parser(__doc__ or "", SETTINGS)
    parser.add_argument("action", metavar="ACTION", nargs="?", choices=ACTIONS, default=LIST,
                        help=f"{', '.join(ACTIONS)} ({LIST})")  # fmt: skip
    parser.add_argument(
        "names", metavar="NAME", nargs="*", help=f"{execution_names.NAMES}; for logs, then a step"
    )
    parser.add_argument("--limit", metavar="N", type=int, help=f"list: at most so many ({LIMIT})")
    parser.add_argument("--json", action="store_true", help="list: as JSON")
    parser.add_argument("--follow", action="store_true", help="logs: go on until the step ends")
    parser.add_argument("--lines", metavar="N", type=int, help="logs: only the last lines (default: all)")
    arguments = parser.parse_intermixed_args(argv)
    takes = {"--limit": LIST, "--json": LIST, "--follow": LOGS, "--lines": LOGS}
    for option, action in takes.items():
        if getattr(arguments, option[2:]) not in (None, False) and arguments.action != action:
            parser.error(f"{option} goes with {action}")
    if arguments.limit is not None and not 1 <= arguments.limit <= MOST:
        parser.error(f"--limit {arguments.limit}: give 1 to {MOST}")
    if arguments.lines is not None and not 1 <= arguments.lines <= 10_000:
        parser.error(f"--lines {arguments.lines}: give 1 to 10000")
    if arguments.follow and arguments.lines is not None:
        parser.error("--follow shows the whole log; leave out --lines")
    most = {LIST: 0, LOGS: 2}.get(arguments.action, 1)
    if len(arguments.names) > most:
        parser.error(f"{arguments.action} does not take {shlex.join(arguments.names[most:])}")
    if arguments.action == STOP and not arguments.names:
        parser.error(f"stop: name the execution ({execution_names.NAMES})")
    return arguments


def _named(arguments: argparse.Namespace) -> tuple[str, str | None]:
    """The execution and the step that were named; a single name for logs may be either."""
    names = list(arguments.names)
    if arguments.action == LOGS and len(names) == 1 and not execution_names.is_name(names[0]):
        return LATEST, names[0]
    execution, step = [*names, LATEST][0], names[1] if len(names) > 1 else None
    execution_names.check(execution)
    return execution, step


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    settings = command.settings(arguments)
    named, step = _named(arguments)
    session = command.session(arguments, settings)
    if arguments.action == LIST:
        return list_executions(session, settings, arguments.limit or LIMIT, arguments.json)
    same = command.same_settings(arguments, SETTINGS)
    if arguments.local:
        same = [f"--local={arguments.local}", *same]
    options = f" {shlex.join(same)}" if same else ""
    sagemaker = session.client("sagemaker")
    if arguments.action == RETRY:
        return retry(sagemaker, settings, named, options)
    execution = execution_names.find(sagemaker, settings, named)
    if arguments.action == STOP:
        return stop(sagemaker, execution, options)
    if arguments.action == SHOW:
        return show(session, execution, options)
    arn = execution["PipelineExecutionArn"]
    return execution_log.show_logs(session, arn, step, arguments.follow, arguments.lines, options)


if __name__ == "__main__":
    command.run(main)
