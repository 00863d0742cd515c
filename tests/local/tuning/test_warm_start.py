"""Parents of a tuning job, from finished jobs' records and through the service."""

import copy

import pytest

from local.tuning import warm_start
from local.tuning.search import Search
from local.wire.errors import ServiceError
from tests.local.tunings import RATE, SIZE, config, control_plane, finished, request

JOB = {
    "HyperParameterTuningJobName": "parent",
    "HyperParameterTuningJobStatus": "Completed",
    "HyperParameterTuningJobConfig": config(
        30,
        1,
        {
            "ContinuousParameterRanges": [
                RATE,
                {"Name": "keep", "MinValue": "0.5", "MaxValue": "0.99", "ScalingType": "ReverseLogarithmic"},
            ],
            "IntegerParameterRanges": [{"Name": "depth", "MinValue": "1", "MaxValue": "4"}],
            "CategoricalParameterRanges": [SIZE],
        },
    ),
    "TrainingJobDefinition": {
        "StaticHyperParameters": {"epochs": "1"},
        "AlgorithmSpecification": {"TrainingImage": "image"},
        "InputDataConfig": [{"ChannelName": "train"}],
    },
}


def job(start="IdenticalDataAndAlgorithm", parents=("parent",)):
    """A new tuning job that is warm started."""
    made = copy.deepcopy(JOB) | {"HyperParameterTuningJobName": "child"}
    made["WarmStartConfig"] = {
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": name} for name in parents],
        "WarmStartType": start,
    }
    return made


def trained(store, index, value=None, parent="parent", **hyperparameters):
    """A finished training job of the parent; Failed without a value."""
    name = f"{parent}-{index:03}-0123abcd"
    tuned = {"rate": "0.01", "keep": "0.75", "depth": "2", "size": "32"} | hyperparameters
    store.create(
        "TrainingJob",
        name,
        {
            "TrainingJobName": name,
            "TrainingJobStatus": "Failed" if value is None else "Completed",
            "HyperParameters": {"epochs": "1", **tuned},
            "FinalMetricDataList": [] if value is None else [{"MetricName": "acc", "Value": value}],
            "_tuning_job": parent,
            "_tuned": tuned,
        },
    )


@pytest.fixture
def family(store):
    """The store with the finished parent and its first trials."""
    store.create("HyperParameterTuningJob", "parent", JOB)
    trained(store, 2, 0.7, rate="0.002", size="64")
    trained(store, 1, 0.9)
    trained(store, 3)
    return store


def test_the_parents_trials_are_known_in_order_and_failed_ones_are_not(family):
    found = list(warm_start.trials(family, job()))
    assert [trial.value for trial in found] == [0.9, 0.7]
    assert found[0].params == {"rate": 0.01, "keep": 0.25, "depth": 2, "size": "32"}  # keep as 1 - x


def test_trials_outside_of_the_new_ranges_are_left_out(family):
    child = job("TransferLearning")
    ranges = child["HyperParameterTuningJobConfig"]["ParameterRanges"]
    ranges["ContinuousParameterRanges"][0]["MinValue"] = "0.005"
    assert [trial.value for trial in warm_start.trials(family, child)] == [0.9]
    ranges["CategoricalParameterRanges"][0]["Values"] = ["64"]
    assert list(warm_start.trials(family, child)) == []


def test_a_hyperparameter_that_was_static_counts_with_its_value(family):
    child = job()
    definition = child["TrainingJobDefinition"]
    definition["StaticHyperParameters"] = {"size": "32"}
    ranges = child["HyperParameterTuningJobConfig"]["ParameterRanges"]
    del ranges["CategoricalParameterRanges"]
    ranges["IntegerParameterRanges"].append({"Name": "epochs", "MinValue": "1", "MaxValue": "3"})
    assert {trial.params["epochs"] for trial in warm_start.trials(family, child)} == {1}


def test_the_search_starts_where_the_parents_ended(store):
    """Twelve trials of the parent replace the sampler's ten random ones."""
    store.create("HyperParameterTuningJob", "parent", JOB)
    for index in range(1, 13):
        rate = 10 ** -(1.2 + index / 5)  # 0.04 to 0.0003, the best at the lowest
        trained(store, index, index / 12, rate=repr(rate))

    def rates(search):
        found = []
        for index in range(1, 7):
            found.append(search.ask(index).params["rate"])
            search.tell(index, 0.0)
        return found

    assert max(rates(Search(job(), warm_start.trials(store, job())))) < 0.01 < max(rates(Search(job())))


def refused(store, child, own_jobs=1):
    with pytest.raises(ServiceError) as caught:
        warm_start.check(store, child, own_jobs)
    return caught.value.message


def test_good_parents_are_accepted(family):
    warm_start.check(family, job(), 4)
    warm_start.check(family, job("TransferLearning"), 747)


def test_parents_that_the_service_refuses(family):
    assert "can't find a tuning job 'absent'" in refused(family, job(parents=("parent", "absent")))
    assert "at most 5" in refused(family, job(parents=("parent",) * 6))
    assert "751 are more than 750" in refused(family, job(), own_jobs=748)
    family.update(
        "HyperParameterTuningJob", "parent", lambda r: r.update(HyperParameterTuningJobStatus="Stopping")
    )
    assert "the parent parent is Stopping" in refused(family, job())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda child: child["HyperParameterTuningJobConfig"]["HyperParameterTuningJobObjective"].update(
                MetricName="loss"
            ),
            "has the objective",
        ),
        (
            lambda child: child["TrainingJobDefinition"]["StaticHyperParameters"].update(more="1"),
            "5 static and tunable hyperparameters in all, not 6",
        ),
        (
            lambda child: child["HyperParameterTuningJobConfig"]["ParameterRanges"].update(
                IntegerParameterRanges=[],
                CategoricalParameterRanges=[
                    {"Name": "size", "Values": ["32"]},
                    {"Name": "depth", "Values": ["1"]},
                ],
            ),
            "a range of another type for depth",
        ),
        (
            lambda child: child["TrainingJobDefinition"]["AlgorithmSpecification"].update(TrainingImage="b"),
            "another TrainingImage",
        ),
        (lambda child: child["TrainingJobDefinition"].pop("InputDataConfig"), "another InputDataConfig"),
    ],
)
def test_a_parent_that_does_not_fit(family, change, message):
    child = job()
    change(child)
    assert message in refused(family, child)
    if "another " in message and "type" not in message:
        child["WarmStartConfig"]["WarmStartType"] = "TransferLearning"
        warm_start.check(family, child, 4)


@pytest.fixture
def control(tmp_path):
    with control_plane(tmp_path / "home") as control:
        yield control


def test_the_best_of_a_warm_started_job_and_its_parents(control):
    """The child may only search where the parent has been better."""
    limits = {"MaxNumberOfTrainingJobs": 2, "MaxParallelTrainingJobs": 2}
    control.call("CreateHyperParameterTuningJob", request(ResourceLimits=limits))
    parent = finished(control)
    assert "OverallBestTrainingJob" not in parent
    ranges = {
        "ContinuousParameterRanges": [{"Name": "rate", "MinValue": "0.0999", "MaxValue": "0.1"}],
        "CategoricalParameterRanges": [{"Name": "size", "Values": ["32"]}],
    }
    for name, kind in (("same", "IdenticalDataAndAlgorithm"), ("other", "TransferLearning")):
        asked = request(ResourceLimits=limits, ParameterRanges=ranges) | {
            "HyperParameterTuningJobName": name,
            "WarmStartConfig": {
                "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "h"}],
                "WarmStartType": kind,
            },
        }
        control.call("CreateHyperParameterTuningJob", asked)
        child = finished(control, name)
        assert child["WarmStartConfig"]["WarmStartType"] == kind
        assert child["BestTrainingJob"]["TrainingJobName"].startswith(f"{name}-")
        if name == "same":
            assert child["OverallBestTrainingJob"] == parent["BestTrainingJob"] | {"TuningJobName": "h"}
        else:
            assert "OverallBestTrainingJob" not in child


def test_an_unknown_parent_is_refused(control):
    asked = request() | {
        "WarmStartConfig": {
            "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "absent"}],
            "WarmStartType": "TransferLearning",
        }
    }
    with pytest.raises(ServiceError, match="'absent'"):
        control.call("CreateHyperParameterTuningJob", asked)
