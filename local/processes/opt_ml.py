"""The /opt/ml of a program, which lies in a folder of its own: of every job, model server and function.

Where the kernel lets it, it has it under its own name (launcher.py), so that programs that name /opt/ml
themselves run unchanged. Elsewhere the prefix /opt/ml is replaced in the program's arguments, environment and
configuration files: programs that take every path from these run unchanged.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.home.files import make_file, make_folder
from local.processes.launcher import OPT_ML

LAUNCHER = Path(__file__).with_name("launcher.py")
VARIABLE = "LOCAL_OPT_ML"
REWRITTEN = "rewritten"
NOTE = "note: no /opt/ml of its own here"
# Not the end of a longer path or of an S3 key, nor the beginning of another name (/opt/mlflow).
_PATH = re.compile(rf"(?:(?<=file://)|(?<![\w.~+@%/-])){OPT_ML}(?![\w.~+@%-])")
log = logging.getLogger(__name__)


def outside(path: str, folder: Path) -> Path:
    """Where the service finds what a job whose /opt/ml is `folder` knows as /opt/ml/..."""
    return folder / path.removeprefix(OPT_ML).lstrip("/")


def rewritten(value: Any, ml: Path) -> Any:
    """A string, list or dict with /opt/ml, where a path begins with it, replaced by `ml` in every string."""
    if isinstance(value, str):
        return _PATH.sub(lambda _: str(ml), value)
    if isinstance(value, list):
        return [rewritten(item, ml) for item in value]
    if isinstance(value, dict):
        return {key: rewritten(item, ml) for key, item in value.items()}
    return value


@dataclass(frozen=True)
class OptMl:
    """How a program gets at its /opt/ml.

    Args:
        folder: where it lies on this machine.
        way: what launcher.py does before the program starts; "" for nothing.
        obstacle: why it has none of its own; "" if it has.
    """

    folder: Path
    way: str
    obstacle: str

    def inside(self, value: Any) -> Any:
        """A string, list or dict as the program is told it."""
        return rewritten(value, self.folder) if self.obstacle else value

    def begin(self, job_log: Path) -> Path:
        """The log of a job or server, which says what will not work, if something will not."""
        if self.obstacle:
            make_folder(job_log.parent)
            make_file(job_log)
            with job_log.open("a", encoding="utf-8") as file:
                file.write(
                    f"{NOTE} ({self.obstacle}): programs that name /opt/ml themselves, as drivers of the"
                    " SDK's ModelTrainer and FrameworkProcessor do, will not find it; in arguments,"
                    f" environment and configuration files it is {self.folder} (docs/opt-ml.md)\n"
                )
        return job_log


def opt_ml(folder: Path) -> OptMl:
    """How a program gets at its /opt/ml in `folder`, which this makes.

    Raises:
        ValueError: in no way that keeps it off the machine's own.
    """
    make_folder(folder)
    if folder.resolve().is_relative_to(Path(OPT_ML).resolve()):
        raise ValueError(
            f"{folder} lies in the machine's /opt/ml, which every program has to itself;"
            " choose a home folder elsewhere with --home"
        )
    forced = os.environ.get(VARIABLE, "")
    if forced not in {"", REWRITTEN}:
        raise ValueError(f"{VARIABLE} is {forced!r}; leave it away, or set it to {REWRITTEN!r}")
    obstacle = f"{VARIABLE} is {REWRITTEN}" if forced else _obstacle("own")
    if not obstacle:
        return OptMl(folder, "own", "")
    if not _writable():
        return OptMl(folder, "", obstacle)
    # The strict reading of "never may a job write into the machine's own /opt/ml": one that could, and cannot
    # be kept from it, does not start. To look afterwards would be too late for what another job has read.
    if unguarded := _obstacle("guarded"):
        raise ValueError(
            f"a program could write into the machine's own /opt/ml: it can have none of its own ({obstacle}),"
            f" nor be kept from that one ({unguarded}); run the local service as a user who cannot write to"
            " /opt, or, in Docker, with --cap-add SYS_ADMIN"
        )
    return OptMl(folder, "guarded", obstacle)


def _writable() -> bool:
    """Whether a program could make or change the machine's /opt/ml."""
    path = Path(OPT_ML)
    return os.access(next(folder for folder in (path, *path.parents) if folder.exists()), os.W_OK)


@functools.cache
def _obstacle(way: str) -> str:
    """Why launcher.py cannot do its work on this machine; "" if it can: a process tries, once."""
    with tempfile.TemporaryDirectory() as name:
        Path(name, "there").touch()
        look = f"import os; os.stat('{OPT_ML}/there')" if way == "own" else ""
        python = [sys.executable, "-IS"]
        # On no record: it ends at once by itself.
        command = [*python, str(LAUNCHER), "", way, name, *python, "-c", look]
        tried = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    said = (tried.stderr.strip() or f"exit status {tried.returncode}").splitlines()[-1]
    if tried.returncode == 0:
        log.info("launcher.py %s works on this machine", way)
        return ""
    log.warning("launcher.py %s does not work on this machine: %s", way, said)
    return said
