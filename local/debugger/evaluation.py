"""The rules of a training job: their statuses, and the process that evaluates them (evaluate.py)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import subprocess
import sys
import threading
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from local.debugger.profiler import output_url
from local.debugger.system_rules import PROFILER_REPORT, SYSTEM_RULES
from local.debugger.tensor_rules import ACTIONS, RULES
from local.home import clock
from local.home.files import make_file
from local.home.home import Home
from local.home.store import Record
from local.processes.environment import base_environment
from local.processes.files import write_json
from local.processes.start import Started, start
from local.s3.transfer import upload
from local.wire.errors import invalid

FOLDER = "rule-evaluations"
_SERVICE_ENDED = "the local service ended"
_STATUSES = {
    "DebugRuleConfigurations": "DebugRuleEvaluationStatuses",
    "ProfilerRuleConfigurations": "ProfilerRuleEvaluationStatuses",
}
_KNOWN = {
    "DebugRuleConfigurations": set(RULES),
    "ProfilerRuleConfigurations": {*SYSTEM_RULES, PROFILER_REPORT},
}


def tensors_url(record: Record) -> str:
    """The folder of a job's tensors: the path that smdebug's create_trial takes."""
    return f"{record['DebugHookConfig']['S3OutputPath'].rstrip('/')}/{record['TrainingJobName']}/debug-output"


def check(record: Record) -> None:
    """Add the statuses of a new job's rules; an unknown rule is Stopped at once, with the reason.

    Raises:
        ServiceError: ValidationException; two rules have one name.
    """
    names = [rule["RuleConfigurationName"] for rule in _configurations(record)]
    for name in names:
        if names.count(name) > 1:
            raise invalid(f"RuleConfigurationName must be unique: {name!r} occurs twice")
    for configurations, statuses in _STATUSES.items():
        if configurations in record:
            record[statuses] = [
                {
                    "RuleConfigurationName": rule["RuleConfigurationName"],
                    "RuleEvaluationJobArn": _job_arn(record, rule["RuleConfigurationName"]),
                    "LastModifiedTime": clock.now(),
                    **_first_status(rule, configurations),
                }
                for rule in record[configurations]
            ]


def _job_arn(record: Record, rule: str) -> str:
    """As SageMaker names it: 26 characters of the job's name, 26 of the rule's, eight hexadecimal digits."""
    arn, name = record["TrainingJobArn"], record["TrainingJobName"]
    parts = [re.sub(r"[^a-z0-9]+", "-", part.lower())[:26].strip("-") for part in (name, rule)]
    parts.append(hashlib.sha256(f"{name}/{rule}".encode()).hexdigest()[:8])
    prefix = arn.partition(":training-job/")[0]
    return f"{prefix}:processing-job/{'-'.join(filter(None, parts))}"


def _first_status(rule: Record, configurations: str) -> dict[str, str]:
    if _rule(rule) in _KNOWN[configurations]:
        return {"RuleEvaluationStatus": "InProgress"}
    details = f"the rule {_rule(rule) or 'without rule_to_invoke'} is not evaluated on the laptop"
    return {"RuleEvaluationStatus": "Stopped", "StatusDetails": details}


def change_statuses(record: Record, changes: Mapping[str, Record]) -> None:
    """Change the statuses of a job's rules, by the rules' names."""
    for statuses in _STATUSES.values():
        for status in record.get(statuses, []):
            status.update(changes.get(status["RuleConfigurationName"], {}))


def interrupted(record: Record) -> dict[str, Record]:
    """The changes for the rules of a job that were being evaluated when the service last ended."""
    return {
        status["RuleConfigurationName"]: _change("Stopped", _SERVICE_ENDED)
        for statuses in _STATUSES.values()
        for status in record.get(statuses, [])
        if status["RuleEvaluationStatus"] == "InProgress"
    }


def _change(status: str, details: str) -> Record:
    return {"RuleEvaluationStatus": status, "StatusDetails": details, "LastModifiedTime": clock.now()}


class RuleEvaluation:
    """The evaluation of one job's rules: while the job runs if an action may stop it, otherwise after it.

    Args:
        record: of any job; only training jobs have rules.
        service: the environment that makes boto3 talk to this service, for the actions.
    """

    def __init__(self, home: Home, record: Record, service: Mapping[str, str]) -> None:
        self._home = home
        self._record = record
        self._folder = home.folder(FOLDER, record.get("TrainingJobName", ""))
        self._environment = base_environment(service) | {
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "SMDEBUG_LOG_LEVEL": "warning",
            "SMDEBUG_TRAINING_END_DELAY_REFRESH": "0",  # S3 may be late, these files are not
        }
        self._rules = [
            rule
            for configurations, known in _KNOWN.items()
            for rule in record.get(configurations, [])
            if _rule(rule) in known
        ]
        self._lock = threading.Lock()
        self._stopped = False
        self._process: Started | None = None

    def begin(self) -> None:
        """The job begins. A process that cannot be started does not fail the job."""
        if any(ACTIONS in rule["RuleParameters"] for rule in self._rules):
            with contextlib.suppress(OSError):  # `finish` tries again, and tells
                self._start()

    def finish(self) -> dict[str, Record]:
        """The job has ended and its output is in S3: the change of each rule's status, by its name."""
        if not self._rules:
            return {}
        try:
            if self._process is None:
                self._start()
            left = self._wait()
        except (OSError, ValueError) as error:  # a full disk; a path that is not in S3
            left = _change("Error", str(error))
        changes = {rule["RuleConfigurationName"]: left for rule in self._rules}
        results = {name: {**left, **result} for name, result in self._results().items()}
        return changes | results | self._upload_reports(results)

    def stop(self, _timeout_s: float = 0) -> None:
        """End the evaluation at once; rules that it did not reach become Stopped."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()

    def _wait(self) -> Record:
        """Wait for the process; return the change for rules that it did not reach."""
        if self._process is not None:
            self._process.communicate()  # ends its stdin
            self._process.end(0)
        if self._process is None or self._stopped:
            return _change("Stopped", _SERVICE_ENDED)
        return _change("Error", f"exit status {self._process.returncode} (log: {self._folder / 'log.txt'})")

    def _start(self) -> None:
        write_json(self._folder / "request.json", self._request())
        make_file(self._folder / "log.txt")
        with self._lock, (self._folder / "log.txt").open("ab") as log:
            if not self._stopped:
                self._process = start(
                    self._home.processes,
                    [sys.executable, "-m", "local.debugger.evaluate", "request.json", "results.jsonl"],
                    self._environment,
                    self._folder,
                    stdin=subprocess.PIPE,
                    stdout=log,
                )

    def _request(self) -> Record:
        """What evaluate.py reads."""
        debugged = "DebugHookConfig" in self._record
        profiled = "S3OutputPath" in self._record.get("ProfilerConfig", {})
        return {
            "job": self._record["TrainingJobName"],
            "tensors": str(self._home.object_path(tensors_url(self._record))) if debugged else None,
            "profile": str(self._home.object_path(output_url(self._record))) if profiled else None,
            "rules": [
                {
                    "name": rule["RuleConfigurationName"],
                    "rule": _rule(rule),
                    "parameters": rule["RuleParameters"],
                    "reports": str(self._reports(number)),
                }
                for number, rule in enumerate(self._rules)
            ],
        }

    def _reports(self, number: int) -> Path:
        """The folder of what a rule reports."""
        return self._folder / "reports" / str(number)

    def _upload_reports(self, ended: Collection[str]) -> dict[str, Record]:
        """Put these rules' reports into S3; return the changes for rules whose reports cannot be written."""
        changes = {}
        for number, rule in enumerate(self._rules):
            name, folder = rule["RuleConfigurationName"], self._reports(number)
            if name in ended and folder.exists():
                try:
                    upload(self._home, [(folder, _reports_url(self._record, rule))])
                except (OSError, ValueError) as error:  # a full disk; a URI that nothing can be written to
                    changes[name] = _change("Error", str(error))
        return changes

    def _results(self) -> dict[str, Record]:
        file = self._folder / "results.jsonl"
        text = file.read_text(encoding="utf-8") if file.exists() else ""
        # What follows the last newline was being written when the process ended.
        results = [json.loads(line) for line in text.split("\n")[:-1]]
        return {result.pop("name"): result for result in results}


def _configurations(record: Record) -> Iterator[Record]:
    for configurations in _STATUSES:
        yield from record.get(configurations, [])


def _rule(configuration: Record) -> str:
    """The name of a built-in rule, as the SDK asks for it."""
    name: str = configuration.get("RuleParameters", {}).get("rule_to_invoke", "")
    return name


def _reports_url(record: Record, rule: Record) -> str:
    root = rule.get("S3OutputPath", record["OutputDataConfig"]["S3OutputPath"]).rstrip("/")
    name = rule["RuleConfigurationName"]
    return f"{root}/{record['TrainingJobName']}/rule-output/{name}/profiler-output"
