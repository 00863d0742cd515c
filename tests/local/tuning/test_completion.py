"""Objectives that end a tuning job or one of its trials."""

import pytest

from local.tuning.completion import check, complete
from local.wire.errors import ServiceError
from tests.local.tunings import control_plane, finished, request, trials


@pytest.fixture
def control(tmp_path):
    with control_plane(tmp_path / "home") as control:
        yield control


def job(kind="Maximize", **criteria):
    config = {
        "HyperParameterTuningJobObjective": {"Type": kind, "MetricName": "acc"},
        "TuningJobCompletionCriteria": criteria,
    }
    return {"HyperParameterTuningJobConfig": config}


@pytest.mark.parametrize(
    ("kind", "values", "enough"),
    [
        ("Maximize", [0.5, 0.89], False),
        ("Maximize", [0.5, 0.9, 0.1], True),
        ("Minimize", [2.0, 0.91], False),
        ("Minimize", [2.0, 0.9], True),
        ("Maximize", [], False),
    ],
)
def test_a_target(kind, values, enough):
    assert complete(job(kind, TargetObjectiveMetricValue=0.9), values) is enough


@pytest.mark.parametrize(
    ("kind", "values", "enough"),
    [
        ("Maximize", [0.5, 0.5, 0.5], False),
        ("Maximize", [0.5, 0.5, 0.504, 0.3], True),  # less than 1 % better is no improvement
        ("Maximize", [0.5, 0.4, 0.6, 0.6, 0.6], False),  # an improvement restarts the count
        ("Maximize", [0.5, 0.4, 0.6, 0.6, 0.6, 0.6, 0.9], True),
        ("Maximize", [0.0, 0.0, 0.0, 0.0], True),  # 1 % of zero is no improvement either
        ("Maximize", [0.0, 0.0, 0.0, 0.1], False),
        ("Minimize", [1.0, 1.1, 0.98, 1.0, 1.0], False),
        ("Minimize", [1.0, 1.1, 1.2, 1.3], True),
    ],
)
def test_no_improvement(kind, values, enough):
    criteria = {"BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 3}}
    assert complete(job(kind, **criteria), values) is enough


def test_without_criteria_nothing_is_enough():
    assert not complete(job(), [1.0] * 100)


def test_convergence_is_refused():
    check(job(ConvergenceDetected={"CompleteOnConvergence": "Disabled"}))
    with pytest.raises(ServiceError, match="ConvergenceDetected does not run locally"):
        check(job(ConvergenceDetected={"CompleteOnConvergence": "Enabled"}))


def test_early_stopping_ends_a_trial_below_the_median(control):
    # The first five finish at once and well; trials are judged from the sixth on.
    program = (
        "import pathlib, sys, time\n"
        "late = '-006-' in str(pathlib.Path(sys.argv[1]))\n"
        "print('acc=0.1' if late else 'acc=0.9', flush=True)\n"
        "time.sleep(30 if late else 1)\n"
    )
    limits = {"MaxNumberOfTrainingJobs": 6, "MaxParallelTrainingJobs": 1}
    control.call(
        "CreateHyperParameterTuningJob",
        request(program, TrainingJobEarlyStoppingType="Auto", ResourceLimits=limits),
    )
    record = finished(control)
    assert record["TrainingJobStatusCounters"]["Stopped"] == 1
    assert record["TrainingJobStatusCounters"]["Completed"] == 5


def test_an_objective_that_is_enough_starts_no_further_trial(control):
    limits = {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 1}
    criteria = {"TargetObjectiveMetricValue": 0.9}
    program = "print('acc=0.9')"
    control.call(
        "CreateHyperParameterTuningJob",
        request(program, ResourceLimits=limits, TuningJobCompletionCriteria=criteria),
    )
    record = finished(control)
    assert record["HyperParameterTuningJobStatus"] == "Completed"
    assert len(trials(control)) == 1
