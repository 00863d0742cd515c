"""Forked trials compared with the same trials started by the toolkit."""

import contextlib
import errno
import json
import os
import random
import re
import signal
import socket
import tarfile
import time

import pytest
from PIL import Image

from entrypoints.contract import METRIC_REGEXES, MODEL_WEIGHTS, RANDOM_WEIGHTS
from local.jobs import forks as forks_module
from local.jobs import training
from local.jobs.forks import Forks, starter
from local.jobs.jobs import JobService
from local.processes import opt_ml, orphans
from local.processes.container import spawn
from steps.code import bundles
from tests.local.liveness import alive, gone_soon

DUMP = """
import json, os, sys
import numpy, torch, helper
print(json.dumps({
    "argv": sys.argv, "variables": dict(os.environ), "folder": os.getcwd(), "path": sys.path,
    "file": __file__, "name": __name__, "main": sys.modules["__main__"].__file__, "helper": helper.__file__,
    "threads": torch.get_num_threads(), "umask": os.umask(0o077),
    "input": sys.stdin.read(), "listed": sorted(os.listdir("."))
}), flush=True)
"""


SLEEP = "import os, time\nprint('up', os.getpid(), os.getppid(), flush=True)\ntime.sleep(60)\n"
UP = re.compile(r"^up ([0-9]+) ([0-9]+)$", re.MULTILINE)
TOOLKIT = "sagemaker-training-toolkit"  # in every line of its own


@pytest.fixture
def jobs(home, store):
    home.object_path("s3://b").mkdir(parents=True)
    service = JobService(home, store, training.KIND, dict)
    yield service
    service.close()


def request(bundle, name, **hyperparameters):
    return {
        "TrainingJobName": name,
        "TrainingJobArn": f"arn:aws:sagemaker:us-east-1:123456789012:training-job/{name}",
        "RoleArn": "arn:aws:iam::123456789012:role/execution",
        "AlgorithmSpecification": {
            "TrainingImage": "pytorch",
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "acc", "Regex": r"acc=([0-9.]+)"}],
        },
        "HyperParameters": {
            "sagemaker_program": "package/go.py",
            "sagemaker_submit_directory": bundle,
            "_tuning_objective_metric": "acc",
            **hyperparameters,
        },
        "OutputDataConfig": {"S3OutputPath": "s3://b/jobs"},
        "ResourceConfig": {"InstanceType": "ml.m5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
    }


def stand_in(home, bundle, environment=(), threads=1, **hyperparameters):
    """A job that represents the forked ones."""
    asked = request(bundle, "h", **hyperparameters) | {"Environment": dict(environment), "_threads": threads}
    return training.configure(home, home.folder("tuning-jobs", "h") / "ml", asked, {}, {})


@pytest.fixture
def forks_of(home):
    """forks_of(bundle, ...) is the object that forks jobs that run it, or knows that it cannot."""
    with contextlib.ExitStack() as opened:

        def forks_of(*job, **hyperparameters):
            forks = opened.enter_context(Forks(stand_in(home, *job, **hyperparameters)))
            assert forks.settled(60)
            return forks

        yield forks_of


@pytest.mark.parametrize("own", ["", opt_ml.REWRITTEN])
def test_a_fork_is_given_what_the_toolkit_gives(jobs, bundle, forks_of, own, monkeypatch):
    """The whole environment, except each job's mark; also if no job has its own /opt/ml."""
    monkeypatch.setenv(opt_ml.VARIABLE, own)
    code = bundle(DUMP, **{"package/helper.py": ""})
    said = []
    for name, start in (("job-1", spawn), ("job-2", forks_of(code, threads=2).start)):
        asked = request(code, name, learning_rate="0.01", batch_size='"32"', words='"a b"', nothing="")
        asked["Environment"] = {"DATA": "/opt/ml/input/data", "EMPTY": ""}
        jobs.create(asked, start, _threads=2)
        log = jobs.wait(name) and jobs.log(name).read_text()
        said += [json.loads(line.replace(name, "job")) for line in log.splitlines() if line[:2] == '{"']
    marks = {one["variables"].pop(orphans.MARK) for one in said}
    assert len(marks) == 2 and said[0] == said[1]
    assert said[0]["variables"]["SM_HP_WORDS"] == "a b" and said[0]["threads"] == 2
    assert (said[0]["folder"] == "/opt/ml/code") == (not own and not opt_ml._obstacle("own"))


def test_a_forks_metrics_are_bit_for_bit_the_toolkits(jobs, home, tmp_path, forks_of):
    for split, count in (("train", 6), ("validation", 2)):
        for label, color in (("blue", (40, 60, 200)), ("red", (200, 60, 40))):
            for number in range(count):
                path = home.object_path(f"s3://b/{split}/{label}/{number}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                noise = random.Random(f"{split}{label}{number}").randbytes(40 * 40 * 3)
                picture = Image.frombytes("RGB", (40, 40), noise)
                Image.blend(picture, Image.new("RGB", (40, 40), color), 0.3).save(path)
    marker = home.object_path(f"s3://b/pretrained/{RANDOM_WEIGHTS}")
    marker.parent.mkdir(parents=True)
    marker.touch()
    archive = tmp_path / "sourcedir.tar.gz"
    archive.write_bytes(bundles()["tune"].archive())
    # As in the pipeline's definition.
    program = {
        "sagemaker_program": "entrypoints/train.py",
        "sagemaker_torch_distributed_enabled": "true",
    }
    results = []
    for name, start in (("toolkit", spawn), ("fork", forks_of(str(archive), **program).start)):
        asked = request(str(archive), name, **program, epochs="2", image_size="32", seed="3", engines="0")
        asked["InputDataConfig"] = [
            {
                "ChannelName": channel,
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://b/{channel}"}},
            }
            for channel in ("train", "validation", "pretrained")
        ]
        jobs.create(asked, start, _threads=1)
        record = jobs.wait(name)
        log = jobs.log(name).read_text()
        assert record["TrainingJobStatus"] == "Completed" and (TOOLKIT in log) == (name == "toolkit"), log
        with tarfile.open(home.object_path(record["ModelArtifacts"]["S3ModelArtifacts"])) as model:
            weights = model.extractfile(MODEL_WEIGHTS).read()
        results.append(([re.findall(regex, log) for regex in METRIC_REGEXES.values()], weights))
    assert all(len(epochs) == 2 for epochs in results[0][0])
    assert results[0] == results[1]


def test_a_fork_ends_as_python_does(jobs, bundle, forks_of, tmp_path):
    """It waits for threads, runs exit functions and flushes the buffers of open files."""
    folder = tmp_path / "left"
    folder.mkdir()
    code = bundle(
        "import atexit, pathlib, tempfile, threading, time\n"
        f"folder = pathlib.Path({str(folder)!r})\n"
        "text, data = open(folder / 'text', 'w'), open(folder / 'data', 'wb')\n"
        "text.write('written\\n')\n"
        "data.write(b'written')\n"
        "atexit.register(print, 'at exit')\n"
        "threading.Thread(target=lambda: (time.sleep(0.3), print('the thread'))).start()\n"
        "class Cycle: pass\n"
        "cycle = Cycle(); cycle.itself = cycle; cycle.file = open(folder / 'cycle', 'w')\n"
        "cycle.file.write('written')\n"
        "del cycle\n"
        "left = tempfile.TemporaryDirectory(dir=folder)\n"
    )
    jobs.create(request(code, "t"), forks_of(code).start)
    assert jobs.wait("t")["TrainingJobStatus"] == "Completed"
    assert jobs.log("t").read_text().split("\n")[:2] == ["the thread", "at exit"]
    written = {"text": "written\n", "data": "written", "cycle": "written"}
    assert {path.name: path.read_text() for path in folder.iterdir()} == written


def test_unseeded_forks_draw_different_numbers(jobs, bundle, forks_of):
    code = bundle(
        "import random, numpy, torch\nprint(random.random(), numpy.random.rand(), torch.rand(1).item())"
    )
    forks = forks_of(code)
    for name in ("one", "two"):
        jobs.create(request(code, name), forks.start)
    one, two = (jobs.wait(name) and jobs.log(name).read_text().split() for name in ("one", "two"))
    assert len(one) == 3 and not set(one) & set(two)


def test_a_program_that_fails_has_the_reason_that_it_has_with_the_toolkit(jobs, bundle, forks_of):
    code = bundle(
        "import os, signal, sys\n"
        "print('begun', flush=True)\n"
        "way = sys.argv[2]\n"
        "if way == 'exit': sys.exit('no such data')\n"
        "if way == 'raise': raise ValueError('of the program')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    start = forks_of(code).start
    said = {"exit": "no such data", "raise": "ValueError: of the program", "kill": "begun"}
    for way, line in said.items():
        jobs.create(request(code, f"fork-{way}", way=way), start)
        log = jobs.log(f"fork-{way}")
        assert (
            jobs.wait(f"fork-{way}")["FailureReason"] == f"AlgorithmError: {line}, exit code: 1 (log: {log})"
        )
    jobs.create(request(code, "toolkit", way="raise"))
    toolkit = jobs.wait("toolkit")["FailureReason"].replace("toolkit", "fork-raise")
    assert toolkit == jobs.describe("fork-raise")["FailureReason"]


def up(jobs, name):
    """The pid of a program that reports its start, and its parent's."""
    deadline = time.monotonic() + 30
    while not (jobs.log(name).exists() and (said := UP.search(jobs.log(name).read_text()))):
        assert time.monotonic() < deadline, jobs.describe(name)
        time.sleep(0.02)
    return [int(pid) for pid in said.groups()]


def test_a_program_that_is_stopped_sees_no_sigterm_and_ends_with_what_it_started(
    jobs, home, bundle, forks_of
):
    """The toolkit gets the signal and does not pass it on; the model is what the program wrote before."""
    code = bundle(
        "import os, pathlib, signal, subprocess\n"
        "model = pathlib.Path(os.environ['SM_MODEL_DIR'])\n"
        "signal.signal(signal.SIGTERM, lambda *_: (model / 'caught').touch())\n"
        "(model / 'epoch-1').touch()\n"
        "print('up', subprocess.Popen(['sleep', '60']).pid, os.getpid(), flush=True)\n"
        "while True: signal.pause()\n"
    )
    for name, start in (("toolkit", spawn), ("fork", forks_of(code).start)):
        jobs.create(request(code, name), start)
        running = up(jobs, name)
        began = time.monotonic()
        jobs.stop(name)
        record = jobs.wait(name)
        assert record["TrainingJobStatus"] == "Stopped" and time.monotonic() - began < 30
        assert all(gone_soon(pid) for pid in running)
        with tarfile.open(home.object_path(record["ModelArtifacts"]["S3ModelArtifacts"])) as model:
            assert model.getnames() == ["epoch-1"]


def test_forks_run_beside_each_other_and_one_past_its_time_is_ended(jobs, bundle, forks_of):
    code = bundle(SLEEP)
    forks = forks_of(code)
    for name in ("one", "two", "three"):
        limit = {"MaxRuntimeInSeconds": 1 if name == "two" else 60}
        jobs.create(request(code, name) | {"StoppingCondition": limit}, forks.start)
    pids = {name: up(jobs, name)[0] for name in ("one", "two", "three")}
    assert jobs.wait("two")["SecondaryStatus"] == "MaxRuntimeExceeded"
    assert gone_soon(pids["two"]) and alive(pids["one"]) and alive(pids["three"])


def test_nothing_runs_after_the_end_of_the_service(jobs, bundle, forks_of):
    """Its end of the channel is closed, as the kernel does for a service that was killed."""
    code = bundle(SLEEP)
    forks = forks_of(code)
    jobs.create(request(code, "t"), forks.start)
    pid, zygote = up(jobs, "t")
    forks._channel.shutdown(socket.SHUT_RDWR)
    assert gone_soon(pid) and gone_soon(zygote)


def test_what_a_fork_leaves_in_a_session_of_its_own_ends_with_it(jobs, bundle, forks_of):
    left = "import subprocess\nprint(subprocess.Popen(['sleep', '60'], start_new_session=True).pid)\n"
    code = bundle(left)
    jobs.create(request(code, "t"), forks_of(code).start)
    assert jobs.wait("t")["TrainingJobStatus"] == "Completed"
    assert not alive(int(jobs.log("t").read_text().split()[-1]))


def test_a_fork_does_not_run_before_it_is_on_record(jobs, home, bundle, forks_of, monkeypatch):
    code = bundle(SLEEP)
    start = forks_of(code).start

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(forks_module, "put_on_record", full)
        jobs.create(request(code, "unrecorded"), start)
        assert "full (No space left on device)" in jobs.wait("unrecorded")["FailureReason"]
    assert not jobs.log("unrecorded").exists()
    jobs.create(request(code, "t"), start)
    pids = up(jobs, "t")
    assert {int(path.name.partition("-")[0]) for path in home.processes.iterdir()} == set(pids)
    orphans.end_left(home.processes)
    assert not any(map(alive, pids))
    assert jobs.wait("t")["TrainingJobStatus"] == "Failed"


def test_closing_ends_forks_and_leaves_only_the_log(home, jobs, bundle):
    code = bundle(SLEEP)
    with Forks(stand_in(home, code)) as forks:
        assert forks.settled(60)
        jobs.create(request(code, "t"), forks.start)
        pid, zygote = up(jobs, "t")
    assert jobs.wait("t")["FailureReason"].startswith("AlgorithmError: up ")
    assert gone_soon(pid) and not alive(zygote)
    assert [path.name for path in home.folder("tuning-jobs", "h").iterdir()] == ["log.txt"]
    assert list(home.processes.iterdir()) == []


def test_closing_does_not_wait_for_what_is_still_being_prepared(home, bundle):
    with Forks(stand_in(home, bundle("import torch\n"))) as forks:
        began = time.monotonic()
    assert time.monotonic() - began < 1
    assert forks.settled(0)


def test_jobs_continue_with_the_toolkit_when_the_zygote_has_died(jobs, bundle, forks_of):
    code = bundle("import os\nprint('up', os.getpid(), os.getppid())\n")
    forks = forks_of(code)
    jobs.create(request(code, "one"), forks.start)
    jobs.wait("one")
    os.kill(up(jobs, "one")[1], signal.SIGKILL)
    jobs.create(request(code, "two"), forks.start)
    assert jobs.wait("two")["TrainingJobStatus"] == "Completed"
    assert TOOLKIT in jobs.log("two").read_text()


@pytest.mark.parametrize(
    ("files", "status", "said"),
    [
        ({"setup.py": "raise SystemExit('it cannot be installed')"}, "Failed", "a package to be installed"),
        ({"requirements.txt": "no-such-distribution"}, "Failed", "No matching distribution"),
        ({"package/go.py": "import absent"}, "Failed", "No module named 'absent'"),
        ({"package/go.py": "import threaded"}, "Completed", "has started threads"),
    ],
)
def test_what_cannot_be_forked_is_left_to_the_toolkit(
    jobs, home, bundle, forks_of, files, status, said, tmp_path
):
    (tmp_path / "threaded.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(3,), daemon=True).start()\n"
    )
    environment = {"PYTHONPATH": str(tmp_path)}
    code = bundle(files.get("package/go.py", ""), **files)
    forks = forks_of(code, environment)
    assert said in (home.folder("tuning-jobs", "h") / "log.txt").read_text()
    jobs.create(request(code, "t") | {"Environment": environment}, forks.start)
    assert jobs.wait("t")["TrainingJobStatus"] == status
    assert TOOLKIT in jobs.log("t").read_text()


def test_a_frameworks_launcher_is_left_to_the_toolkit(home, bundle, forks_of):
    forks_of(bundle(""), sagemaker_mpi_enabled="true")
    assert "launcher" in (home.folder("tuning-jobs", "h") / "log.txt").read_text()


@pytest.mark.parametrize(
    "change",
    [
        {"AlgorithmSpecification": {"ContainerEntrypoint": ["/bin/true"]}},
        {"HyperParameters": {"sagemaker_program": "start.sh"}},
        {"HyperParameters": {}},
    ],
)
def test_what_the_toolkit_does_not_run_as_a_python_program_is_never_prepared(home, tmp_path, change):
    with starter(home, tmp_path / "ml", request("", "h") | change, {}, lambda: True) as start:
        assert start is spawn
    assert not (tmp_path / "log.txt").exists()
