"""The effects of kills, read from processes, records and files."""

from __future__ import annotations

import hashlib
import os
import tarfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.killed_pipelines import WEIGHTS
from local.home.home import Home
from local.home.interruption import interrupted
from local.home.store import Store
from local.pipelines.record import EXECUTIONS
from local.tuning.trials import index

# How long a process may take to notice that its parent is gone.
ORPHAN_S = 2.0


@dataclass
class Counts:
    """The effects of the kills."""

    kills: int = 0
    executions: int = 0
    succeeded: int = 0
    steps_run_twice: int = 0
    trials_run_twice: int = 0
    registered_twice: int = 0
    orphans: int = 0
    half_written: int = 0
    other_models: int = 0
    lost_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def orphans(home: Path) -> list[str]:
    """The processes of this home that still exist ORPHAN_S after its service was killed."""
    deadline = time.monotonic() + ORPHAN_S
    while (found := list(_of(home))) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _of(home: Path) -> Iterable[str]:
    for process in psutil.process_iter():
        try:
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            words = [*process.cmdline(), *process.environ().values(), process.cwd()]
        except psutil.Error:
            continue
        if any(str(home) in word for word in words):
            yield f"{process.pid} {' '.join(process.cmdline())[:100]}"


def lost(home: Path) -> list[float]:
    """The seconds that a killed service's running jobs had run."""
    store, now = Store(Home(home).database), time.time()
    try:
        return [
            now - record["CreationTime"]
            for kind in ("TrainingJob", "ProcessingJob")
            for record in store.list(kind)
            if record[f"{kind}Status"] == "InProgress"
        ]
    finally:
        store.close()


def judge(home: Path, counts: Counts, expected: dict[str, str] | None) -> dict[str, str]:
    """Count the errors in the records and files of a home's executions; return its models' digests.

    Args:
        expected: the models of an undisturbed execution, by step or trial; None to compare none.
    """
    place, store = Home(home), Store(Home(home).database)
    models: dict[str, str] = {}
    try:
        jobs = [*store.list("TrainingJob"), *store.list("ProcessingJob")]
        for execution in store.list(EXECUTIONS):
            arn = execution["PipelineExecutionArn"]
            counts.executions += 1
            counts.succeeded += execution["PipelineExecutionStatus"] == "Succeeded"
            if execution["PipelineExecutionStatus"] != "Succeeded":
                counts.failures.append(f"{arn}: {execution.get('FailureReason')}")
            finished: Counter[str] = Counter()
            for job in jobs:
                name = job.get("TrainingJobName") or job["ProcessingJobName"]
                if interrupted(job) or arn.rpartition("/")[2] not in name:
                    continue
                step = f"trial {index(job)}" if "_tuning_job" in job else name.split("-")[-2]
                finished[step] += 1
                if url := job.get("ModelArtifacts", {}).get("S3ModelArtifacts"):
                    models[step] = digest(place.object_path(url))
            counts.trials_run_twice += sum(n - 1 for step, n in finished.items() if step.startswith("trial "))
            counts.steps_run_twice += sum(
                n - 1 for step, n in finished.items() if not step.startswith("trial ")
            )
            if expected is not None:
                others = [step for step in expected if expected[step] != models.get(step)]
                counts.other_models += len(others)
                counts.failures += [f"other weights: {arn} {step}" for step in others]
        registered = Counter(
            package["InferenceSpecification"]["Containers"][0]["ModelDataUrl"]
            for package in store.list("model-packages")
        )
        counts.registered_twice += sum(count - 1 for count in registered.values())
    finally:
        store.close()
    partial = [path for path in home.rglob("*") if path.name.endswith(".partial") or _half_tar(path)]
    counts.half_written += len(partial)
    counts.failures += [f"half-written: {path}" for path in partial]
    return models


def digest(path: Path) -> str:
    """A digest of the weights in a model.tar.gz; the other files contain the job's name, times and so on."""
    with tarfile.open(path) as tar:
        (member,) = [member for member in tar if member.name in WEIGHTS]
        file = tar.extractfile(member)
        assert file is not None
        return hashlib.sha256(file.read()).hexdigest()


def _half_tar(path: Path) -> bool:
    if not path.name.endswith(".tar.gz") or not path.is_file():
        return False
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                if member.isfile() and (file := tar.extractfile(member)):
                    file.read()
    except (tarfile.TarError, EOFError, OSError):
        return True
    return False
