"""TuneHyperparameters: search learning rate and batch size by validation accuracy."""

from collections.abc import Callable
from typing import Any

from config.sections import Tuning
from entrypoints.contract import VALIDATION_ACCURACY
from steps.context import Context
from steps.sdk import (
    BestObjectiveNotImproving,
    CategoricalParameter,
    ContinuousParameter,
    HyperparameterTuner,
    ProcessingStep,
    TuningJobCompletionCriteria,
    TuningStep,
)
from steps.trainer import METRIC_DEFINITIONS, channels, plain_trainer

NAME = "TuneHyperparameters"

# The searched hyperparameters (entrypoints/hyperparameters.py) and their ranges from the settings. TrainModel
# gets the best value of each.
SEARCHED: dict[str, Callable[[Tuning], Any]] = {
    "learning_rate": lambda tuning: ContinuousParameter(
        tuning.learning_rate_min, tuning.learning_rate_max, scaling_type="Logarithmic"
    ),
    "batch_size": lambda tuning: CategoricalParameter(list(tuning.batch_sizes)),
}


def build(context: Context, splitting: ProcessingStep) -> TuningStep:
    """A tuning job over a plain trainer: its trials never use Debugger."""
    tuning = context.settings.tuning
    tuner = HyperparameterTuner(
        # Trials are never served, so they leave the engines out.
        plain_trainer(context, "tune", {"engines": "0"}),
        objective_metric_name=VALIDATION_ACCURACY,
        objective_type="Maximize",
        metric_definitions=METRIC_DEFINITIONS,
        hyperparameter_ranges={name: make_range(tuning) for name, make_range in SEARCHED.items()},
        strategy=tuning.strategy,
        max_jobs=tuning.jobs,
        max_parallel_jobs=tuning.parallel_jobs,
        max_runtime_in_seconds=tuning.max_runtime_s,
        completion_criteria_config=_completion_criteria(tuning),
        early_stopping_type="Auto" if tuning.early_stopping else "Off",
        random_seed=tuning.random_seed,
        tags=context.tags,
    )
    return TuningStep(
        name=NAME,
        display_name="Tune hyperparameters",
        description="Searches learning rate and batch size for the best validation accuracy",
        step_args=tuner.tune(inputs=channels(context, splitting)),
        cache_config=context.cache(),
        # Pipelines cannot retry on a tuning job's internal errors.
        retry_policies=context.job_retries(internal_errors=False),
    )


def _completion_criteria(tuning: Tuning) -> TuningJobCompletionCriteria | None:
    criteria: dict[str, Any] = {}
    if tuning.target_accuracy is not None:
        criteria["target_objective_metric_value"] = tuning.target_accuracy
    if tuning.max_jobs_not_improving is not None:
        criteria["best_objective_not_improving"] = BestObjectiveNotImproving(
            max_number_of_training_jobs_not_improving=tuning.max_jobs_not_improving
        )
    return TuningJobCompletionCriteria(**criteria) if criteria else None


def best(step: TuningStep, hyperparameter: str) -> Any:
    """The winning value of one hyperparameter (a string), as a reference."""
    return step.properties.BestTrainingJob.TunedHyperParameters[hyperparameter]
