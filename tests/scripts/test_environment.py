"""scripts/environment.sh with pretended interpreters: it must not install anything here."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("bash", "cp", "dirname", "mkdir", "touch")
# Copies itself as the environment's interpreter, and answers what environment.sh asks of one.
PYTHON = """#!/bin/bash
case "$*" in
    *ensurepip*) exit ${NO_VENV:-0} ;;
    *Python.h*) exit ${NO_HEADERS:-0} ;;
    "-m venv --clear .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
    "-m pip install"*) echo "$*" >> pip.log; exit ${PIP_FAILS:-0} ;;
    --version) echo "Python 3.11.9" ;;
esac
"""
BROKEN = "#!/bin/bash\necho 'pyenv: python3.12: command not found' >&2\nexit 127\n"


@pytest.fixture
def project(tmp_path):
    """A project folder whose PATH holds a compiler and a Python 3.11, after a shim of 3.12 that fails."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "environment.sh", tmp_path / "scripts")
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    for name, content in (("cc", ""), ("python3.12", BROKEN), ("python3.11", PYTHON)):
        (tmp_path / "bin" / name).write_text(content)
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def environment(project, **extra):
    return subprocess.run(
        [shutil.which("bash"), project / "scripts" / "environment.sh"],
        env={"PATH": str(project / "bin"), **extra},
        capture_output=True,
        text=True,
        check=False,
    )


def test_takes_the_first_python_that_runs(project):
    completed = environment(project)
    assert completed.returncode == 0, completed.stderr
    assert "Python 3.11.9" in completed.stderr
    assert (project / ".venv" / "complete").exists()
    pip, project_itself = (project / "pip.log").read_text().splitlines()
    assert pip.endswith("--constraint constraints.txt --upgrade pip")
    assert project_itself.endswith("--constraint constraints.txt .[dev]")


def test_without_a_python_that_runs_it_says_so(project):
    (project / "bin" / "python3.11").write_text(BROKEN)
    completed = environment(project)
    assert completed.returncode == 2
    (line,) = completed.stderr.splitlines()
    assert "needs Python 3.12 or 3.11" in line


def test_names_everything_that_is_missing_in_one_line(project):
    (project / "bin" / "cc").unlink()
    completed = environment(project, NO_VENV="1", NO_HEADERS="1")
    assert completed.returncode == 2
    (line,) = completed.stderr.splitlines()
    assert "venv module" in line
    assert "C compiler" in line
    assert "headers" in line
    assert not (project / ".venv").exists()


def test_an_interrupted_install_is_not_taken_for_finished(project):
    assert environment(project, PIP_FAILS="1").returncode == 1
    assert not (project / ".venv" / "complete").exists()
    marker = project / ".venv" / "installed-so-far"
    marker.touch()
    assert environment(project).returncode == 0
    assert (project / ".venv" / "complete").exists()
    assert marker.exists()


def test_make_calls_it_again_only_when_its_inputs_changed(project):
    def planned():
        command = ["make", "--dry-run", "test"]
        return subprocess.run(command, cwd=project, capture_output=True, text=True, check=True).stdout

    assert "environment.sh" in planned()
    environment(project)
    assert "environment.sh" not in planned()
    later = (project / ".venv" / "complete").stat().st_mtime + 10
    os.utime(project / "constraints.txt", (later, later))
    assert "environment.sh" in planned()
