import os
import signal
import stat
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from local.processes.container import Container
from local.processes.environment import base_environment
from local.processes.files import last_lines
from local.processes.opt_ml import rewritten
from tests.local.liveness import alive, gone_soon


def container(tmp_path: Path, program: str) -> Container:
    command = [sys.executable, "-c", program]
    return Container(command, base_environment({}), tmp_path, tmp_path / "log.txt", tmp_path / "processes")


def test_the_prefix_is_replaced_in_nested_values(tmp_path):
    value = {"a": ["/opt/ml/input", 1], "b": {"c": "--x=/opt/ml/model"}, "d": "/opt/other"}
    assert rewritten(value, tmp_path) == {
        "a": [f"{tmp_path}/input", 1],
        "b": {"c": f"--x={tmp_path}/model"},
        "d": "/opt/other",
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/opt/ml", "{0}"),
        ("/opt/ml/a:/opt/ml/b", "{0}/a:{0}/b"),
        ("[\"/opt/ml/a\", '/opt/ml/b']", "[\"{0}/a\", '{0}/b']"),
        ("cd /opt/ml/model; ls", "cd {0}/model; ls"),
        ("file:///opt/ml/model", "file://{0}/model"),
        ("s3://b/opt/ml/x", None),
        ("/opt/mlflow/bin", None),
        ("/opt/ml-old", None),
        ("/opt/ml.bak/x", None),
        ("/home/me/opt/ml/x", None),
        ("../opt/ml", None),
    ],
)
def test_only_whole_paths_are_replaced(tmp_path, value, expected):
    assert rewritten(value, tmp_path) == (value if expected is None else expected.format(tmp_path))


def test_what_a_program_writes_is_its_owners_alone(tmp_path):
    before = os.umask(0)
    try:
        job = container(tmp_path, "import os; open('file', 'w'); os.mkdir('folder')")
        assert job.run(timeout_s=30) == 0
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("file", "folder", "log.txt")]
    assert modes == [0o600, 0o700, 0o600]


def test_output_and_exit_status_of_a_program_are_kept(tmp_path):
    job = container(tmp_path, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)")
    assert job.run(timeout_s=30) == 7
    assert set((tmp_path / "log.txt").read_text().split()) == {"out", "err"}


def test_a_program_over_its_time_is_ended(tmp_path):
    job = container(tmp_path, "import time; print('up'); time.sleep(60)")
    began = time.monotonic()
    assert job.run(timeout_s=1.5) is None
    assert time.monotonic() - began < 30


def test_a_stopped_program_gets_sigterm_first(tmp_path):
    program = "import signal, time\n"
    program += "signal.signal(signal.SIGTERM, lambda *_: (print('bye'), exit(3)))\n"
    program += "print('up'); time.sleep(60)"
    job = container(tmp_path, program)
    status: list[int | None] = []
    thread = threading.Thread(target=lambda: status.append(job.run(timeout_s=60)))
    thread.start()
    while "up" not in last_lines(tmp_path / "log.txt"):
        time.sleep(0.02)
    job.stop()
    thread.join()
    assert status == [3]
    assert last_lines(tmp_path / "log.txt") == "up\nbye"
    assert job.stopping


def test_sigterm_can_go_to_process_1_alone_whose_end_ends_the_others(tmp_path):
    program = (
        "import os, pathlib, signal\n"
        "caught = lambda name: lambda *_: pathlib.Path(name).touch()\n"
        "if os.fork() == 0:\n"
        "    signal.signal(signal.SIGTERM, caught('child'))\n"
        "    print(os.getpid(), flush=True)\n"
        "    while True: signal.pause()\n"
        "signal.signal(signal.SIGTERM, caught('leader'))\n"
        "signal.pause()\n"
    )
    job = container(tmp_path, program)
    job.stops_children = False
    with ThreadPoolExecutor(1) as thread:
        ran = thread.submit(job.run, 60)
        while not (child := last_lines(tmp_path / "log.txt")):
            time.sleep(0.02)
        job.stop()
        assert ran.result() == 0
    assert gone_soon(int(child))
    assert [(tmp_path / name).exists() for name in ("leader", "child")] == [True, False]


def test_a_program_that_ignores_sigterm_is_killed(tmp_path):
    job = container(
        tmp_path,
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(60)",
    )
    status: list[int | None] = []
    thread = threading.Thread(target=lambda: status.append(job.run(timeout_s=60)))
    thread.start()
    while "up" not in last_lines(tmp_path / "log.txt"):
        time.sleep(0.02)
    job.stop(timeout_s=0.2)
    thread.join()
    assert status == [-signal.SIGKILL]


def test_what_a_program_left_running_ends_with_it(tmp_path):
    job = container(tmp_path, "import subprocess; print(subprocess.Popen(['sleep', '60']).pid, flush=True)")
    assert job.run(timeout_s=30) == 0
    assert gone_soon(int((tmp_path / "log.txt").read_text()))


@pytest.mark.parametrize("stopped", [False, True], ids=["ended", "stopped"])
def test_what_a_program_left_in_a_session_of_its_own_ends_with_it(tmp_path, stopped):
    """Even if it is a daemon: no longer a child, and in its own group."""
    daemon = "os.setsid(); os.fork() and os._exit(0); print(os.getpid(), flush=True); time.sleep(60)"
    program = f"import os, time\nif os.fork() == 0:\n    {daemon}\nos.wait()\n"
    job = container(tmp_path, program + ("time.sleep(60)" if stopped else ""))
    with ThreadPoolExecutor(1) as thread:
        ran = thread.submit(job.run, 30)
        while not (pid := last_lines(tmp_path / "log.txt")):
            time.sleep(0.02)
        if stopped:
            job.stop()
        assert ran.result() == (-signal.SIGTERM if stopped else 0)
    assert not alive(int(pid))


def test_a_job_stopped_before_it_starts_never_starts(tmp_path):
    job = container(tmp_path, "print('ran')")
    job.stop()
    assert job.run(timeout_s=30) == -signal.SIGTERM
    assert not (tmp_path / "log.txt").exists()


def test_jobs_see_this_interpreter_and_not_the_persons_credentials(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("PIP_INDEX_URL", "https://example.com")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    environment = base_environment({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"})
    assert environment["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert "AWS_PROFILE" not in environment
    assert "PIP_INDEX_URL" not in environment
    assert environment["PIP_NO_INDEX"] == "1"
    assert environment["CUDA_VISIBLE_DEVICES"] == ""  # a GPU that torch cannot use may be hidden from jobs
    assert environment["AWS_ENDPOINT_URL"] == "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("text", "expected"), [("", ""), ("one\ntwo\n", "one\ntwo"), ("x" * 50 + "\nlast", "last")]
)
def test_the_last_lines_of_a_log(tmp_path, text, expected):
    (tmp_path / "log").write_text(text)
    assert last_lines(tmp_path / "log", limit=20) == expected
