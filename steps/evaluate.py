"""EvaluateModel: predict the test images with the code that will serve."""

from config import images
from entrypoints.contract import ACCURACY_JSON_PATH, EVALUATION, SAMPLES, TEST
from steps import train
from steps.context import Context
from steps.processing import input_folder, output_folder, output_url, processing_step
from steps.sdk import Join, JsonGet, ProcessingStep, PropertyFile, TrainingStep

NAME = "EvaluateModel"
OUTPUT = "evaluation"
REPORT = PropertyFile(name="EvaluationReport", output_name=OUTPUT, path=EVALUATION)


def build(context: Context, splitting: ProcessingStep, training: TrainingStep) -> ProcessingStep:
    """A processing job in the serving image, so that what is measured is what users get."""
    return processing_step(
        context,
        "evaluate",
        image=images.uri("serving", context.settings),
        instance_type=context.parameters["EvaluationInstanceType"],
        inputs={"model": train.model_url(training), TEST: output_url(splitting, TEST)},
        outputs={OUTPUT: context.output("evaluate")},
        arguments=[
            *("--model", input_folder("model")),
            *("--test", input_folder(TEST)),
            *("--output", output_folder(OUTPUT)),
        ],
        property_files=[REPORT],
        name=NAME,
        display_name="Evaluate model",
        description="Predicts the held-out test images with the model's own serving code",
    )


def accuracy(step: ProcessingStep) -> JsonGet:
    """The test accuracy, 0..1, read from the step's evaluation.json."""
    return JsonGet(step_name=step.name, property_file=REPORT, json_path=ACCURACY_JSON_PATH)


def report_url(step: ProcessingStep) -> Join:
    """The S3 URI of evaluation.json, as a reference."""
    return Join(on="/", values=[output_url(step, OUTPUT), EVALUATION])


def samples_url(step: ProcessingStep) -> Join:
    """The S3 prefix of a few test pictures and what the evaluation answered, as a reference."""
    return Join(on="/", values=[output_url(step, OUTPUT), SAMPLES])
