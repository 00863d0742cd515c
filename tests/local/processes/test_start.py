"""A process is recorded before it runs; it is found, and ended, only by its record."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from local.processes import orphans, start
from tests.local.liveness import alive, gone_soon

SLEEP = [sys.executable, "-ISc", "import time; time.sleep(60)"]
DETACHED = "import subprocess as s; print(s.Popen(['sleep', '60'], start_new_session=True).pid, flush=True)"


@pytest.fixture
def records(tmp_path):
    return tmp_path / "processes"


@pytest.fixture
def begin(records, tmp_path):
    """begin(command) starts a process with its output in a file; the process has always ended afterwards."""
    with contextlib.ExitStack() as ended:

        def begin(command):
            with (tmp_path / "log").open("ab") as log:
                process = start.start(records, command, os.environ, tmp_path, stdout=log)
            ended.callback(process.end, 0)
            return process

        yield begin


def test_a_process_is_on_record_until_its_end(records, begin):
    process = begin(SLEEP)
    (file,) = records.iterdir()
    record = json.loads(file.read_text())
    assert record == {
        "pid": process.pid,
        "began": orphans.began(process.pid),
        "service": orphans.name_of(os.getpid()),
        "command": SLEEP,
        "mark": process.mark,
    }
    process.end(0)
    assert list(records.iterdir()) == [] and not alive(process.pid)


def test_when_a_process_began_names_it_for_ever(begin):
    process = begin(SLEEP)
    other = begin(SLEEP)
    assert orphans.name_of(process.pid) != orphans.name_of(other.pid)
    process.end(0)
    assert orphans.began(process.pid) is None


def test_a_program_does_not_run_before_it_is_on_record(begin, tmp_path, monkeypatch):
    """The program waits for the service, and never starts if the service is killed: the gate closes with
    it."""
    touched = tmp_path / "ran"
    command = [sys.executable, "-ISc", f"open({str(touched)!r}, 'w')"]
    put, seen = start.put_on_record, []

    def slowly(records, pid, command, mark):
        time.sleep(0.5)
        seen.append((alive(pid), touched.exists()))
        return put(records, pid, command, mark)

    monkeypatch.setattr(start, "put_on_record", slowly)
    assert begin(command).wait(30) == 0
    assert seen == [(True, False)] and touched.exists()
    touched.unlink()

    def interrupted(_records, pid, *_):
        seen.append(pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(start, "put_on_record", interrupted)
    with pytest.raises(KeyboardInterrupt):
        begin(command)
    assert not alive(seen[-1]) and not touched.exists()


def test_what_cannot_be_recorded_does_not_run(records, begin, tmp_path):
    records.write_text("a file where the folder should be")
    before = psutil.Process().children()
    with pytest.raises(NotADirectoryError):
        begin([sys.executable, "-ISc", f"open({str(tmp_path / 'ran')!r}, 'w')"])
    assert not (tmp_path / "ran").exists()
    assert psutil.Process().children() == before


def test_what_is_left_is_ended_with_all_that_it_has_started(records, begin, tmp_path):
    process = begin([sys.executable, "-ISc", f"{DETACHED}\nimport time; time.sleep(60)"])
    while not (child := (tmp_path / "log").read_text()):
        time.sleep(0.02)
    assert [record["pid"] for record in orphans.end_left(records)] == [process.pid]
    assert gone_soon(process.pid) and gone_soon(int(child))
    assert list(records.iterdir()) == []


def test_what_had_ended_is_known_by_its_mark_in_what_it_has_left(records, begin, tmp_path):
    """No longer a child, and in its own group: the program has ended, but its record remains."""
    process = begin([sys.executable, "-ISc", DETACHED])
    process.wait(30)
    child = int((tmp_path / "log").read_text())
    assert alive(child)
    assert orphans.end_left(records) == []
    assert gone_soon(child) and list(records.iterdir()) == []


@pytest.mark.parametrize("ended", [True, False], ids=["by itself", "by the service"])
def test_the_end_of_a_program_is_that_of_what_it_has_started_in_sessions_of_its_own(begin, tmp_path, ended):
    others = begin(SLEEP)
    process = begin([sys.executable, "-ISc", DETACHED + ("" if ended else "\nimport time; time.sleep(60)")])
    while not (child := (tmp_path / "log").read_text()):
        time.sleep(0.02)
    if ended:
        process.wait(30)
    process.end(5)
    assert not alive(int(child)) and alive(others.pid)


@pytest.mark.parametrize("changed", ["began", "machine"])
def test_another_process_of_the_same_pid_is_let_be(records, changed):
    stranger = subprocess.Popen(SLEEP, start_new_session=True)
    try:
        file = start.put_on_record(records, stranger.pid, SLEEP, "its mark")
        machine, _, began = orphans.began(stranger.pid).rpartition(" ")
        earlier = f"{machine} {int(began) - 1}" if changed == "began" else f"{machine[::-1]} {began}"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"began": earlier}))
        assert orphans.end_left(records) == []
        assert alive(stranger.pid)
        assert list(records.iterdir()) == []
    finally:
        stranger.kill()
        stranger.wait()


def test_a_process_that_had_ended_before_it_was_on_record_is_not_left(records, begin):
    process = begin(SLEEP)
    process.end(0)
    start.put_on_record(records, process.pid, SLEEP, "its mark")
    assert orphans.end_left(records) == []
    assert list(records.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"pid": 1}'])
def test_a_record_that_was_being_written_is_of_nothing_that_runs(records, text):
    records.mkdir()
    (records / "1-1.json").write_text(text)
    assert orphans.end_left(records, "one that has ended") == []
    assert len(list(records.iterdir())) == 1  # it may be the next one's
    assert orphans.end_left(records) == []
    assert list(records.iterdir()) == []


def test_the_guard_of_one_service_ends_what_that_one_has_started(records, begin):
    """A late guard also finds the records of the next service."""
    ours = begin(SLEEP)
    file = start.put_on_record(records, begin(SLEEP).pid, SLEEP, "its mark")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"service": "another one"}))
    guard = start.guard(records)
    assert alive(guard.pid) and alive(ours.pid)
    guard.stdin.close()  # as the kernel does for a service that was killed
    guard.wait(30)
    assert ours.wait(30) == -signal.SIGKILL
    assert list(records.iterdir()) == [file] and alive(json.loads(file.read_text())["pid"])


def test_a_guard_that_is_dismissed_ends_what_is_still_on_record(records, begin):
    process = begin(SLEEP)
    start.dismiss(start.guard(records), records)
    assert process.wait(30) == -signal.SIGKILL
    start.dismiss(start.guard(records), records)
    assert list(records.iterdir()) == []


def test_a_program_does_not_inherit_the_signals_that_python_ignores(begin, tmp_path):
    """`yes` ends as in any shell, without an error about a broken pipe."""
    assert begin(["/bin/sh", "-c", "yes | head -n 1"]).wait(30) == 0
    assert (tmp_path / "log").read_text() == "y\n"
