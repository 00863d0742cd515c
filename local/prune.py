"""Frees room in a home folder that no service uses: whole executions go, with what belongs to them alone.

To an execution belong its jobs, which are tagged with its ARN: their records, folders and logs, the objects
that they left, and its report. What any record that stays names in S3 stays: the models of the registry and
of endpoints, and what kept executions, jobs and pipelines read. An execution of which a kept one took
results stays whole.

First an execution's records become one that says what is to do (`PRUNINGS`), so that nothing refers any more
to what goes; then that is removed, and at last this record. Whoever is killed on the way has lost nothing
that stays, and the next one ends the work.
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
from local.tuning import tuning
from local.tuning.trials import TUNING_JOB

PRUNINGS = "prunings"
_TAG = "sagemaker:pipeline-execution-arn"
# What an ARN calls a job -> the kind of its records, what people call it, and the folders of its own.
_JOBS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "training-job": ("TrainingJob", "training jobs", (training.FOLDER, evaluation.FOLDER)),
    "processing-job": ("ProcessingJob", "processing jobs", (processing.FOLDER,)),
    "transform-job": ("TransformJob", "transform jobs", (transform.FOLDER,)),
    "hyper-parameter-tuning-job": (TUNING_JOB, "tuning jobs", (tuning.FOLDER,)),
}
_REPORTS = "reports"  # scripts/results.py writes them
_DEFINITIONS = ("_definition", "PipelineDefinition")
# Members that say where something is to be written, perhaps no further than to a bucket, or a part of that.
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
    """An execution that goes.

    Args:
        arn: its own.
        replaced: its records and those of its jobs; none if an earlier pruning was killed on the way.
        todo: the record that takes their place.
        paths: files and folders of its own, below the home.
        objects: bucket and key of each of its objects.
        counts: how many things of a kind go.
        sizes: how many bytes each kind frees; what else has a link to goes on taking its room.
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
    """What goes, and why something stays that is old enough to go: each reason, and how often."""

    prunings: Sequence[Pruning]
    kept: Mapping[str, int]


def older(store: Store, keep: int, than_s: float) -> list[str]:
    """The ARNs of executions that are older than the `keep` newest of their pipeline, and that were last
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
    """What goes with the executions of these ARNs, unless something that stays needs them.

    What an earlier pruning was killed at goes, too.

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
    """Remove what goes; to be done again when it was interrupted.

    Raises:
        OSError: something cannot be removed, or the disk does not take the records.
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
    """Those of the old executions that nothing needs any more; counts in `kept` those that stay, and why."""
    going = dict.fromkeys(old)
    for arn in old:
        if _unfinished(records[EXECUTIONS, arn], [records[job.kind, job.name] for job in jobs[arn]]):
            del going[arn]
            kept["executions that run, or were interrupted and can go on"] += 1
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
            kept["executions of which a kept one took results"] += 1
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
    """The executions of which an execution took results, or a tuning job trials."""
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
    """The record of what is to do."""
    names = [arn.rpartition("/")[2], *(job.name for job in jobs)]
    outputs = {
        uri
        for job in jobs
        for uri in _outputs(job, records[job.kind, job.name])
        # Others share a place without such a name: what lies there may be of a later execution.
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
    """Where a job writes to, as folders: of a training, everything in one of its name."""
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
    """What a value names in S3; of targets, what has one of these names in its path."""
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
        # None begins with another, so the one before is the only one that can be it.
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
    """What goes with an execution, as it lies there now."""
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
    """How many bytes of the disk are free once a file, or an empty folder, is gone: of a link, none."""
    status = path.lstat()
    return 0 if stat.S_ISREG(status.st_mode) and status.st_nlink > 1 else status.st_blocks * 512
