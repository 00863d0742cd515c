"""Packages that the images lack, as files next to the code, so that jobs and endpoints need no package index.

entrypoints/requirements/wheels-PYTHON.txt names each one's version and sha256 in pip's own form, so a
bundle's digest needs no download. When a bundle is uploaded, on any machine, pip fetches them for the image's
Python on x86_64. scripts/lock_wheels.py writes these lists.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "build" / "wheels"

# The Python of each image: docker/pytorch/2.13 and docker/ray in aws/deep-learning-containers.
TRAINING_PYTHON = "3.12"
SERVING_PYTHON = "3.13"
# glibc of both is 2.34 (Amazon Linux 2023), so wheels for 2.17 to 2.28 run there.
PLATFORMS = tuple(f"manylinux_{version}_x86_64" for version in ("2_17", "2_24", "2_27", "2_28"))

_ENGINES = ("flatbuffers", "onnxruntime")
_PICTURES = ("pi-heif",)
_TRAINING = ("onnx", "safetensors", *_ENGINES, *_PICTURES)
# pyinstrument_cext is source only. The training image has a compiler, Python's headers and, here, setuptools;
# pip before 24 also needs wheel.
_DEBUGGER = (
    *("numpy", "pandas", "protobuf", "pyinstrument", "pyinstrument_cext", "pytz", "setuptools", "smdebug"),
    *("tzdata", "wheel"),
)
# Bundles, and the artifact (`serving`) -> the image's Python, and the distributions that the image lacks or
# has in another version. All their other dependencies are in the image.
LACKING: dict[str, tuple[str, tuple[str, ...]]] = {
    "split": (TRAINING_PYTHON, _PICTURES),
    "tune": (TRAINING_PYTHON, ("safetensors", *_PICTURES)),
    "train": (TRAINING_PYTHON, _TRAINING),
    "train_debugged": (TRAINING_PYTHON, (*_TRAINING, *_DEBUGGER)),
    "evaluate": (SERVING_PYTHON, (*_ENGINES, *_PICTURES)),
    "serving": (SERVING_PYTHON, (*_ENGINES, *_PICTURES)),
}


class WheelsError(Exception):
    """The files are not available; the message is one line."""


@dataclass(frozen=True)
class Lock:
    """Files to fetch for one Python: a line `name==version --hash=sha256:...` for each."""

    python: str
    lines: tuple[str, ...]

    @property
    def text(self) -> bytes:
        return "".join(f"{line}\n" for line in (f"# Python {self.python}, x86_64", *self.lines)).encode()


def locked(name: str, root: Path = ROOT) -> Lock:
    """The wheels of the bundle `name` or, for "serving", of the artifact.

    Raises:
        FileNotFoundError: there is no list for its Python.
        ValueError: the list lacks a distribution.
    """
    python, lacking = LACKING[name]
    path = list_for(python, root)
    lines = {
        line.partition("==")[0]: line
        for line in path.read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    }
    if missing := sorted(set(lacking) - lines.keys()):
        raise ValueError(f"{path} lacks {', '.join(missing)}; write it again with scripts/lock_wheels.py")
    return Lock(python, tuple(lines[item] for item in sorted(lacking)))


def list_for(python: str, root: Path = ROOT) -> Path:
    """The list of an image's Python."""
    return root / "entrypoints" / "requirements" / f"wheels-{python}.txt"


def offline(requirements: bytes) -> bytes:
    """Requirements that pip takes only from the folder wheels/ next to their file."""
    return b"--no-index\n--find-links wheels\n" + requirements


def fetch(lock: Lock, cache: Path = CACHE) -> dict[str, bytes]:
    """The files of a lock by name, from the cache, else from the package index.

    Raises:
        WheelsError: pip could not get one, or it is not the file that the lock names.
    """
    cache.mkdir(parents=True, exist_ok=True)
    folders = {line: cache / line.rpartition("sha256:")[2] for line in lock.lines}
    if missing := [line for line, folder in folders.items() if not folder.is_dir()]:
        with tempfile.TemporaryDirectory(prefix=".", dir=cache) as beside:
            for file in _download(missing, lock.python, Path(beside)):
                folder = Path(beside) / hashlib.sha256(file.read_bytes()).hexdigest()
                folder.mkdir()
                file.rename(folder / file.name)
                folder.rename(cache / folder.name)
    return {file.name: file.read_bytes() for folder in folders.values() for file in folder.iterdir()}


def _download(lines: Sequence[str], python: str, folder: Path) -> list[Path]:
    """The files that pip fetches for lines of a lock; pip compares their digests."""
    requirements = folder / "requirements.txt"
    requirements.write_text("\n".join(lines), "utf-8")
    asked = ("--require-hashes", "--requirement", str(requirements))
    command = [*download_command(python, folder / "files"), *asked]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        errors = [text for text in done.stderr.splitlines() if text.startswith("ERROR: ")]
        reason = errors[0].removeprefix("ERROR: ").rstrip(".") if errors else "no reason given"
        raise WheelsError(
            f"what the images lack cannot be fetched for Python {python} ({reason}); give pip a package index"
            " that has it (PIP_INDEX_URL), or set package_source to index"
        )
    return sorted((folder / "files").iterdir())


def download_command(python: str, folder: os.PathLike[str]) -> list[str]:
    """A pip command that downloads files for an image's Python, independent of the running one."""
    return [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"),
        *("--implementation", "cp", "--python-version", python),
        *(word for platform in PLATFORMS for word in ("--platform", platform)),
        *("--dest", os.fspath(folder)),
    ]
