"""The /opt/ml of a program (job, model server or function), kept in a separate folder.

Where the kernel allows it, the folder is mounted as /opt/ml (launcher.py), so programs that name /opt/ml
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
    """The path outside the job of one inside it (/opt/ml/...); `folder` is the job's /opt/ml."""
    return folder / path.removeprefix(OPT_ML).lstrip("/")


def rewritten(value: Any, ml: Path) -> Any:
    """A string, list or dict in which `ml` replaces /opt/ml at the beginning of paths."""
    if isinstance(value, str):
        return _PATH.sub(lambda _: str(ml), value)
    if isinstance(value, list):
        return [rewritten(item, ml) for item in value]
    if isinstance(value, dict):
        return {key: rewritten(item, ml) for key, item in value.items()}
    return value


@dataclass(frozen=True)
class OptMl:
    """How a program reaches its /opt/ml.

    Args:
        folder: where it is on this machine.
        way: what launcher.py does before the program starts; "" for nothing.
        obstacle: why the program cannot have its own; "" if it can.
    """

    folder: Path
    way: str
    obstacle: str

    def inside(self, value: Any) -> Any:
        """A string, list or dict with paths as the program sees them."""
        return rewritten(value, self.folder) if self.obstacle else value

    def begin(self, job_log: Path) -> Path:
        """The beginning of a job's or server's log, which says what will not work."""
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
    """How a program reaches its /opt/ml in `folder`, which this function makes.

    Raises:
        ValueError: nothing can keep the program off the machine's own /opt/ml.
    """
    make_folder(folder)
    if folder.resolve().is_relative_to(Path(OPT_ML).resolve()):
        raise ValueError(
            f"{folder} is in /opt/ml, which programs see as their own;"
            " choose a home folder elsewhere with --home"
        )
    forced = os.environ.get(VARIABLE, "")
    if forced not in {"", REWRITTEN}:
        raise ValueError(f"{VARIABLE} is {forced!r}; unset it, or set it to {REWRITTEN!r}")
    obstacle = f"{VARIABLE} is {REWRITTEN}" if forced else _obstacle("own")
    if not obstacle:
        return OptMl(folder, "own", "")
    if not _writable():
        return OptMl(folder, "", obstacle)
    # A job that could write into the machine's own /opt/ml, and cannot be kept off it, does not start. A
    # later check would be too late: another job may have read what it wrote.
    if unguarded := _obstacle("guarded"):
        raise ValueError(
            f"a program could write into the machine's own /opt/ml: it cannot get its own ({obstacle}),"
            f" and cannot be kept off it ({unguarded}); run the local service as a user who cannot write to"
            " /opt, or, in Docker, with --cap-add SYS_ADMIN"
        )
    return OptMl(folder, "guarded", obstacle)


def _writable() -> bool:
    """Whether a program could create or change the machine's /opt/ml."""
    path = Path(OPT_ML)
    return os.access(next(folder for folder in (path, *path.parents) if folder.exists()), os.W_OK)


@functools.cache
def _obstacle(way: str) -> str:
    """Why launcher.py does not work on this machine; "" if it does: a process tries, once."""
    with tempfile.TemporaryDirectory() as name:
        Path(name, "there").touch()
        look = f"import os; os.stat('{OPT_ML}/there')" if way == "own" else ""
        python = [sys.executable, "-IS"]
        # Not recorded: it ends at once by itself.
        command = [*python, str(LAUNCHER), "", way, name, *python, "-c", look]
        tried = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    said = (tried.stderr.strip() or f"exit status {tried.returncode}").splitlines()[-1]
    if tried.returncode == 0:
        log.info("launcher.py %s works on this machine", way)
        return ""
    log.warning("launcher.py %s does not work on this machine: %s", way, said)
    return said
