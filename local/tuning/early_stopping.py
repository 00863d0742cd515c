"""Early stopping of a tuning job's trials, for TrainingJobEarlyStoppingType Auto."""

from __future__ import annotations

import statistics

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

# The service does not say how many training jobs it waits for. This is the default of Optuna's MedianPruner,
# which compares something else: the best value so far with the others' values at the same epoch.
_FIRST_TRIALS = 5


class MedianOfAverages(optuna.pruners.BasePruner):  # type: ignore[misc]
    """Prunes a trial whose objective is worse than the median of the earlier trials' running averages.

    A trial's average is over its objectives up to the running trial's epoch. Source: "Stop Training
    Jobs Early" in the developer guide.
    """

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        if (epoch := trial.last_step) is None:
            return False
        earlier = [
            [value for step, value in other.intermediate_values.items() if step <= epoch]
            for other in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        ]
        averages = [statistics.fmean(values) for values in earlier if values]
        if len(averages) < _FIRST_TRIALS:
            return False
        value: float = trial.intermediate_values[epoch]
        median = statistics.median(averages)
        return value < median if study.direction == StudyDirection.MAXIMIZE else value > median
