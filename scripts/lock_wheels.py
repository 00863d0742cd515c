"""Write the lists of packages that the images lack, from which package_source = "bundle" fetches.

Run it after changing entrypoints/requirements/ or constraints.txt. It asks the package index, through pip,
for the versions in constraints.txt, and writes entrypoints/requirements/wheels-PYTHON.txt with their sha256.
"""

from __future__ import annotations

if not __package__:
    import root  # noqa: F401

import hashlib
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import scripts.command as command
from steps import wheels

# constraints.txt leaves out build tools; smdebug imports pkg_resources, which setuptools 81 dropped.
BESIDES = {"setuptools": "80.9.0", "wheel": "0.45.1"}


def lock(python: str) -> str:
    """The text of one list.

    Raises:
        Failure: constraints.txt lacks a version, or pip could not get a file.
    """
    versions = dict(
        line.split("==") for line in (wheels.ROOT / "constraints.txt").read_text("utf-8").splitlines()
    )
    versions = {name.lower(): version for name, version in versions.items()} | BESIDES
    lacking = [names for image, names in wheels.LACKING.values() if image == python]
    names = sorted(set().union(*lacking))
    if missing := [name for name in names if name not in versions]:
        command.fail(f"constraints.txt lacks {', '.join(missing)}; pin them there")
    lines = [f"# What the image with Python {python} lacks, on x86_64; written by scripts/lock_wheels.py."]
    for name in names:
        requirement = f"{name}=={versions[name]}"
        with command.status(f"{requirement} for Python {python}"), tempfile.TemporaryDirectory() as folder:
            asked = [*wheels.download_command(python, Path(folder)), requirement]
            done = subprocess.run(asked, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                command.fail(f"{requirement} for Python {python}: {done.stderr.strip().splitlines()[-1]}")
            (file,) = Path(folder).iterdir()
            lines.append(f"{requirement} --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}")
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    command.plain_parser(__doc__ or "").parse_args(argv)
    for python in (wheels.TRAINING_PYTHON, wheels.SERVING_PYTHON):
        path = wheels.list_for(python)
        path.write_text(lock(python), "utf-8")
        command.output.print(f"{path}: written", soft_wrap=True)
    return 0


if __name__ == "__main__":
    command.run(main)
