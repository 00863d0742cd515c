"""EvaluateModel: classify the test images with the code that will serve."""

from config import images
from entrypoints.contract import (
    CHAMPION,
    CHAMPION_URL,
    EVALUATION,
    EXIT_MESSAGE,
    GATE,
    PACKAGE_CARD,
    REASON,
    SAMPLES,
    TEST,
)
from steps import split, train
from steps.context import Context
from steps.processing import input_folder, output_folder, output_prefix, output_url, processing_step
from steps.sdk import Join, JsonGet, LambdaStep, ProcessingStep, PropertyFile, TrainingStep

NAME = "EvaluateModel"
OUTPUT = "evaluation"
RESULT = PropertyFile(name="EvaluationResult", output_name=OUTPUT, path=GATE)
CARD = PropertyFile(name="ModelCard", output_name=OUTPUT, path=PACKAGE_CARD)


def build(
    context: Context, splitting: ProcessingStep, training: TrainingStep, finding: LambdaStep
) -> ProcessingStep:
    """A processing job in the serving image, so that it measures what users will get."""
    champion, gate = finding.properties.Outputs, context.settings.gate
    return processing_step(
        context,
        "evaluate",
        image=images.uri("serving", context.settings),
        instance_type=context.parameters["EvaluationInstanceType"],
        inputs={
            "model": train.model_url(training),
            TEST: output_prefix(splitting, TEST),
            split.SUMMARY: output_prefix(splitting, split.SUMMARY),
            CHAMPION: champion[CHAMPION_URL],
        },
        outputs={OUTPUT: context.output("evaluate")},
        arguments=[
            *("--model", input_folder("model")),
            *("--test", input_folder(TEST)),
            *("--summary", input_folder(split.SUMMARY)),
            *("--output", output_folder(OUTPUT)),
            *("--message", EXIT_MESSAGE),
            *("--metric", gate.metric),
            *("--margin", str(gate.margin)),
            *("--champion", input_folder(CHAMPION)),
            *("--champion-name", champion[CHAMPION]),
            *("--champion-reason", champion[REASON]),
        ],
        property_files=[RESULT, CARD],
        name=NAME,
        display_name="Evaluate model",
        description="Predicts the held-out test images with the model's own serving code",
    )


def result(step: ProcessingStep, name: str) -> JsonGet:
    """A member of the step's gate.json, such as METRIC_VALUE."""
    return JsonGet(step_name=step.name, property_file=RESULT, json_path=name)


def card(step: ProcessingStep, name: str) -> JsonGet:
    """A member of the step's card.json."""
    return JsonGet(step_name=step.name, property_file=CARD, json_path=name)


def report_url(step: ProcessingStep) -> Join:
    """The S3 URI of evaluation.json, as a reference."""
    return Join(on="/", values=[output_url(step, OUTPUT), EVALUATION])


def samples_url(step: ProcessingStep) -> Join:
    """The S3 prefix of a few test pictures and the evaluation's answers, as a reference."""
    return Join(on="/", values=[output_url(step, OUTPUT), f"{SAMPLES}/"])
