"""The search of one tuning job: an Optuna study that gives and takes trials in the order of their index."""

from __future__ import annotations

import threading
from typing import Any

import optuna
from optuna.distributions import BaseDistribution

from local.ranges import grid
from local.store import Record


class Search:
    """Suggestions that depend on the seed and on the objectives, never on which trial ends first.

    Trial k gets the sampler's k-th suggestion however many run at once. The Bayesian sampler knows exactly
    the objectives of trials 1 to k - `parallel` then: trial k waits for these, and does not see later ones
    that ended sooner. The other strategies look at no objective, so their trials wait for none.

    Args:
        config: HyperParameterTuningJobConfig.
        choices: its ranges.
    """

    def __init__(self, config: Record, choices: dict[str, BaseDistribution]) -> None:
        strategy, limits = config["Strategy"], config["ResourceLimits"]
        self._choices = choices
        self._study = optuna.create_study(
            direction=config["HyperParameterTuningJobObjective"]["Type"].lower(),
            sampler=_sampler(strategy, config.get("RandomSeed")),
            pruner=optuna.pruners.MedianPruner(),
        )
        self._waits = strategy == "Bayesian"
        self._parallel: int = limits["MaxParallelTrainingJobs"]
        self._asked: list[optuna.Trial] = []
        self._ended: dict[int, float | None] = {}
        self._told = 0
        self._turn = threading.Condition()
        if strategy == "Grid":
            combinations = grid(choices)
            self.size = len(combinations)
            for combination in combinations:
                self._study.enqueue_trial(combination)
        else:
            self.size = limits["MaxNumberOfTrainingJobs"]

    def ask(self, index: int) -> optuna.Trial:
        """The trial of that index (from 1): waits for its turn, and for the objectives that it rests on."""
        known = max(0, index - self._parallel) if self._waits else 0
        with self._turn:
            self._turn.wait_for(lambda: len(self._asked) == index - 1 and self._complete() >= known)
            self._tell(known if self._waits else self._complete())
            trial = self._study.ask(self._choices)
            self._asked.append(trial)
            self._turn.notify_all()
        return trial

    def tell(self, index: int, value: float | None) -> None:
        """The objective of the trial of that index, None if there is none; every trial asked for is told."""
        with self._turn:
            self._ended[index] = value
            self._turn.notify_all()

    def _complete(self) -> int:
        """How many trials have ended without a gap, from the first on."""
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


def _sampler(strategy: str, seed: int | None) -> Any:
    """Optuna's sampler for SageMaker's strategy; Grid's trials are queued and need none of their own."""
    if strategy == "Bayesian":
        return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    return optuna.samplers.RandomSampler(seed=seed)
