"""A processing step that runs one of this project's programs."""

from typing import Any

from config.settings import MAX_RUNTIME_S, Duty
from entrypoints.contract import PROCESSING, PROCESSING_CODE
from steps import code
from steps.context import VOLUME_SIZE_GB, Context
from steps.sdk import (
    Join,
    ProcessingInput,
    ProcessingOutput,
    ProcessingS3Input,
    ProcessingS3Output,
    ProcessingStep,
    Processor,
)


def processing_step(
    context: Context,
    program: str,
    *,
    image: str,
    instance_type: Any,
    inputs: dict[str, Any],
    outputs: dict[str, Any],
    arguments: list[Any],
    duty: Duty = "processing",
    cached: bool = True,
    **step: Any,
) -> ProcessingStep:
    """The program `program`, from the bundle of that name, in a container from `image`.

    `inputs` and `outputs` are S3 URIs by the name of their folder (`input_folder`, `output_folder`): an input
    one object, or a prefix that ends in a slash, since S3 takes "train-2/1.png" to begin with "train";
    `duty` names the role; `cached` is whether the settings may have its results reused; `step` goes to the
    SDK's ProcessingStep.
    """
    processor = Processor(
        role=context.settings.role(duty),
        image_uri=image,
        instance_count=1,
        instance_type=instance_type,
        entrypoint=["/bin/bash", f"{PROCESSING_CODE}/{code.LAUNCHER}", program],
        volume_size_in_gb=VOLUME_SIZE_GB,
        max_runtime_in_seconds=MAX_RUNTIME_S,
        sagemaker_session=context.session,
        tags=context.tags,
    )
    run = processor.run(
        inputs=[
            _input("code", context.code[program], PROCESSING_CODE),
            *(_input(name, url, input_folder(name)) for name, url in inputs.items()),
        ],
        outputs=[_output(name, url) for name, url in outputs.items()],
        arguments=arguments,
    )
    return ProcessingStep(
        step_args=run,
        cache_config=context.cache() if cached else None,
        retry_policies=context.job_retries(),
        **step,
    )


def output_url(step: ProcessingStep, name: str) -> Any:
    """The S3 URI of one output of the step, as a reference."""
    return step.properties.ProcessingOutputConfig.Outputs[name].S3Output.S3Uri


def output_prefix(step: ProcessingStep, name: str) -> Join:
    """The S3 prefix of one output's files, as a reference."""
    return Join(on="", values=[output_url(step, name), "/"])


def input_folder(name: str) -> str:
    """The container's folder of an input."""
    return f"{PROCESSING}/input/{name}"


def output_folder(name: str) -> str:
    """The container's folder of an output."""
    return f"{PROCESSING}/output/{name}"


def _input(name: str, url: Any, folder: str) -> ProcessingInput:
    return ProcessingInput(
        input_name=name,
        s3_input=ProcessingS3Input(
            s3_uri=url,
            local_path=folder,
            s3_data_type="S3Prefix",
            s3_input_mode="File",
            s3_data_distribution_type="FullyReplicated",
            s3_compression_type="None",
        ),
    )


def _output(name: str, url: Any) -> ProcessingOutput:
    return ProcessingOutput(
        output_name=name,
        s3_output=ProcessingS3Output(s3_uri=url, local_path=output_folder(name), s3_upload_mode="EndOfJob"),
    )
