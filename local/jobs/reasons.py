"""Why a job's program failed: its FailureReason."""

from __future__ import annotations

import re
from pathlib import Path

from local.home.disk import MAKE_ROOM, says_full
from local.processes.files import last_lines
from local.processes.opt_ml import NOTE

FAILURE_REASON_CHARACTERS = 1024  # botocore's service model, FailureReason
_FAILURE_FILE_CHARACTERS = 1024  # developer guide, "How Amazon SageMaker processes training output"
_LAST_LINE_CHARACTERS = 400  # the tuning job, the step and the execution quote it in their own
# What the toolkit writes into the failure file unless it captures its program's errors, as AWS's framework
# images make it do (capture_error): the log has the error.
_TOOLKIT_SILENCE = re.compile(r'ExecuteUserScriptError:\nExitCode \d+\nErrorMessage ""')
_TOOLKIT_REPORT = "Reporting training FAILURE"
_ALGORITHM_ERROR = "AlgorithmError: "


def failure_reason(log: Path, exit_status: int, failure: Path | None = None) -> str:
    """Why a program failed, in SageMaker's format, and where its log is.

    Args:
        failure: the file with the reason; without it the reason is the last line of the log.
    """
    ending = f", exit code: {exit_status} (log: {log})"
    written = _written(failure) if failure is not None and failure.is_file() else ""
    if written and not _TOOLKIT_SILENCE.match(written):
        room = FAILURE_REASON_CHARACTERS - len(_ALGORITHM_ERROR) - len(ending)
        return _blamed(f"{written[:room]}{ending}")
    lines = [line for line in last_lines(log, limit=16_384).splitlines() if not line.startswith(NOTE)]
    # The toolkit's own report comes last, and has only the script's exit code.
    toolkit = next((i for i, line in enumerate(lines) if line.endswith(_TOOLKIT_REPORT)), len(lines))
    said = next((line.strip() for line in reversed(lines[:toolkit]) if line.strip()), "it wrote nothing")
    return _blamed(f"{said[:_LAST_LINE_CHARACTERS]}{ending}")


def _written(failure: Path) -> str:
    """The beginning of a failure file, as long as SageMaker shows it."""
    with failure.open(encoding="utf-8", errors="replace") as file:
        return file.read(_FAILURE_FILE_CHARACTERS).strip()


def _blamed(said: str) -> str:
    # On AWS a job has its instance's disk to itself; here all jobs share one, and none is to blame.
    if says_full(said):
        return f"InternalServerError: the disk is full; {MAKE_ROOM}: {said}"
    return f"{_ALGORITHM_ERROR}{said}"
