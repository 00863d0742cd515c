"""What to try after the gate refused a model: the next commands, filled in.

The Fail step names the option that would let the model pass: --parameter Name=value or --set key=value.
Commands that would improve the model come first.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from config.parameters import WEIGHTS, execution_parameters
from config.settings import Settings
from entrypoints.backbones import BACKBONES
from entrypoints.contract import BACKBONE, RANDOM_WEIGHTS
from scripts.execution import parameters_of

if TYPE_CHECKING:
    import boto3

_OPTION = re.compile(r"--(parameter|set) (\w[\w.]*=[\w.-]*\w)")
# The parameters that the gate and the steps after it read; a selective execution ignores all others.
TAIL = (
    *("AccuracyThreshold", "ReplaceWorse", "ModelApprovalStatus", "EndpointName"),
    *("EndpointInstanceType", "EndpointInstanceCount", "VerificationInstanceType"),
)
GATE, TUNING = "CheckAccuracy", "TuneHyperparameters"
# A class with this many times another's pictures dominates it.
IMBALANCE = 2
LOCAL_URL = "http://127.0.0.1:4566"  # the default URL of python -m local


@dataclass(frozen=True)
class Way:
    """Something to try, in a few words, and its command."""

    what: str
    command: str


@dataclass(frozen=True)
class Refused:
    """A refused execution.

    Args:
        sentence: what the Fail step said.
        parameters: the execution's, by name; defaults may be missing.
        pictures: training pictures by class, empty if unknown.
    """

    sentence: str
    arn: str
    parameters: Mapping[str, str]
    pictures: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Change:
    """What the next run does differently."""

    what: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    sets: Sequence[str] = ()
    pretrained: bool = False


def ways_of_run(refused: Refused, settings: Settings, typed: Sequence[str], home: Path | str) -> list[Way]:
    """What to try after a refused run of run_local.py.

    Args:
        typed: the command that was typed; with --resume only its home is used.
        home: the home folder.
    """
    if not _OPTION.search(refused.sentence):
        return []
    served = f"python -m local --home {shlex.quote(str(home))}"
    if "--resume" in typed:
        return ways_of_start(refused, settings, [f"--local={LOCAL_URL}"], served)
    ways = []
    for change in _changes(refused, settings):
        options = ["--weights", "imagenet"] if change.pretrained else []
        for name, value in change.parameters.items():
            options += ["--parameter", f"{name}={value}"]
        for assignment in change.sets:
            options += ["--set", assignment]
        rest = _without(typed, "--weights", "") if change.pretrained else list(typed)
        for name in change.parameters:
            rest = _without(rest, "--parameter", f"{name}=")
        ways.append(Way(change.what, shlex.join([*rest, *options])))
    return [*ways, _accept(refused, settings, [f"--local={LOCAL_URL}"], served)]


def ways_of_start(
    refused: Refused, settings: Settings, options: Sequence[str] = (), served: str = ""
) -> list[Way]:
    """What to try after a refused execution that start_execution.py, Studio or a schedule started.

    The pictures are already split, so whatever changes the training starts at TuneHyperparameters.

    Args:
        options: those that find the pipeline.
        served: the command that must run meanwhile, if any.
    """
    if not _OPTION.search(refused.sentence):
        return []
    defaults = _defaults(settings)
    given = {
        name: value
        for name, value in refused.parameters.items()
        if name in defaults and value != defaults[name] and not (name == WEIGHTS and is_random(value))
    }
    meanwhile = f", while {served} runs" if served else ""
    ways = []
    for change in _changes(refused, settings):
        first: list[str] = []
        changed = {**given, **change.parameters}
        if change.pretrained:
            weights, url = BACKBONES[BACKBONE].weights_url, f"s3://{settings.bucket}/{settings.name}/weights/"
            name = weights.rpartition("/")[2]
            local = [f"--endpoint-url={item.partition('=')[2]}" for item in options if "--local=" in item]
            copy = ["aws", "s3", "cp", name, url, *local]
            first = [shlex.join(["curl", "-O", weights]), shlex.join(copy)]
            changed[WEIGHTS] = f"{url}{name}"
        if change.sets:
            sets = [f"--set={assignment}" for assignment in change.sets]
            first = [shlex.join(["python", "scripts/upsert_pipeline.py", *options, *sets])]
        ways.append(
            Way(
                f"{change.what}{meanwhile}",
                " && ".join([*first, _start(TUNING, refused.arn, changed, options)]),
            )
        )
    return [*ways, _accept(refused, settings, options, served)]


def parameters(session: boto3.Session, arn: str, settings: Settings) -> dict[str, str]:
    """An execution's parameters by name; where it has the default, its source's value.

    Results that a selective execution takes from an earlier one were made with that one's parameters.
    """
    own = parameters_of(session, arn)
    described = session.client("sagemaker").describe_pipeline_execution(PipelineExecutionArn=arn)
    source = described.get("SelectiveExecutionConfig", {}).get("SourcePipelineExecutionArn")
    if not source:
        return own
    defaults = _defaults(settings)
    chosen = {
        name: value
        for name, value in own.items()
        if name in TAIL or not (value == defaults.get(name) or (name == WEIGHTS and is_random(value)))
    }
    return {**parameters(session, source, settings), **chosen}


def _without(typed: Sequence[str], option: str, value: str) -> list[str]:
    """The typed command without this option, in either spelling, where its value begins with `value`."""
    rest: list[str] = []
    items = iter(typed)
    for item in items:
        if item == option:
            given = next(items, "")
            rest += [] if given.startswith(value) else [item, given]
        elif not item.startswith(f"{option}={value}"):
            rest.append(item)
    return rest


def _changes(refused: Refused, settings: Settings) -> list[_Change]:
    """What may improve the model, the most promising first."""
    changes = []
    if is_random(refused.parameters.get(WEIGHTS, "")):
        changes.append(_Change("start from pretrained weights", pretrained=True))
    epochs = 2 * int(refused.parameters.get("Epochs", _defaults(settings)["Epochs"]))
    changes.append(_Change("train longer", {"Epochs": str(epochs)}))
    if not settings.training.class_weights:
        counts = sorted(refused.pictures.items(), key=lambda item: item[1])
        sets = ["training.class_weights=true"]
        if not counts:
            changes.append(
                _Change("if some classes have few pictures: give all classes the same weight", sets=sets)
            )
        elif counts[-1][1] >= IMBALANCE * counts[0][1]:
            (few, least), (many, most) = counts[0], counts[-1]
            uneven = f"{most} pictures of {many!r}, {least} of {few!r} in training"
            changes.append(_Change(f"give all classes the same weight ({uneven})", sets=sets))
    return changes


def _accept(refused: Refused, settings: Settings, options: Sequence[str], served: str) -> Way:
    """How to accept the model as it is: run the gate and all that follows again, on the existing results."""
    found = _OPTION.search(refused.sentence)
    assert found
    defaults, given = _defaults(settings), refused.parameters
    # An endpoint that has become serverless lacks the parameters of instances.
    asked = [name for name in TAIL if name in given and name in defaults]
    kept = {name: given[name] for name in asked if given[name] != defaults[name]}
    if found[1] == "parameter":
        name, _, value = found[2].partition("=")
        kept[name] = value
    command = _start(GATE, refused.arn, kept, options)
    if found[1] == "set":
        upsert = shlex.join(["python", "scripts/upsert_pipeline.py", *options, "--set", found[2]])
        command = f"{upsert} && {command}"
    return Way("accept this model anyway" + (f", while {served} runs" if served else ""), command)


def _start(first: str, arn: str, parameters: Mapping[str, str], options: Sequence[str]) -> str:
    start = ["python", "scripts/start_execution.py", *options, "--from", first, "--source", arn]
    for name, value in parameters.items():
        start += ["--parameter", f"{name}={value}"]
    return shlex.join([*start, "--wait"])


def _defaults(settings: Settings) -> dict[str, str]:
    return {item.name: str(item.default) for item in execution_parameters(settings, "")}


def is_random(url: str) -> bool:
    """Whether PretrainedWeightsUrl stands for random weights: no default but the marker's (steps/code.py)."""
    return not url or "/code/random_weights/" in url or url.endswith(RANDOM_WEIGHTS)
