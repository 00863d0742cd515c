"""Commands as forks of a process that has imported their libraries.

Importing the SageMaker SDK costs 5 s of CPU, boto3 half a second: for a hundred commands that was a large
part of the suite. Libraries are all that is there already; of the project's own modules none is. A command
finds what `python FILE ARGUMENTS...` gives it: `__main__`, arguments, path, environment, folder and output.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

CHILD = Path(__file__).with_name("fork.py")
FORKS: Any = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    ["boto3", "numpy", "PIL.Image", "requests", "rich.live", "sagemaker.mlops.workflow.steps"]
)
# The SDK makes boto3 clients when it is imported.
REGION = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"}


def run(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run a file with its arguments to the end, without input.

    Raises:
        subprocess.TimeoutExpired: it has not ended after `timeout_s`; it is killed.
    """
    with TemporaryDirectory() as kept:
        streams = [Path(kept, "stdout"), Path(kept, "stderr")]
        what = {
            "command": list(command),
            "folder": str(folder),
            "environment": dict(environment),
            "streams": [str(path) for path in streams],
        }
        process = FORKS.Process(target=runpy.run_path, args=(str(CHILD), what))
        with _environment(REGION):  # the first starts the process that forks
            process.start()
        process.join(timeout_s)
        ended = process.exitcode is not None
        process.kill()
        process.join()
        output, errors = (path.read_text(encoding="utf-8") for path in streams)
        if not ended:
            raise subprocess.TimeoutExpired(list(command), timeout_s, output, errors)
        return subprocess.CompletedProcess(list(command), process.exitcode, output, errors)


@contextmanager
def _environment(added: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(added)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
