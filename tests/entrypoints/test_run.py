"""run.sh, the launcher of processing bundles, with a python3 that records its arguments."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.entrypoints.conftest import ROOT

# With a file "no-pip" next to it, it has no pip until `-m ensurepip`; "no-index" makes installations fail.
PYTHON = """#!/bin/bash
here="$(dirname "$0")"
echo "$PYTHONPATH|$*" >> "$here/calls"
if [ "$2" = ensurepip ]; then rm "$here/no-pip"; fi
if [ "$2" = pip ] && [ -f "$here/no-pip" ]; then echo "No module named pip" >&2; exit 1; fi
if [ "$3" = install ] && [ -f "$here/no-index" ]; then echo "no such package" >&2; exit 1; fi
exit 0
"""


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A folder, with a space in its name, that holds run.sh and, in bin/, the python3."""
    folder = tmp_path / "a bundle"
    (folder / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "entrypoints/run.sh", folder)
    (folder / "bin/python3").write_text(PYTHON)
    (folder / "bin/python3").chmod(0o755)
    return folder


def launch(bundle: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run the launcher; its result, and python3's calls as "PYTHONPATH|arguments"."""
    result = subprocess.run(
        ["/bin/bash", bundle / "run.sh", *arguments],
        env={"PATH": f"{bundle / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    calls = bundle / "bin/calls"
    return result, calls.read_text().splitlines() if calls.is_file() else []


def test_without_requirements_it_only_starts_the_program(bundle: Path) -> None:
    result, calls = launch(bundle, "split", "--seed", "1")
    assert result.returncode == 0
    assert calls == [f"{bundle}|-m entrypoints.split --seed 1"]


def test_installs_the_requirements_first(bundle: Path) -> None:
    (bundle / "requirements.txt").write_text("safetensors")
    result, calls = launch(bundle, "evaluate")
    assert result.returncode == 0
    assert calls[0] == "|-m pip --version"
    assert calls[1].startswith("|-m pip install ")
    assert calls[1].endswith(f"--requirement {bundle}/requirements.txt")
    assert calls[2:] == [f"{bundle}|-m entrypoints.evaluate"]


def test_brings_pip_where_the_image_has_none(bundle: Path) -> None:
    (bundle / "requirements.txt").write_text("safetensors")
    (bundle / "bin/no-pip").touch()
    result, calls = launch(bundle, "evaluate")
    assert (result.returncode, result.stderr) == (0, "")
    assert [call.rpartition("|-m ")[2].split()[0] for call in calls] == [
        "pip",
        "ensurepip",
        "pip",
        "entrypoints.evaluate",
    ]


def test_a_requirement_that_cannot_be_had_ends_it(bundle: Path) -> None:
    (bundle / "requirements.txt").write_text("safetensors")
    (bundle / "bin/no-index").touch()
    result, calls = launch(bundle, "evaluate")
    assert result.returncode == 1
    assert "no such package" in result.stderr
    assert not any("entrypoints" in call for call in calls)


def test_without_a_program_it_says_how_to_use_it(bundle: Path) -> None:
    result, calls = launch(bundle)
    assert result.returncode == 1
    assert "usage: run.sh PROGRAM ARGUMENTS..." in result.stderr
    assert calls == []
