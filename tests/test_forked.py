from __future__ import annotations

import os

from tests import forked

NAMES = {"torch", "torchvision", "sagemaker", "entrypoints", "scripts"}
SHOW = f"import sys; print(sorted({NAMES} & set(sys.modules)))"


def test_a_fork_has_the_libraries_and_nothing_of_the_project(tmp_path):
    done = forked.run(["-c", SHOW], tmp_path, os.environ, timeout_s=120)
    assert (done.stdout, done.stderr) == ("['sagemaker', 'torch', 'torchvision']\n", "")


def test_a_fork_is_what_python_makes_of_a_command(tmp_path):
    (tmp_path / "module.py").write_text("import sys, os; print(__name__, sys.argv[1:], os.environ['WORD'])")
    environment = {**os.environ, "WORD": "said", "PYTHONPATH": str(tmp_path / "elsewhere")}
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "other.py").write_text("print('found'); raise SystemExit(3)")
    for command in ([str(tmp_path / "module.py"), "a"], ["-m", "module", "a"]):
        done = forked.run(command, tmp_path, environment, timeout_s=60)
        assert (done.returncode, done.stdout) == (0, "__main__ ['a'] said\n")
    done = forked.run(["-c", "import other"], tmp_path, environment, timeout_s=60)
    assert (done.returncode, done.stdout) == (3, "found\n")
