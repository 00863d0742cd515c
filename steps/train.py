"""TrainModel: one training job with the best hyperparameters, with Debugger and Profiler."""

from typing import Any

from entrypoints.contract import BACKBONE
from steps import tune
from steps.context import Context
from steps.sdk import ProcessingStep, TrainingStep, TuningStep
from steps.trainer import METRIC_DEFINITIONS, channels, debugged_trainer, plain_trainer

NAME = "TrainModel"


def build(context: Context, splitting: ProcessingStep, tuning: TuningStep) -> TrainingStep:
    """A training job; `debugger.enabled` switches Debugger and Profiler."""
    hyperparameters = {name: tune.best(tuning, name) for name in tune.SEARCHED}
    make_trainer = debugged_trainer if context.settings.debugger.enabled else plain_trainer
    trainer = make_trainer(context, "train", hyperparameters).with_metric_definitions(METRIC_DEFINITIONS)
    return TrainingStep(
        name=NAME,
        display_name="Train model",
        description=f"Trains {BACKBONE} with the best hyperparameters and packs the model with its serving "
        "code",
        step_args=trainer.train(input_data_config=channels(context, splitting)),
        cache_config=context.cache(),
        retry_policies=context.job_retries(),
    )


def model_url(step: TrainingStep) -> Any:
    """The S3 URI of model.tar.gz, as a reference."""
    return step.properties.ModelArtifacts.S3ModelArtifacts
