"""SIGKILL at random moments: what is lost, what runs twice, what stays behind.

It kills the service (`python -m local`) several times in each execution and restarts it each time; or
run_local.py, which continues with --resume; or a training with a checkpoint folder. The pipeline has small
programs, or is the digits' with four trials (run_local.py always runs it). It counts executions that end
Succeeded; finished steps, trials and registrations that happen again; processes that outlive the kill;
half-written files; and the seconds that killed jobs had run. It compares the models' weights with those of an
undisturbed execution.

  python -m benchmarks.killed --kills 200 --json killed.json
  python -m benchmarks.killed --what run_local --kills 24
  python -m benchmarks.killed --what training --kills 20
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks import killed_training
from benchmarks.killed_counts import Counts, judge, lost, orphans
from benchmarks.killed_pipelines import (
    ROOT,
    client,
    environment,
    parameters,
    pictures,
    start_digits,
    start_small,
)
from local.home.home import Home
from local.home.store import Store
from local.pipelines.record import EXECUTIONS

ENDED_WITHIN_S = 600.0
# Starts an execution at a service's URL, with its own files in a folder; returns its ARN.
Start = Callable[[str, Path], str]
STARTS: dict[str, Start] = {"small": start_small, "digits": start_digits}
# What is counted for each; a training has no steps, and starts no processes.
COUNTED_OF_TRAINING = ("half_written", "other_models")
COUNTED = ("steps_run_twice", "trials_run_twice", "registered_twice", "orphans", *COUNTED_OF_TRAINING)
# Runs an execution on a home, killed that long after each start; returns the seconds it took.
Execute = Callable[[Path, Sequence[float], Counts], float]


class Service:
    """`python -m local` on a home, killed and started again."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.url = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it; it answers when this returns."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "local", "--home", str(self.home), "--port", "0"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the service did not start")
        self.url = line.split()[0]

    def kill(self) -> None:
        """SIGKILL, of the service alone."""
        assert self._process is not None and self._process.stdout is not None
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Service:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def execute(start: Start, home: Path, moments_s: Sequence[float], counts: Counts) -> float:
    """Run one execution by a service that is killed that long after each start; return the seconds."""
    with Service(home) as service:
        arn = start(service.url, home.parent)
        began = time.monotonic()
        for moment_s in moments_s:
            time.sleep(moment_s)
            service.kill()
            _note_kill(home, counts)
            service.start()
        _wait(service, arn)
        return time.monotonic() - began


def execute_run_local(home: Path, moments_s: Sequence[float], counts: Counts) -> float:
    """Run one execution by run_local.py, killed that long after each start; return the seconds.

    Each time it continues as a user would: with --resume if the execution was started and has not
    succeeded.
    """
    began = time.monotonic()
    for moment_s in [*moments_s, ENDED_WITHIN_S]:
        statuses = _statuses(home)
        if statuses == ["Succeeded"]:  # only the final output was missing
            break
        new = [f"--data={pictures(home.parent)}", *parameters()]
        process = subprocess.Popen(
            [sys.executable, "scripts/run_local.py", f"--home={home}", *(["--resume"] if statuses else new)],
            cwd=ROOT,
            env=environment(home),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            _, errors = process.communicate(timeout=moment_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            _note_kill(home, counts)
            continue
        if process.returncode != 0:
            counts.failures.append(errors.decode()[-500:])
        break
    return time.monotonic() - began


def _statuses(home: Path) -> list[str]:
    """The statuses of a home's executions."""
    if not Home(home).database.exists():
        return []
    store = Store(Home(home).database)
    try:
        return [execution["PipelineExecutionStatus"] for execution in store.list(EXECUTIONS)]
    finally:
        store.close()


def _note_kill(home: Path, counts: Counts) -> None:
    counts.kills += 1
    left = orphans(home)
    counts.orphans += len(left)
    counts.failures += [f"orphan: {line}" for line in left]
    if Home(home).database.exists():
        counts.lost_s += lost(home)


def _wait(service: Service, arn: str) -> None:
    sagemaker = client("sagemaker", service.url)
    deadline = time.monotonic() + ENDED_WITHIN_S
    while time.monotonic() < deadline:
        status = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)["PipelineExecutionStatus"]
        if status not in ("Executing", "Stopping"):
            return
        time.sleep(0.1)
    raise TimeoutError(f"{arn} has not ended within {ENDED_WITHIN_S:.0f} s")


def measure(
    execute: Execute,
    kills: int,
    per_execution: int,
    seed: int,
    folder: Path,
    report: Callable[[int], None],
    within_s: float = math.inf,
) -> Counts:
    """Kill that often in successive executions, each on its own home.

    An undisturbed execution comes first: the others' models are compared with its models, and the kills are
    spread over its duration. After `within_s` no other execution begins.
    """
    began = time.monotonic()
    rng, counts = random.Random(seed), Counts()
    span_s = execute(folder / "undisturbed", [], Counts())
    expected = judge(folder / "undisturbed", Counts(), None)
    number = 0
    while counts.kills < kills and time.monotonic() - began < within_s:
        number += 1
        most = min(per_execution, kills - counts.kills)
        home = folder / f"home-{number}"
        execute(home, [rng.uniform(0, span_s / most) for _ in range(most)], counts)
        judge(home, counts, expected)
        shutil.rmtree(home)
        report(counts.kills)
    return counts


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.killed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--what", choices=("service", "run_local", "training"), default="service")
    parser.add_argument("--jobs", choices=tuple(STARTS), default="small", help="of the service (small)")
    parser.add_argument("--kills", type=int, default=200, help="how many (200)")
    parser.add_argument("--per-execution", type=int, default=4, help="how many in one execution (4)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no execution after that long")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    arguments = parser.parse_args(argv)
    counted = COUNTED_OF_TRAINING if arguments.what == "training" else COUNTED
    began = time.monotonic()
    with (
        Progress(console=Console(stderr=True), transient=True) as progress,
        tempfile.TemporaryDirectory(prefix="killed-", ignore_cleanup_errors=True) as folder,
    ):
        task = progress.add_task("kills", total=arguments.kills)

        def report(kills: int) -> None:
            progress.update(task, completed=kills)

        if arguments.what == "training":
            counts = killed_training.measure(
                arguments.kills, arguments.seed, Path(folder), report, arguments.minutes * 60
            )
        else:
            of_service = partial(execute, STARTS[arguments.jobs])
            counts = measure(
                execute_run_local if arguments.what == "run_local" else of_service,
                arguments.kills,
                arguments.per_execution,
                arguments.seed,
                Path(folder),
                report,
                arguments.minutes * 60,
            )
    figures = {
        name: value
        for name, value in asdict(counts).items()
        if name in (*counted, "kills", "executions", "succeeded", "lost_s", "failures")
    } | {"seconds": round(time.monotonic() - began)}
    title = f"{counts.kills} kills in {counts.executions} executions, {figures['seconds']} s"
    table = Table("", "", title=title, show_header=False)
    table.add_row("Succeeded", f"{counts.succeeded} of {counts.executions}")
    for name in counted:
        table.add_row(name.replace("_", " "), str(figures[name]))
    table.add_row("work lost", f"{sum(counts.lost_s):.1f} s in all")
    Console().print(table)
    for failure in counts.failures[:20]:
        print(failure)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
