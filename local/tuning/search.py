"""The search of one tuning job: an Optuna study that asks and tells trials in the order of their index."""

from __future__ import annotations

import threading
from collections.abc import Iterable

import optuna

from local.home.store import Record
from local.tuning.completion import complete
from local.tuning.early_stopping import MedianOfAverages
from local.tuning.hyperband import Resources, resources
from local.tuning.ranges import distributions, grid
from local.tuning.trials import TUNING_JOB, objective, ranges

_ATTEMPTS = 5


class Search:
    """Suggestions that depend on the seed and on the objectives, never on which trial ends first.

    Trial k gets the sampler's k-th suggestion, however many trials run at once. The Bayesian sampler then
    knows exactly the objectives of trials 1 to k - `parallel`: trial k waits for these, and never sees later
    trials that ended sooner. The other strategies use no objectives, so their trials do not wait.

    The caller measures the time and sets `expired`.

    Args:
        record: the tuning job.
        earlier: trials of other tuning jobs that the sampler should know.
    """

    def __init__(self, record: Record, earlier: Iterable[optuna.trial.FrozenTrial] = ()) -> None:
        config = record[f"{TUNING_JOB}Config"]
        strategy, limits = config["Strategy"], config["ResourceLimits"]
        self._choices = distributions(ranges(record))
        self._resources = resources(record) if strategy == "Hyperband" else None
        self._study = optuna.create_study(
            study_name="search",  # Optuna's Hyperband derives a trial's bracket from it
            direction=objective(record)["Type"].lower(),
            sampler=_sampler(strategy, config.get("RandomSeed", record.get("_seed"))),
            pruner=_pruner(self._resources),
        )
        self._study.add_trials(earlier)
        self._record = record
        self.expired = threading.Event()
        # Whether trials may be stopped by their objective.
        self.watches = strategy == "Hyperband" or config.get("TrainingJobEarlyStoppingType") == "Auto"
        self._waits = strategy == "Bayesian"
        self._parallel: int = limits["MaxParallelTrainingJobs"]
        self._asked: list[optuna.Trial] = []
        self._ended: dict[int, float | None] = {}
        self._told = 0
        self._broken = False
        self._hopeless = False
        self._turn = threading.Condition()
        if strategy == "Grid":
            combinations = grid(self._choices)
            self.size = len(combinations)
            for combination in combinations:
                self._study.enqueue_trial(combination)
        else:
            self.size = limits["MaxNumberOfTrainingJobs"]

    def ask(self, index: int) -> optuna.Trial:
        """The trial of that index (from 1); waits for its turn, and for the objectives that it depends on.

        If all ended trials failed, it also waits for the running ones: one of them may still succeed.
        """
        known = max(0, index - self._parallel) if self._waits else 0
        with self._turn:
            self._turn.wait_for(lambda: self._broken or self._can_ask(index, known))
            if self._broken:
                raise RuntimeError("an earlier trial could not be asked for")
            self._hopeless = self._all_failed()
            self._broken = True  # so that trials that wait for this one do not wait forever
            try:
                self._tell(known if self._waits else self._complete())
                self._asked.append(self._study.ask(self._choices))
                self._broken = False
            finally:
                self._turn.notify_all()
            return self._asked[-1]

    def tell(self, index: int, value: float | None) -> None:
        """Report the objective of the trial of that index, or None. Call it for every trial asked for."""
        with self._turn:
            self._ended[index] = value
            self._turn.notify_all()

    def stops(self, trial: optuna.Trial, step: int, value: float) -> bool:
        """Whether a running trial should stop after reporting its objective for the `step`-th time (from 1).

        Source: early_stopping.py and HyperbandStrategyConfig in the API reference.
        """
        with self._turn:
            trial.report(value, step)
            if self._resources is not None and step >= self._resources.most:
                return not self._resources.ends_itself
            stop: bool = trial.should_prune()
            return stop

    def recall(self, trial: optuna.Trial, values: Iterable[float]) -> None:
        """Restore what a trial reported while it ran; others are compared with it."""
        with self._turn:
            for step, value in enumerate(values, 1):
                trial.report(value, step)

    @property
    def over(self) -> bool:
        """Whether no more trials start: time is up, the criteria are met, or all trials failed."""
        with self._turn:
            values = [value for _, value in sorted(self._ended.items()) if value is not None]
            return self.expired.is_set() or self._hopeless or complete(self._record, values)

    def _can_ask(self, index: int, known: int) -> bool:
        """Whether it is that trial's turn, and the first `known` objectives are known."""
        return len(self._asked) == index - 1 and self._complete() >= known and not self._in_doubt()

    def _all_failed(self) -> bool:
        """Whether there are enough failures, and no success, to give up.

        Not documented; the service says "No training job succeeded after 5 attempts. Please
        take a look at the training job failures" (github.com/aws/amazon-sagemaker-examples/issues/2437).
        """
        return len(self._ended) >= _ATTEMPTS and all(value is None for value in self._ended.values())

    def _in_doubt(self) -> bool:
        """Whether it depends on the running trials if all have failed."""
        return self._all_failed() and len(self._asked) > len(self._ended)

    def _complete(self) -> int:
        """How many trials have ended, from the first on without a gap."""
        count = self._told
        while count + 1 in self._ended:
            count += 1
        return count

    def _tell(self, count: int) -> None:
        """Tell the study the objectives of the trials up to that index."""
        for index in range(self._told + 1, count + 1):
            value = self._ended[index]
            failed = optuna.trial.TrialState.FAIL if value is None else None
            self._study.tell(self._asked[index - 1], value, state=failed)
        self._told = max(self._told, count)


def _sampler(strategy: str, seed: int | None) -> optuna.samplers.BaseSampler:
    """Optuna's sampler for SageMaker's strategy; Grid's trials are queued and need none of their own."""
    if strategy == "Bayesian":
        return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    return optuna.samplers.RandomSampler(seed=seed)


def _pruner(used: Resources | None) -> optuna.pruners.BasePruner:
    if used is None:
        return MedianOfAverages()
    return optuna.pruners.HyperbandPruner(min_resource=used.least, max_resource=used.most)
