"""SplitDataset: raw images -> train, validation and test."""

from config import images
from entrypoints.contract import TEST, TRAIN, VALIDATION
from steps.context import Context
from steps.processing import input_folder, output_folder, processing_step
from steps.sdk import ProcessingStep

NAME = "SplitDataset"
SUMMARY = "summary"


def build(context: Context) -> ProcessingStep:
    """A processing job in the training image; its outputs are train, validation, test and summary."""
    folders = (TRAIN, VALIDATION, TEST, SUMMARY)
    arguments = ["--input", input_folder("data")]
    for folder in folders:
        arguments += [f"--{folder}", output_folder(folder)]
    arguments += context.settings.split.arguments()
    return processing_step(
        context,
        "split",
        image=images.uri("training", context.settings),
        instance_type=context.parameters["ProcessingInstanceType"],
        inputs={"data": context.parameters["InputDataUrl"]},
        outputs={folder: context.output("split", folder) for folder in folders},
        arguments=arguments,
        name=NAME,
        display_name="Split dataset",
        description="Checks the images and splits each class into train, validation and test",
    )
