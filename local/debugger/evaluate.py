"""The program that evaluates a training job's rules: python -m local.debugger.evaluate REQUEST RESULTS.

smdebug keeps global state and is slow to import. REQUEST is a JSON file, {"job": name, "tensors": folder,
"profile": folder, "rules": [{"name", "rule", "parameters", "reports": folder}]}. stdin ends when the training
job does: until then the rules with an action are evaluated again and again, the others once after it. RESULTS
gets a line of JSON per rule: {"name", "RuleEvaluationStatus", "StatusDetails"}.
"""

from __future__ import annotations

import json
import re
import select
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

# smdebug needs torch only in a training; it costs half a gigabyte and seconds. Make its import fail here.
sys.modules["torch"] = None  # type: ignore[assignment]

from smdebug.exceptions import RuleEvaluationConditionMet, SMDebugError  # noqa: E402
from smdebug.profiler.system_metrics_reader import LocalSystemMetricsReader  # noqa: E402
from smdebug.rules.action import Actions  # noqa: E402
from smdebug.trials import create_trial  # noqa: E402

from local.debugger import profiler_report  # noqa: E402
from local.debugger.system_rules import PROFILER_REPORT, Samples, judge  # noqa: E402
from local.debugger.tensor_rules import ACTIONS, RULES, Finding  # noqa: E402
from local.debugger.tensors import DAMAGE, NothingToJudge, Tensors  # noqa: E402

_SHARE_OF_TIME = 0.05  # of one core, for looking at a running job
_SHORTEST_PAUSE_S = 1.0
_DETAILS_CHARACTERS = 1024  # botocore's service model, StatusDetails: one line
# What damaged tensors or wrong parameters raise in a rule: a malformed pattern, an interval of 0.
_UNREADABLE = (*DAMAGE, re.error)


@dataclass
class Job:
    """What a training job leaves for the rules, read when a rule asks for it."""

    folders: Mapping[str, Any]
    name: str
    _tensors: Tensors | None = field(default=None, init=False)
    _samples: Samples | None = field(default=None, init=False)

    def tensors(self) -> Tensors:
        """Raises NothingToJudge: nothing was saved, yet."""
        if self._tensors is None:
            folder = self.folders["tensors"]
            # create_trial would wait for these.
            if folder is None or not any(Path(folder).glob("collections/*/*.json")):
                raise NothingToJudge("no tensors were saved")
            self._tensors = Tensors(create_trial(folder))
        return self._tensors

    def look_again(self) -> None:
        """Read the system metrics again while the job runs; smdebug itself looks for new tensors."""
        self._samples = None

    def samples(self) -> Samples:
        """Raises NothingToJudge: the profiler wrote nothing."""
        if self._samples is None:
            folder, events = self.folders["profile"], []
            if folder is not None and Path(folder).is_dir():
                events = LocalSystemMetricsReader(folder).get_events(0, time.time() * 1e6)
            if not events:
                raise NothingToJudge("no system metrics were recorded")
            self._samples = Samples(events)
        return self._samples


def find(job: Job, asked: Mapping[str, Any]) -> Finding | None:
    """What a rule of the request finds in a job.

    Raises:
        NothingToJudge: what it reads is not there.
        SMDebugError: smdebug cannot read it.
        Exception of _UNREADABLE: a parameter makes no sense, or a tensor is damaged.
    """
    rule, parameters = asked["rule"], asked["parameters"]
    if rule in RULES:
        return RULES[rule](job.tensors(), parameters)
    if rule == PROFILER_REPORT:
        return profiler_report.write(job.samples(), job.name, parameters, Path(asked["reports"]))
    return judge(job.samples(), rule, parameters)


def _tell(results: TextIO, name: str, status: str, details: str) -> None:
    line = {
        "name": name,
        "RuleEvaluationStatus": status,
        "StatusDetails": " ".join(details.split())[:_DETAILS_CHARACTERS],
    }
    results.write(json.dumps(line) + "\n")
    results.flush()


def _details(rule: str, finding: Finding) -> str:
    """AWS's sentence where the finding has a step, and the reason."""
    if finding.step is None:
        return finding.reason
    return f"RuleEvaluationConditionMet: {RuleEvaluationConditionMet(rule, finding.step)}: {finding.reason}"


def main(request: Path, results: Path) -> None:
    asked = json.loads(request.read_text(encoding="utf-8"))
    job, rules = Job(asked, asked["job"]), asked["rules"]
    actions: dict[str, Actions] = {}
    pause_s = _SHORTEST_PAUSE_S
    with results.open("w", encoding="utf-8") as lines:
        for rule in [rule for rule in rules if ACTIONS in rule["parameters"]]:
            try:
                # An action looks for its training job when it is made. The SDK escapes its quotes.
                actions[rule["name"]] = Actions(rule["parameters"][ACTIONS].replace('\\"', '"'), rule["rule"])
            except ValueError as error:
                _tell(lines, rule["name"], "Error", f"{ACTIONS} is not JSON: {error}")
                rules.remove(rule)
        while rules:
            ended = bool(select.select([sys.stdin], [], [], None if not actions else pause_s)[0])
            began = time.monotonic()
            job.look_again()
            for rule in [rule for rule in rules if ended or rule["name"] in actions]:
                try:
                    finding = find(job, rule)
                except (NothingToJudge, SMDebugError, *_UNREADABLE) as error:
                    if ended:
                        spoken = isinstance(error, NothingToJudge | SMDebugError | ValueError) and str(error)
                        _tell(lines, rule["name"], "Error", spoken or f"{type(error).__name__}: {error}")
                    continue
                if finding:
                    _tell(lines, rule["name"], "IssuesFound", _details(rule["rule"], finding))
                    rules.remove(rule)
                    if rule["name"] in actions:
                        actions[rule["name"]].invoke()
                elif ended:
                    _tell(lines, rule["name"], "NoIssuesFound", "")
            if ended:
                return
            pause_s = max(_SHORTEST_PAUSE_S, (time.monotonic() - began) / _SHARE_OF_TIME)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
