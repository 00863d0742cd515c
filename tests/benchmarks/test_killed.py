"""A dozen kills of a service, at moments that depend on the benchmark's seed."""

import sys
from functools import partial

import pytest

from benchmarks.killed import execute, measure
from benchmarks.killed_pipelines import start_small


@pytest.mark.skipif(sys.platform != "linux", reason="processes that die with their service need Linux")
def test_a_dozen_kills_cost_nothing_that_was_finished(tmp_path):
    small = partial(execute, start_small)
    counts = measure(small, kills=12, per_execution=12, seed=7, folder=tmp_path, report=lambda _: None)
    assert counts.failures == []
    assert (counts.kills, counts.succeeded, counts.executions) == (12, 1, 1)
    twice = counts.steps_run_twice + counts.trials_run_twice + counts.registered_twice
    assert (twice, counts.orphans, counts.half_written, counts.other_models) == (0, 0, 0, 0)
