"""The order of suggestions, without any training job."""

import itertools
import random
import threading
import time

import pytest

from local.tuning.search import Search
from local.wire.errors import ServiceError
from tests.local.tunings import RANGES, config


def search(strategy="Bayesian", jobs=24, parallel=3, seed=7, ranges=RANGES, static=None, **more):
    made = config(jobs, parallel, ranges, Strategy=strategy, RandomSeed=seed, **more)
    definition = {"StaticHyperParameters": static or {}}
    return Search({"HyperParameterTuningJobConfig": made, "TrainingJobDefinition": definition})


def carried_out(search, workers, durations):
    """The parameters by index when `workers` threads run the trials, with these `durations`."""
    found, indices, lock = {}, itertools.count(1), threading.Lock()

    def work():
        while True:
            with lock:
                index = next(indices)
            if index > search.size:
                return
            trial = search.ask(index)
            found[index] = trial.params
            time.sleep(durations[index - 1])
            search.tell(index, -abs(trial.params["rate"] - 0.01) if index % 5 else None)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == search.size
    return [found[index] for index in sorted(found)]


@pytest.mark.parametrize("strategy", ["Bayesian", "Random"])
def test_the_order_in_which_parallel_trials_end_changes_no_suggestion(strategy):
    orders = [random.Random(order).choices([0.0, 0.002, 0.02], k=24) for order in range(3)]
    first, second, third = (carried_out(search(strategy), 3, durations) for durations in orders)
    assert first == second == third
    assert carried_out(search(strategy, seed=8), 3, orders[0]) != first


def test_random_suggestions_are_the_same_however_many_run_at_once():
    alone = carried_out(search("Random", parallel=1), 1, [0.0] * 24)
    assert carried_out(search("Random", parallel=4), 4, [0.0, 0.01] * 12) == alone


def test_the_bayesian_sampler_learns_from_the_objectives():
    """After its ten random trials the suggestions depend on the objective."""

    def suggestions(sign):
        made, found = search(parallel=1), []
        for index in range(1, 25):
            trial = made.ask(index)
            found.append(trial.params)
            made.tell(index, sign * trial.params["rate"])
        return found

    upwards, downwards = suggestions(1), suggestions(-1)
    assert upwards[:10] == downwards[:10]
    assert upwards[10:] != downwards[10:]
    assert sum(p["rate"] for p in upwards[10:]) > sum(p["rate"] for p in downwards[10:])


def test_a_bayesian_trial_waits_for_the_one_that_it_rests_on_and_a_random_one_does_not():
    for strategy, waits in (("Bayesian", True), ("Random", False)):
        made = search(strategy, parallel=2)
        made.ask(1), made.ask(2)
        made.tell(2, 0.5)  # the second ends first
        third = threading.Thread(target=made.ask, args=(3,), daemon=True)
        third.start()
        third.join(0.1)
        assert third.is_alive() is waits
        made.tell(1, 0.5)
        third.join(10)
        assert not third.is_alive()


def test_a_sampler_that_fails_leaves_no_trial_waiting(monkeypatch):
    made = search("Random")
    errors = []

    def third():
        try:
            made.ask(3)
        except RuntimeError as error:
            errors.append(str(error))

    waiting = threading.Thread(target=third)
    waiting.start()
    made.ask(1)

    def fails(_):
        raise ZeroDivisionError

    monkeypatch.setattr(made._study, "ask", fails)
    with pytest.raises(ZeroDivisionError):
        made.ask(2)
    waiting.join(10)
    assert errors == ["an earlier trial could not be asked for"]


def test_the_combinations_of_a_grid_come_in_order():
    ranges = {
        "CategoricalParameterRanges": [
            {"Name": "rate", "Values": ["0.01", "0.1"]},
            {"Name": "size", "Values": ["32", "64"]},
        ]
    }
    made = search("Grid", parallel=4, ranges=ranges)
    assert made.size == 4
    found = [tuple(made.ask(index).params.values()) for index in range(1, 5)]
    assert found == [("0.01", "32"), ("0.01", "64"), ("0.1", "32"), ("0.1", "64")]


def epochs_run(search, quality):
    """How many epochs each trial runs, in sequence; its objective at every epoch is its quality."""
    found = []
    for index in range(1, search.size + 1):
        trial = search.ask(index)
        epoch = next((e for e in range(1, 28) if search.stops(trial, e, quality(index))), 27)
        search.tell(index, quality(index))
        found.append(epoch)
    return found


def test_hyperband_gives_most_trials_little_and_the_best_everything():
    made = search("Hyperband", jobs=24, parallel=1, static={"epochs": "27"})
    assert made.watches
    epochs = epochs_run(made, lambda index: -index)  # each is worse than those before
    assert epochs[0] == 27
    assert set(epochs) <= {1, 3, 9, 27} and len(set(epochs)) > 1
    assert sum(epochs) < 27 * 24 / 3
    assert epochs_run(search("Hyperband", parallel=1, static={"epochs": "27"}), lambda i: -i) == epochs
    # Each is better than those before: none is stopped.
    assert epochs_run(search("Hyperband", parallel=1, static={"epochs": "27"}), lambda i: i) == [27] * 24


def test_hyperband_stops_no_trial_before_the_minimum_and_every_one_at_the_maximum():
    strategy = {"HyperbandStrategyConfig": {"MinResource": 4, "MaxResource": 12}}
    made = search("Hyperband", parallel=1, static={"epochs": "27"}, StrategyConfig=strategy)
    epochs = epochs_run(made, lambda index: -index)
    assert min(epochs) == 4 and max(epochs) == epochs[0] == 12


def test_a_trial_whose_last_epoch_is_the_maximum_ends_by_itself():
    made = search("Hyperband", parallel=1, static={"epochs": "9"})
    for index in (1, 2):
        trial = made.ask(index)
        assert not made.stops(trial, 9, 1 - index / 10)


@pytest.mark.parametrize(
    ("static", "given", "message"),
    [
        ({}, {}, "MaxResource, or a whole number in one of"),
        ({"epochs": "many"}, {}, "MaxResource, or a whole number in one of"),
        ({"epochs": "20001"}, {}, "at most 20000"),
        ({"epochs": "3"}, {"MinResource": 4}, "MaxResource 3 must be MinResource 4 or more"),
    ],
)
def test_hyperband_needs_a_maximum(static, given, message):
    with pytest.raises(ServiceError, match=message):
        search("Hyperband", static=static, StrategyConfig={"HyperbandStrategyConfig": given})


@pytest.mark.parametrize("key", ["epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs"])
def test_the_maximum_is_inferred_from_the_names_that_the_service_knows(key):
    made = search("Hyperband", parallel=1, static={key: "3"})
    assert not made.stops(made.ask(1), 3, 0.5)


def test_five_failures_and_no_success_make_a_search_hopeless():
    made = search("Random", parallel=1)
    for index in range(1, 6):
        made.ask(index)
        assert not made.over
        made.tell(index, None)
    made.ask(6)
    assert made.over


def test_failures_end_no_search_while_a_trial_runs_that_may_succeed():
    made = search("Random", parallel=6)
    for index in range(1, 7):
        made.ask(index)
    for index in range(2, 7):
        made.tell(index, None)
    seventh = threading.Thread(target=made.ask, args=(7,), daemon=True)
    seventh.start()
    seventh.join(0.1)
    assert seventh.is_alive()
    made.tell(1, 0.5)
    seventh.join(10)
    assert not seventh.is_alive() and not made.over


@pytest.mark.parametrize(
    ("earlier", "running", "stopped"),
    [
        ((0.2, 0.8), (0.3, 0.6), False),  # 0.6 is more than the average of 0.5, if less than 0.8
        ((0.6, 0.7), (0.9, 0.1), True),  # 0.1 is less than 0.65, though 0.9 was more
        ((0.5, 0.5), (0.5, 0.5), False),
    ],
)
@pytest.mark.parametrize("kind", ["Maximize", "Minimize"])
def test_early_stopping_compares_with_the_median_of_the_averages(kind, earlier, running, stopped):
    sign = 1 if kind == "Maximize" else -1
    target = {"Type": kind, "MetricName": "acc"}
    made = search(
        "Random", parallel=1, TrainingJobEarlyStoppingType="Auto", HyperParameterTuningJobObjective=target
    )
    for index in range(1, 6):
        trial = made.ask(index)
        assert not any(made.stops(trial, epoch, sign * value) for epoch, value in enumerate(earlier, 1))
        made.tell(index, sign * earlier[-1])
    trial = made.ask(6)
    assert not made.stops(trial, 1, sign * running[0])
    assert made.stops(trial, 2, sign * running[1]) is stopped


def test_a_search_is_over_when_its_time_is():
    watched = search()
    assert not watched.over
    watched.expired.set()
    assert watched.over


def test_a_search_is_over_when_an_objective_is_enough():
    watched = search(TuningJobCompletionCriteria={"TargetObjectiveMetricValue": 0.9})
    for index, value in ((1, 0.5), (2, None), (3, 0.9)):
        assert not watched.over
        watched.ask(index)
        watched.tell(index, value)
    assert watched.over
