"""What to type to go on after the gate's no.

The Fail step names the option that would let the model pass: --parameter Name=value or --set key=value.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from config.parameters import execution_parameters
from config.settings import Settings

_OPTION = re.compile(r"--(parameter|set) (\w[\w.]*=[\w.-]*\w)")
# The parameters that the gate and the steps behind it read: a selective execution gives all others no say.
TAIL = (
    *("AccuracyThreshold", "ReplaceWorse", "ModelApprovalStatus", "EndpointName"),
    *("EndpointInstanceType", "EndpointInstanceCount", "VerificationInstanceType"),
)


def retry_command(refusal: str, command: Sequence[str]) -> str:
    """The command that was refused, with what would let it pass; "" if nothing that can be typed would."""
    found = _OPTION.search(refusal)
    return shlex.join([*command, f"--{found[1]}", found[2]]) if found else ""


def rerun_command(
    refusal: str, arn: str, given: Mapping[str, str], settings: Settings, options: Sequence[str] = ()
) -> str:
    """The command that runs the gate again, and what follows, with the results of a refused execution.

    Args:
        refusal: what the Fail step said.
        arn: the execution's.
        given: its parameters by name; what is a default need not be typed.
        options: those that find the pipeline.
    """
    found = _OPTION.search(refusal)
    if not found:
        return ""
    start = ["python", "scripts/start_execution.py", *options, "--from", "CheckAccuracy", "--source", arn]
    defaults = {item.name: str(item.default) for item in execution_parameters(settings, "")}
    kept = {name: given[name] for name in TAIL if name in given and given[name] != defaults[name]}
    if found[1] == "parameter":
        name, _, value = found[2].partition("=")
        kept[name] = value
    for name, value in kept.items():
        start += ["--parameter", f"{name}={value}"]
    command = shlex.join([*start, "--wait"])
    if found[1] == "set":
        upsert = shlex.join(["python", "scripts/upsert_pipeline.py", *options, "--set", found[2]])
        command = f"{upsert} && {command}"
    return command
