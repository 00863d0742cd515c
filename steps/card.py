"""The model package's card: RegisterModel's facts about the model, in AWS's schema.

https://docs.aws.amazon.com/sagemaker/latest/dg/model-registry-details.html#model-card-schema
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from config import images
from entrypoints.contract import (
    CARD_DETAILS,
    CARD_HYPERPARAMETERS,
    CARD_METRIC_GROUPS,
    CARD_OBSERVATION,
    CARD_TRAINING_METRICS,
    CARD_TRAINING_OBSERVATION,
    DEFINITION_SHA256,
    NO_SHA256,
    TEST,
    TRAIN,
    VALIDATION,
    VALIDATION_ACCURACY,
)
from steps import evaluate, train
from steps.context import Context
from steps.processing import output_url
from steps.sdk import ExecutionVariables, Join, ProcessingStep, TrainingStep

NOT_STATED = "Not stated: set model_card.{} in pipeline.toml"


@dataclass(frozen=True)
class Text:
    """A reference to a text that is already JSON."""

    value: Any


def content(
    context: Context, splitting: ProcessingStep, training: TrainingStep, evaluating: ProcessingStep
) -> Join:
    """The card as JSON on one line, which is what the member's pattern allows.

    The member takes 100,000 characters; this has at most 70,000 (tests/entrypoints/test_card.py). No limit of
    Std:Join and Std:JsonGet is published.
    """
    stated = context.settings.model_card
    card = {
        "model_overview": {"model_artifact": [train.model_url(training)]},
        "intended_uses": {
            name: value if value else NOT_STATED.format(name) for name, value in stated.texts().items()
        }
        | {"risk_rating": stated.risk_rating},
        "training_details": {
            # As AWS::SageMaker::ModelCard ObjectiveFunction in CloudFormation's reference has it.
            "objective_function": {
                "function": {"function": "Maximize", "facet": "Accuracy"},
                "notes": f"{VALIDATION_ACCURACY}, which the tuning job maximizes",
            },
            "training_observations": _known(evaluating, CARD_TRAINING_OBSERVATION),
            "training_job_details": {
                "training_arn": training.properties.TrainingJobArn,
                "training_datasets": [output_url(splitting, name) for name in (TRAIN, VALIDATION)],
                "training_environment": {"container_image": [images.uri("training", context.settings)]},
                "training_metrics": _known(evaluating, CARD_TRAINING_METRICS),
                "hyper_parameters": _known(evaluating, CARD_HYPERPARAMETERS),
            },
        },
        "evaluation_details": [
            {
                "name": evaluating.name,
                "evaluation_observation": _known(evaluating, CARD_OBSERVATION),
                "evaluation_job_arn": evaluating.properties.ProcessingJobArn,
                "datasets": [output_url(splitting, TEST)],
                "metric_groups": _known(evaluating, CARD_METRIC_GROUPS),
            }
        ],
        "additional_information": {
            "custom_details": {
                "pipeline_execution": ExecutionVariables.PIPELINE_EXECUTION_ARN,
                DEFINITION_SHA256: NO_SHA256,  # pipeline/definition.py puts it there
                **{name: _known(evaluating, f"details.{name}") for name in CARD_DETAILS},
            }
        },
    }
    return json_text(card)


def json_text(value: Any) -> Join:
    """A value as JSON that is composed when the step runs.

    A reference in it becomes a string; its value must need no escaping in JSON, like the pipeline's ARNs and
    URLs.
    """
    pieces: list[Any] = []
    for piece in _pieces(value):
        if isinstance(piece, str) and pieces and isinstance(pieces[-1], str):
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return Join(on="", values=pieces)


def _pieces(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from _between("{", "}", [[json.dumps(key), ":", *_pieces(value[key])] for key in value])
    elif isinstance(value, list):
        yield from _between("[", "]", [list(_pieces(item)) for item in value])
    elif isinstance(value, Text):
        yield value.value
    elif isinstance(value, str | int | float | bool):
        yield json.dumps(value, ensure_ascii=False)
    else:
        yield from ('"', value, '"')


def _between(first: str, last: str, items: list[list[Any]]) -> Iterator[Any]:
    yield first
    for number, item in enumerate(items):
        yield from ([","] if number else [])
        yield from item
    yield last


def _known(evaluating: ProcessingStep, name: str) -> Text:
    return Text(evaluate.card(evaluating, name))
