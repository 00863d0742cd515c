"""Frees disk space in a home that no service uses: removes whole executions and what only they use.

An execution owns its report and its jobs (tagged with its ARN): their records, folders, logs and the objects
that they wrote. Everything in S3 that a remaining record names is kept: the models of the registry and of
endpoints, and what kept executions, jobs and pipelines read. An execution is kept whole if a kept one uses
its results.

First one record that says what to do (`PRUNINGS`) replaces the execution's records, so that nothing refers to
the files any more; then the files are removed, and finally this record. If the command is killed on the way,
nothing that should stay is lost, and the next prune finishes the work.
"""

from __future__ import annotations

import bisect
import json
import re
import shutil
import stat
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.debugger import evaluation
from local.home.home import Home
from local.home.store import Record, Store
from local.home.tags import TAGS
from local.jobs import processing, training, transform
from local.pipelines.executions import LEFT, RUNNING
from local.pipelines.record import EXECUTIONS
from local.s3.objects import Objects
from local.tuning import run
from local.tuning.trials import TUNING_JOB

PRUNINGS = "prunings"
_TAG = "sagemaker:pipeline-execution-arn"
# A job's type in ARNs -> the kind of its records, its name for people, and its own folders.
_JOBS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "training-job": ("TrainingJob", "training jobs", (training.FOLDER, evaluation.FOLDER)),
    "processing-job": ("ProcessingJob", "processing jobs", (processing.FOLDER,)),
    "transform-job": ("TransformJob", "transform jobs", (transform.FOLDER,)),
    "hyper-parameter-tuning-job": (TUNING_JOB, "tuning jobs", (run.FOLDER,)),
}
_REPORTS = "reports"  # scripts/results.py writes them
_DEFINITIONS = ("_definition", "PipelineDefinition")
# Members that say where something is written; some name only a bucket, or a part of it.
_TARGETS = ("S3OutputPath", "S3Output", "Std:Join")
_URI = re.compile(r"""s3://[^\s"'<>\\]+""")
_Key = tuple[str, str]  # kind and name of a record


class _Job:
    """A job of an execution, by its ARN."""

    def __init__(self, arn: str) -> None:
        resource, _, self.name = arn.split(":", 5)[-1].partition("/")
        self.arn = arn
        self.kind, self.called, self.folders = _JOBS[resource]


@dataclass(frozen=True)
class Pruning:
    """An execution to remove.

    Args:
        arn: its own.
        replaced: its records and those of its jobs; none if an earlier pruning was killed.
        todo: the record that replaces them.
        paths: its own files and folders, below the home.
        objects: bucket and key of each of its objects.
        counts: how many things of each kind are removed.
        sizes: how many bytes each kind frees; files with other links free none.
    """

    arn: str
    replaced: Sequence[_Key]
    todo: Record
    paths: Sequence[str]
    objects: Sequence[tuple[str, str]]
    counts: Mapping[str, int]
    sizes: Mapping[str, int]


@dataclass(frozen=True)
class Plan:
    """What to remove, and why old things are kept: each reason, and how often."""

    prunings: Sequence[Pruning]
    kept: Mapping[str, int]


def older(store: Store, keep: int, than_s: float) -> list[str]:
    """The ARNs of executions that are older than the `keep` newest of their pipeline, and were last
    changed `than_s` seconds ago or earlier.
    """
    seen: Counter[str] = Counter()
    found = []
    for record in store.summaries(EXECUTIONS):  # newest first
        seen[record["PipelineArn"]] += 1
        old = record["LastModifiedTime"] <= time.time() - than_s
        if seen[record["PipelineArn"]] > keep and old:
            found.append(record["PipelineExecutionArn"])
    return found


def plan(home: Home, store: Store, old: Collection[str]) -> Plan:
    """What to remove with the executions of these ARNs, unless something that stays needs them.

    Includes the unfinished work of a killed pruning.

    Raises:
        ValueError: a record is damaged.
    """
    records = {
        (kind, name): store.get(kind, name)
        for kind in store.kinds()
        if kind not in (TAGS, PRUNINGS)
        for name, _ in store.names(kind)
    }
    jobs = _jobs_of_executions(store, records)
    kept: Counter[str] = Counter()
    going = _going(records, jobs, old, kept)
    replaced = {arn: _replaced(arn, jobs[arn]) for arn in going}
    todos = {todo["execution"]: todo for todo in store.list(PRUNINGS)}
    todos |= {arn: _todo(arn, jobs[arn], records) for arn in going}
    gone = {key for keys in replaced.values() for key in keys}
    names = {name for todo in todos.values() for name in todo["names"]}
    stays = _Prefixes(
        uri for key, record in records.items() if key not in gone for uri in _uris(record, names)
    )
    buckets = Objects(home.s3)
    prunings = [
        _pruning(home, buckets, arn, replaced.get(arn, ()), todo, stays, kept) for arn, todo in todos.items()
    ]
    return Plan(prunings, kept)


def carry_out(home: Home, store: Store, prunings: Sequence[Pruning]) -> None:
    """Carry out a plan; if interrupted, run it again.

    Raises:
        OSError: something cannot be removed, or the disk is too full for the records.
    """
    for pruning in prunings:
        if pruning.replaced:
            store.replace(pruning.replaced, PRUNINGS, pruning.arn, pruning.todo)
    buckets = Objects(home.s3)
    try:
        for pruning in prunings:
            for bucket, key in pruning.objects:
                buckets.delete(bucket, key)
            for path in map(home.root.joinpath, pruning.paths):
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            store.delete(PRUNINGS, pruning.arn)
    finally:
        buckets.etags.close()


def _jobs_of_executions(store: Store, records: Mapping[_Key, Record]) -> dict[str, list[_Job]]:
    jobs = defaultdict(list)
    for arn, _ in store.names(TAGS):
        resource = arn.split(":", 5)[-1].partition("/")[0]
        for tag in store.get(TAGS, arn)["Tags"] if resource in _JOBS else ():
            if tag["Key"] == _TAG and ((job := _Job(arn)).kind, job.name) in records:
                jobs[tag["Value"]].append(job)
    return jobs


def _going(
    records: Mapping[_Key, Record], jobs: Mapping[str, list[_Job]], old: Collection[str], kept: Counter[str]
) -> list[str]:
    """The old executions that nothing needs any more; `kept` counts the others by reason."""
    going = dict.fromkeys(old)
    for arn in old:
        if _unfinished(records[EXECUTIONS, arn], [records[job.kind, job.name] for job in jobs[arn]]):
            del going[arn]
            kept["executions that run, or were interrupted and can resume"] += 1
    of_tuning = {job.name: arn for arn in jobs for job in jobs[arn] if job.kind == TUNING_JOB}
    while needed := {
        source
        for (kind, name), record in records.items()
        if (name if kind == EXECUTIONS else of_tuning.get(name)) not in going
        for source in _sources(kind, record, of_tuning)
        if source in going
    }:
        for arn in needed:
            del going[arn]
            kept["executions whose results a kept one uses"] += 1
    return list(going)


def _unfinished(execution: Record, jobs: Iterable[Record]) -> bool:
    return (
        execution["PipelineExecutionStatus"] in RUNNING
        or execution.get("FailureReason") == LEFT
        or any(
            job[key] in ("InProgress", "Stopping") for job in jobs for key in job if key.endswith("JobStatus")
        )
    )


def _sources(kind: str, record: Record, of_tuning: Mapping[str, str]) -> Iterator[str | None]:
    """The executions whose results an execution, or whose trials a tuning job, uses."""
    if kind == EXECUTIONS:
        yield (record.get("SelectiveExecutionConfig") or {}).get("SourcePipelineExecutionArn")
        for step in record["_steps"].values():
            for result in ("CacheHitResult", "SelectiveExecutionResult"):
                yield step.get(result, {}).get("SourcePipelineExecutionArn")
    elif kind == TUNING_JOB:
        for parent in record.get("WarmStartConfig", {}).get("ParentHyperParameterTuningJobs", []):
            yield of_tuning.get(parent["HyperParameterTuningJobName"])


def _replaced(arn: str, jobs: Iterable[_Job]) -> list[_Key]:
    own = [(EXECUTIONS, arn), (TAGS, arn)]
    return own + [key for job in jobs for key in ((job.kind, job.name), (TAGS, job.arn))]


def _todo(arn: str, jobs: Sequence[_Job], records: Mapping[_Key, Record]) -> Record:
    """The record of what to do."""
    names = [arn.rpartition("/")[2], *(job.name for job in jobs)]
    outputs = {
        uri
        for job in jobs
        for uri in _outputs(job, records[job.kind, job.name])
        # Without such a name a place is shared: its content may belong to a later execution.
        if not set(names).isdisjoint(uri.split("/"))
    }
    return {
        "execution": arn,
        "names": names,
        "outputs": sorted(outputs),
        "jobs": Counter(job.called for job in jobs),
        "paths": {
            **{f"{folder}/{job.name}": job.called for job in jobs for folder in job.folders},
            f"{_REPORTS}/{names[0]}.html": "reports",
        },
    }


def _outputs(job: _Job, value: Any) -> Iterator[str]:
    """The folders that a job writes to; a training writes everything below one with its name."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "S3OutputPath":
                yield (
                    f"{inner.rstrip('/')}/"
                    if job.kind == "TransformJob"
                    else f"{inner.rstrip('/')}/{job.name}/"
                )
            elif key in ("S3Output", "CheckpointConfig") and "S3Uri" in inner:
                yield f"{inner['S3Uri'].rstrip('/')}/"
            else:
                yield from _outputs(job, inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _outputs(job, inner)


def _uris(value: Any, names: AbstractSet[str], target: bool = False) -> Iterator[str]:
    """The S3 URIs in a value; of targets, those with one of these names in the path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            content = json.loads(inner) if key in _DEFINITIONS and isinstance(inner, str) else inner
            yield from _uris(content, names, target or key in _TARGETS)
    elif isinstance(value, list):
        for inner in value:
            yield from _uris(inner, names, target)
    elif isinstance(value, str) and "s3://" in value:
        for uri in [value] if value.startswith("s3://") else _URI.findall(value):
            if not target or not names.isdisjoint(uri.split("/")):
                yield uri if uri == value else uri.rstrip(".,;:)")


class _Prefixes:
    """S3 prefixes, and whether an object's URI begins with one of them."""

    def __init__(self, uris: Iterable[str]) -> None:
        self._sorted: list[str] = []
        for uri in sorted(set(uris)):
            if not self._sorted or not uri.startswith(self._sorted[-1]):
                self._sorted.append(uri)

    def __contains__(self, uri: str) -> bool:
        # None begins with another, so only the previous one can match.
        at = bisect.bisect_right(self._sorted, uri)
        return at > 0 and uri.startswith(self._sorted[at - 1])


def _pruning(
    home: Home,
    buckets: Objects,
    arn: str,
    replaced: Sequence[_Key],
    todo: Record,
    stays: _Prefixes,
    kept: Counter[str],
) -> Pruning:
    """What to remove with an execution, as it is on disk now."""
    counts, sizes = Counter(executions=1), Counter(executions=0)
    counts.update(todo["jobs"])
    objects: dict[tuple[str, str], None] = {}
    there = {name for name, _ in buckets.buckets()}
    for output in todo["outputs"]:
        bucket, _, prefix = output.removeprefix("s3://").partition("/")
        if bucket in there:
            objects |= dict.fromkeys((bucket, found.key) for found in buckets.list(bucket, prefix))
    own = [key for key in objects if f"s3://{'/'.join(key)}" not in stays]
    kept["objects that something else names, such as a registered model or an endpoint"] += len(
        objects
    ) - len(own)
    counts["objects in S3"] = len(own)
    sizes["objects in S3"] = sum(_freed(home.s3.joinpath(*key)) for key in own)
    paths = {path: called for path, called in todo["paths"].items() if (home.root / path).exists()}
    for path, called in paths.items():
        sizes[called] += sum(map(_freed, (home.root / path, *(home.root / path).rglob("*"))))
        counts["reports"] += called == "reports"
    return Pruning(arn, replaced, todo, list(paths), own, counts, sizes)


def _freed(path: Path) -> int:
    """How many bytes removing a file or an empty folder frees: none for one with other links."""
    status = path.lstat()
    return 0 if stat.S_ISREG(status.st_mode) and status.st_nlink > 1 else status.st_blocks * 512
