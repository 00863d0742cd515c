"""Start an execution of the pipeline, and with --wait follow it until its endpoint is InService.

--from STEP runs that step and all that follow it, and takes the rest from an earlier execution: the service's
selective execution. --retry continues an execution that failed or was stopped, under its own ARN, from the
steps that failed. Exit code 1: the gate said no, or a step failed.
"""

from __future__ import annotations

if not __package__:
    import root  # noqa: F401

import argparse
import json
import re
import shlex
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import scripts.command as command
from config.parameters import WEIGHTS, check_assignments, execution_parameters
from config.settings import Settings
from scripts import debugger, estimate, execution_names, refusals
from scripts.checks import quotas
from scripts.checks.check import refuse, subject
from scripts.execution import (
    Execution,
    deployment,
    follow,
    planned,
    succeeded,
    wait_for_endpoint,
)
from scripts.execution_names import LATEST
from scripts.refusals import Refused, Way, ways_of_start
from scripts.weights import check_url

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_sagemaker.client import SageMakerClient
    from mypy_boto3_sagemaker.type_defs import DescribePipelineResponseTypeDef

# The rest is in the upserted definition. `deployment` matters for the check of EndpointInstanceCount; how an
# update moves traffic is also in the definition.
SETTINGS = ("name", "region")
POLL_S = 5.0
RETRIED = ("Failed", "Stopped")
# Not in a path, nor in the line by which a training says that it goes on without (entrypoints/debugger.py).
_MENTIONS_DEBUGGER = re.compile(r"(?<![\w/\\.~-])(?:sm)?debugger(?!\S*/)(?! records nothing)", re.IGNORECASE)
CHAMPION, EVALUATION = "FindChampion", "EvaluateModel"
DEBUGGER_REMEDY = (
    "SageMaker Debugger is closed to accounts that never used it: leave it out with"
    " python scripts/upsert_pipeline.py --no-debugger, then start again"
)


def start(
    session: boto3.Session,
    pipeline: str,
    values: dict[str, str],
    selected: Sequence[str] = (),
    source: str | None = None,
) -> str:
    """Start an execution with these parameter values and return its ARN.

    Args:
        selected: the steps to run, all if empty; the rest is taken from the execution `source`.

    Raises:
        ClientError: AWS refused.
    """
    request: dict[str, Any] = {
        "PipelineName": pipeline,
        "PipelineParameters": [{"Name": name, "Value": value} for name, value in values.items()],
    }
    if selected:
        request["SelectiveExecutionConfig"] = {
            "SelectedSteps": [{"StepName": name} for name in selected],
            **({"SourcePipelineExecutionArn": source} if source else {}),
        }
    arn: str = session.client("sagemaker").start_pipeline_execution(**request)["PipelineExecutionArn"]
    return arn


def steps_from(definition: str, first: str) -> list[str]:
    """`first` and every step that needs it, directly or not; after a condition the steps of its branches.

    FindChampion is selected with EvaluateModel: SageMaker takes the outputs of unselected steps, including
    functions, from the earlier execution, and the model that served then may no longer serve. (Developer
    guide, "Selective execution of pipeline steps".)

    Raises:
        Failure: there is no such step, or it is in a branch, which is chosen with its condition.
    """
    steps = json.loads(definition)["Steps"]
    names = [step["Name"] for step in steps]
    if first not in names:
        branches = {name: step["Name"] for step in steps for name, _ in planned([step])}
        reason = f"it goes with {branches[first]}" if first in branches else "no such step"
        command.fail(f"--from {first!r}: {reason}; choose one of {', '.join(names)}")
    chosen: list[str] = []
    for step in steps[names.index(first) :]:  # a definition lists a step after those that it needs
        text, needed = json.dumps(step), step.get("DependsOn", [])
        if step["Name"] == first or any(f'"Steps.{name}.' in text or name in needed for name in chosen):
            chosen += [name for name, _ in planned([step])]
    if EVALUATION in chosen and CHAMPION not in chosen and CHAMPION in names:
        chosen.insert(0, CHAMPION)
    return chosen


def report(
    session: boto3.Session, execution: Execution, poll_s: float, ways_on: Callable[[str], Sequence[Way]]
) -> int:
    """Wait for an execution's endpoint and report how it ended; return the command's exit code.

    Args:
        ways_on: what to try after the gate's refusal.
    """
    say = command.output.print
    if execution.refused:
        say(f"Refused. {execution.refused}", soft_wrap=True)
        for way in ways_on(execution.refused):
            say(f"{way.what}:\n  {way.command}", soft_wrap=True)
        return 1
    if execution.status != "Succeeded":
        say(f"{execution.status}: {execution.failure_reason}", soft_wrap=True)
        training = execution.step("TrainModel") or {}
        if _MENTIONS_DEBUGGER.search(training.get("FailureReason", "")):
            say(f"TrainModel: {training['FailureReason']}\n{DEBUGGER_REMEDY}", soft_wrap=True)
        return 1
    answer = deployment(execution)
    if answer.get("deployed", "").lower() != "true":
        reason = answer.get("reason", "the step DeployEndpoint did not run")
        say(f"Succeeded; nothing is deployed: {reason}", soft_wrap=True)
        return 0
    endpoint = answer["endpoint_name"]
    problem = wait_for_endpoint(session, endpoint, answer["endpoint_config_name"], poll_s)
    say(f"Succeeded; {problem or f'endpoint {endpoint} is InService'}", soft_wrap=True)
    return 1 if problem else 0


def needed(definition: str, selected: Collection[str]) -> set[str]:
    """The steps whose results the selected ones, branches included, take from an earlier execution."""
    steps = json.loads(definition)["Steps"]
    text = json.dumps([step for step in steps if step["Name"] in selected])
    others = {name for name, _ in planned(steps)} - set(selected)
    after = [name for part in re.findall(r'"DependsOn": (\[.*?\])', text) for name in json.loads(part)]
    return {name for name in others if name in after or f'"Steps.{name}.' in text}


def latest(sagemaker: SageMakerClient, pipeline: str, needs: set[str]) -> str:
    """The ARN of the newest execution that can be a source: it has ended, and these steps succeeded.

    Raises:
        Failure: there is none.
    """
    pages = sagemaker.get_paginator("list_pipeline_executions").paginate(
        PipelineName=pipeline, SortBy="CreationTime", SortOrder="Descending"
    )
    for page in pages:
        for item in page["PipelineExecutionSummaries"]:
            arn = item["PipelineExecutionArn"]
            ended = item["PipelineExecutionStatus"] in {"Succeeded", "Failed"}
            if ended and needs <= succeeded(sagemaker, arn):
                return arn
    raise command.Failure(
        f"pipeline {pipeline} has no finished execution whose results --from could use: one in which "
        f"{', '.join(sorted(needs))} succeeded; leave out --from once"
    )


def retry(sagemaker: SageMakerClient, arn: str) -> None:
    """Continue an execution that failed or was stopped.

    Raises:
        ClientError: AWS refused.
    """
    sagemaker.retry_pipeline_execution(PipelineExecutionArn=arn, ClientRequestToken=uuid.uuid4().hex)


def to_retry(sagemaker: SageMakerClient, settings: Settings, named: str, option: str = "--retry") -> str:
    """The ARN of the execution to go on with: an ARN, an execution's id, or the latest.

    Args:
        option: where it was named.

    Raises:
        Failure: there is none, or it neither failed nor was stopped.
    """
    found = execution_names.find(sagemaker, settings, named, option)
    arn, status = found["PipelineExecutionArn"], found["PipelineExecutionStatus"]
    if status not in RETRIED:
        command.fail(f"{option}: {arn} is {status}; only an execution that is Failed or Stopped goes on")
    return arn


def check_debugger(
    sagemaker: SageMakerClient,
    live: DescribePipelineResponseTypeDef,
    selected: Sequence[str],
    arguments: argparse.Namespace,
) -> None:
    """Refuse to start a training with Debugger if this account may not be allowed to use it.

    Raises:
        Failure: it is not allowed, or that is unknown; the split and all trials would be paid for in vain.
    """
    training = debugger.training_step(live["PipelineDefinition"])
    if training is None or (selected and training["Name"] not in selected):
        if arguments.probe_debugger:
            command.fail("--probe-debugger: nothing would train under Debugger; leave it out")
        return
    if arguments.assume_debugger or (command.is_local() and not arguments.probe_debugger):
        return
    answer = debugger.ask(sagemaker, live["PipelineArn"], training, arguments.probe_debugger)
    if answer.allowed is None:
        command.fail(
            f"nobody knows whether this account may use Debugger ({answer.reason}), and every trial would be "
            "paid for before TrainModel tells; add --probe-debugger, which asks AWS for a cent, or "
            "--assume-debugger, or leave it out with python scripts/upsert_pipeline.py --no-debugger"
        )
    if not answer.allowed:
        command.fail(f"AWS refuses Debugger to this account: {answer.reason}. {DEBUGGER_REMEDY}")


def check_quotas(
    live: DescribePipelineResponseTypeDef,
    values: Mapping[str, str],
    settings: Settings,
    session: boto3.Session,
    arguments: argparse.Namespace,
) -> None:
    """Refuse a start for which the account may not have the instances; some twenty requests, a few seconds.

    Raises:
        Failure: a quota is too small; split and trials would be paid for before AWS says so.
    """
    definition = live["PipelineDefinition"]
    defaults = {
        item["Name"]: str(item.get("DefaultValue", "")) for item in json.loads(definition)["Parameters"]
    }
    upserted = quotas.as_upserted(settings, definition)
    refuse(subject(arguments, upserted, session, {**defaults, **values}), [quotas.limits])


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command.parser(__doc__ or "", SETTINGS)
    command.add_parameters(parser)
    parser.add_argument("--from", metavar="STEP", dest="first", help="run from this step on only")
    parser.add_argument(
        "--source",
        metavar="EXECUTION",
        help="with --from: the execution whose results to use, by id or ARN (default: the latest that fits)",
    )
    parser.add_argument(
        "--retry",
        metavar="EXECUTION",
        nargs="?",
        const=LATEST,
        help="go on with an execution, by id or ARN, from the steps that failed (default: the latest)",
    )
    unsure = parser.add_mutually_exclusive_group()
    unsure.add_argument("--probe-debugger", action="store_true", help=debugger.PROBE_HELP)
    unsure.add_argument(
        "--assume-debugger",
        action="store_true",
        help="start without knowing whether Debugger is allowed",
    )
    parser.add_argument(
        "--estimate", action="store_true", help="say what it would cost, step by step, and start nothing"
    )
    parser.add_argument("--wait", action="store_true", help="follow it until the endpoint is InService")
    arguments = parser.parse_args(argv)
    if arguments.source and not arguments.first:
        parser.error("--source goes with --from")
    if arguments.estimate and (arguments.retry or arguments.wait):
        parser.error("--estimate is about a new execution and starts nothing: leave out --retry and --wait")
    if arguments.retry and (arguments.first or arguments.parameters):
        parser.error("--retry continues what was started: leave out --from and --parameter")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    settings = command.settings(arguments)
    for option in ("source", "retry"):
        if named := getattr(arguments, option):
            execution_names.check(named, f"--{option}")
    values = check_assignments(execution_parameters(settings, ""), arguments.parameters)
    session = command.session(arguments, settings)
    sagemaker = session.client("sagemaker")
    live = command.live_pipeline(sagemaker, settings)
    selected: list[str] = []
    source = None
    if arguments.first:
        selected = steps_from(live["PipelineDefinition"], arguments.first)
        needs = needed(live["PipelineDefinition"], selected)
        if arguments.source and arguments.source != LATEST:
            found = execution_names.find(sagemaker, settings, arguments.source, "--source")
            source = found["PipelineExecutionArn"]
        elif needs:
            source = latest(sagemaker, settings.pipeline_name, needs)
        rest = f"; the rest comes from {source}" if source else ""
        command.console.print(f"running {', '.join(selected)}{rest}", soft_wrap=True)
        if EVALUATION in needs:
            command.console.print(
                f"the model was compared with what served then; --from {EVALUATION} compares it with what "
                "serves now",
                soft_wrap=True,
            )
    if arguments.estimate:
        estimate.of_new(session, settings, live["PipelineDefinition"], values, selected)
        return 0
    if arguments.retry:
        arn = to_retry(sagemaker, settings, arguments.retry)
        retry(sagemaker, arn)
    else:
        if WEIGHTS in values:
            check_url(session.client("s3"), values[WEIGHTS])
        check_debugger(sagemaker, live, selected, arguments)
        if not (selected or command.is_local()):  # which has no quotas
            check_quotas(live, values, settings, session, arguments)
        arn = start(session, settings.pipeline_name, values, selected, source)
    command.output.print(arn, soft_wrap=True)
    if not arguments.wait:
        return 0
    options = command.same_settings(arguments, SETTINGS)
    if arguments.local:
        options = [f"--local={arguments.local}", *options]
    try:
        execution = follow(session, arn, POLL_S)
        if execution.status != "Succeeded" and not execution.refused:
            show = shlex.join(
                ["python", "scripts/executions.py", "show", execution_names.id_of(arn), *options]
            )
            command.console.print(f"the log of what failed: {show}", soft_wrap=True)
        return report(
            session,
            execution,
            POLL_S,
            lambda said: ways_of_start(
                Refused(said, arn, refusals.parameters(session, arn, settings)), settings, options
            ),
        )
    except KeyboardInterrupt:
        stop = shlex.join(["python", "scripts/executions.py", "stop", execution_names.id_of(arn), *options])
        raise KeyboardInterrupt(f"the execution goes on; stop it with {stop}") from None


if __name__ == "__main__":
    command.run(main)
