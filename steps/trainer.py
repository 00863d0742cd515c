"""The ModelTrainer of this pipeline: script mode from an S3 bundle, optionally with Debugger and Profiler."""

from typing import Any

from config import images
from config.sections import Debugger
from entrypoints.contract import METRIC_REGEXES, PRETRAINED, TRAIN, VALIDATION
from steps import code
from steps.context import VOLUME_SIZE_GB, Context
from steps.processing import output_prefix
from steps.sdk import (
    Channel,
    CheckpointConfig,
    CollectionConfig,
    Compute,
    DataSource,
    DebuggerHookConfig,
    ModelTrainer,
    OutputDataConfig,
    ProcessingStep,
    ProfilerConfig,
    ProfilerRule,
    Rule,
    S3DataSource,
    StoppingCondition,
    rule_configs,
)

DEBUG_RULES = {
    "LossNotDecreasing": rule_configs.loss_not_decreasing,
    "Overfit": rule_configs.overfit,
    "Overtraining": rule_configs.overtraining,
    "VanishingGradient": rule_configs.vanishing_gradient,
    "ExplodingTensor": rule_configs.exploding_tensor,
    "PoorWeightInitialization": rule_configs.poor_weight_initialization,
}
PROFILER_RULES = {
    "ProfilerReport": rule_configs.ProfilerReport,
    "CPUBottleneck": rule_configs.CPUBottleneck,
    "IOBottleneck": rule_configs.IOBottleneck,
    "LowGPUUtilization": rule_configs.LowGPUUtilization,
    "GPUMemoryIncrease": rule_configs.GPUMemoryIncrease,
}
# Differences from AWS's defaults. Overfit: the first epoch's validation loss may be far off, since batch norm
# has seen few pictures; three epochs in a row are a finding.
RULE_PARAMETERS = {"Overfit": {"patience": "3"}}
METRIC_DEFINITIONS = [{"name": name, "regex": regex} for name, regex in METRIC_REGEXES.items()]


class DebuggedTrainer(ModelTrainer):  # type: ignore[misc]
    """A ModelTrainer that adds `debugger_request` to its request; the SDK's has no Debugger argument."""

    debugger_request: dict[str, Any]

    def _create_training_job_args(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return {**super()._create_training_job_args(*args, **kwargs), **self.debugger_request}


def plain_trainer(context: Context, bundle: str, hyperparameters: dict[str, Any]) -> ModelTrainer:
    """A trainer without Debugger; `bundle` (tune or train) also names the folder of its jobs' outputs."""
    return ModelTrainer(**_arguments(context, bundle, bundle, hyperparameters))


def debugged_trainer(context: Context, folder: str, hyperparameters: dict[str, Any]) -> DebuggedTrainer:
    """The same, but it records losses (and the settings' collections), profiles and evaluates rules."""
    arguments = _arguments(context, "train_debugged", folder, hyperparameters)
    return DebuggedTrainer(**arguments, debugger_request=_debugger_request(context, folder))


def channels(context: Context, splitting: ProcessingStep) -> list[Channel]:
    """The input channels of a training job: two of the splits, and the pretrained weights."""
    urls = {
        TRAIN: output_prefix(splitting, TRAIN),
        VALIDATION: output_prefix(splitting, VALIDATION),
        PRETRAINED: context.parameters["PretrainedWeightsUrl"],
    }
    return [
        Channel(
            channel_name=name,
            # Weights are one file that is read in jumps.
            input_mode="File" if name == PRETRAINED else context.settings.input_mode,
            data_source=DataSource(
                s3_data_source=S3DataSource(
                    s3_data_type="S3Prefix", s3_uri=url, s3_data_distribution_type="FullyReplicated"
                )
            ),
        )
        for name, url in urls.items()
    ]


def _arguments(context: Context, bundle: str, folder: str, hyperparameters: dict[str, Any]) -> dict[str, Any]:
    parameters, settings = context.parameters, context.settings
    return {
        "training_image": images.uri("training", settings, settings.images.training_device),
        "training_input_mode": "File",
        "role": settings.role("training"),
        "sagemaker_session": context.session,
        "base_job_name": settings.name,
        "compute": Compute(
            instance_type=parameters["TrainingInstanceType"],
            instance_count=parameters["TrainingInstanceCount"],
            volume_size_in_gb=VOLUME_SIZE_GB,
            **({"enable_managed_spot_training": True} if settings.use_spot else {}),
        ),
        "stopping_condition": StoppingCondition(
            max_runtime_in_seconds=settings.max_runtime_s,
            **({"max_wait_time_in_seconds": settings.max_wait_s} if settings.use_spot else {}),
        ),
        # Where SageMaker keeps checkpoints across a spot job's interruptions and a step's attempts.
        "checkpoint_config": CheckpointConfig(s3_uri=context.output(folder, "checkpoints"))
        if settings.use_spot or settings.checkpoints
        else None,
        "output_data_config": OutputDataConfig(s3_output_path=context.output(folder)),
        "hyperparameters": {
            # The toolkit's script mode: fetch the bundle, run the program in it.
            "sagemaker_program": code.TRAINING_PROGRAM,
            "sagemaker_submit_directory": context.code[bundle],
            # ... by torchrun: one process per GPU of every instance, one per instance without GPUs.
            "sagemaker_torch_distributed_enabled": "true",
            "epochs": parameters["Epochs"].to_string(),
            "image_size": parameters["ImageSize"].to_string(),
            "seed": str(settings.tuning.random_seed),
            **settings.training.hyperparameters(),
            **hyperparameters,
        },
        "tags": [{"key": tag["Key"], "value": tag["Value"]} for tag in context.tags],
    }


def _debugger_request(context: Context, folder: str) -> dict[str, Any]:
    """The members of CreateTrainingJob that switch Debugger and Profiler on."""
    debugger = context.settings.debugger
    hook = DebuggerHookConfig(
        s3_output_path=context.output(folder, "debugger"),
        collection_configs=[
            CollectionConfig(name, values) for name, values in _collections(debugger).items()
        ],
    )
    profiler = ProfilerConfig(
        s3_output_path=context.output(folder, "profiler"),
        system_monitor_interval_millis=debugger.profiler_interval_ms,
    )
    names = dict.fromkeys(debugger.rules)
    rules = [
        Rule.sagemaker(DEBUG_RULES[name](), rule_parameters=RULE_PARAMETERS.get(name))
        for name in names
        if name in DEBUG_RULES
    ]
    reports = [ProfilerRule.sagemaker(PROFILER_RULES[name]()) for name in names if name in PROFILER_RULES]
    for rule in (*rules, *reports):
        # The SDK leaves the literal DEFAULT_RULE_EVALUATOR_IMAGE here, which the service refuses.
        rule.image_uri = images.uri("rules", context.settings)
    return {
        "DebugHookConfig": hook._to_request_dict(),
        "DebugRuleConfigurations": [rule.to_debugger_rule_config_dict() for rule in rules],
        "ProfilerConfig": profiler._to_request_dict(),
        "ProfilerRuleConfigurations": [rule.to_profiler_rule_config_dict() for rule in reports],
    }


def _collections(debugger: Debugger) -> dict[str, dict[str, str]]:
    """What the hook saves, and how often: losses, the rules' tensors, the settings' collections."""
    interval = {"save_interval": str(debugger.tensor_interval_steps)}
    collections = {
        # The validation loss comes once per epoch, at any step; a longer interval would miss it.
        "losses": {"save_interval": str(debugger.save_interval_steps), "eval.save_interval": "1"}
    }
    if {"VanishingGradient", "PoorWeightInitialization"} & set(debugger.rules):
        collections["gradients"] = interval
    if "PoorWeightInitialization" in debugger.rules:
        collections["relu_input"] = {"train.save_steps": "0", "eval.end_step": "0"}
    collections |= dict.fromkeys(debugger.collections, interval)
    # Not collections of smdebug for PyTorch: without a pattern it records nothing for them.
    return {
        name: {"include_regex": f".*{name}", **values} if name.startswith("relu_") else values
        for name, values in collections.items()
    }
