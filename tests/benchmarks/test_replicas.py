"""The code behind `make replicas`; the replicas themselves take half an hour and do not run here."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.replicas.__main__ import Result, check_all, table
from benchmarks.replicas.containers import CheckError, start

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def environment(tmp_path):
    """An environment with one script and one module; its python is this one."""
    folder = tmp_path / "environment"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "bin" / "tool").write_text(f"#!/bin/bash\necho {folder}/bin/python\n")
    (folder / "module.py").write_text("old")
    return folder


def test_without_python_3_12_there_is_one_line_and_no_environment(tmp_path):
    (tmp_path / "benchmarks" / "replicas").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    for name in ("environment.sh", "training.txt", "serving.txt"):
        shutil.copy(ROOT / "benchmarks" / "replicas" / name, tmp_path / "benchmarks" / "replicas")
    for tool in ("bash", "dirname"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    (tmp_path / "bin" / "python3.12").write_text("#!/bin/bash\nexit 127\n")  # a shim of pyenv
    (tmp_path / "bin" / "python3.12").chmod(0o755)
    done = subprocess.run(
        [shutil.which("bash"), tmp_path / "benchmarks" / "replicas" / "environment.sh"],
        env={"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "has Python 3.12, and none on PATH runs; install it, or name it in TRAINING_PYTHON" in line
    assert not list(tmp_path.glob(".venv*"))


def test_what_a_container_installs_stays_in_it(environment, tmp_path):
    container = start(environment, tmp_path / "container", offline=True, installs=True)
    copy = container.environment
    assert (copy / "bin" / "tool").read_text() == f"#!/bin/bash\necho {copy}/bin/python\n"
    (copy / "module.py").unlink()  # as pip replaces a file
    (copy / "module.py").write_text("new")
    assert (environment / "module.py").read_text() == "old"
    assert str(copy) not in (environment / "bin" / "tool").read_text()
    plain = start(environment, tmp_path / "plain", offline=False, installs=False)
    assert plain.environment == environment


def test_a_program_that_fails_is_told_by_its_last_line(environment, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://index.example")
    container = start(environment, tmp_path / "container", offline=True, installs=False)
    with pytest.raises(CheckError, match=r"^exit code 3: none /dev/null "):
        container.run("/bin/bash", "-c", 'echo ${PIP_INDEX_URL:-none} "$PIP_CONFIG_FILE"; exit 3')


def test_a_check_that_fails_is_a_row_and_the_others_run(monkeypatch, tmp_path):
    """Without any environment nothing can start, but every bundle and the artifact still has a row."""
    monkeypatch.setattr(
        "benchmarks.replicas.__main__.Replicas.container", lambda *_: Broken(tmp_path / "none")
    )
    results = list(check_all(tmp_path / "index", "index", tmp_path))
    names = ["split", "tune", "train", "train_debugged", "evaluate", "artifact", "verify", "deploy"]
    assert [row.bundle for row in results] == names
    assert not any(row.ok for row in results)
    assert len(table(results, "2026-01-01").splitlines()) == 4 + len(names)


class Broken:
    """A container without a Python."""

    def __init__(self, folder):
        self.folder, self.environment, self.python = folder, folder, folder / "python"
        folder.mkdir(exist_ok=True)

    def run(self, *_, **__):
        raise CheckError("no such program")

    def versions(self):
        return ""


def test_the_table_names_what_failed():
    row = Result("split", "index", "run.sh split", False, 1.5, "Python 3.12.1", "exit code 1: no")
    expected = "| split | index | run.sh split | failed: exit code 1: no | 1.5 | Python 3.12.1 |"
    assert table([row], "2026-11-29").splitlines()[-1] == expected
