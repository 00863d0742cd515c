"""The card of a model package, a text: whether AWS would accept it.

"Model package model card schema" in the developer guide:
https://docs.aws.amazon.com/sagemaker/latest/dg/model-registry-details.html#model-card-schema
Where that page has a keyword that JSON Schema does not read in that place, or a pattern without an end, its
obvious meaning is checked: what the service does is not published, and this is the stricter reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from jsonschema import Draft7Validator  # type: ignore[import-untyped]
from jsonschema.exceptions import best_match  # type: ignore[import-untyped]

from local.wire.errors import invalid
from local.wire.texts import json_value

Schema = dict[str, Any]


def check_card(card: Mapping[str, Any]) -> None:
    """Refuse a request's member ModelCard if its content is not such a card.

    Raises:
        ServiceError: the message says where in the content, and what is wrong there.
    """
    if "ModelCardContent" not in card:
        return
    text = card["ModelCardContent"]
    if "\n" in text:  # the member's pattern is .*, which botocore does not check
        raise invalid("ModelCard.ModelCardContent has several lines; it must match the pattern .*")
    try:
        content = json_value(text)
    except ValueError as error:
        raise invalid(f"ModelCard.ModelCardContent is not valid JSON: {error}") from None
    found = best_match(_validator().iter_errors(content))
    if found is not None:
        raise invalid(
            f"ModelCard.ModelCardContent does not follow the schema of a model package's card: "
            f"{found.json_path}: {found.message}"
        )


@cache
def _validator() -> Draft7Validator:
    return Draft7Validator(_card())


def _card() -> Schema:
    return _object(
        {
            "model_overview": _object(
                {"model_creator": _text(1024), "model_artifact": _list(_text(1024), 15)}
            ),
            "intended_uses": _object(
                {
                    "purpose_of_model": _text(2048),
                    "intended_uses": _text(2048),
                    "factors_affecting_model_efficiency": _text(2048),
                    "risk_rating": {"enum": ["High", "Medium", "Low", "Unknown"]},
                    "explanations_for_risk_rating": _text(2048),
                }
            ),
            "business_details": _object(
                {
                    "business_problem": _text(2048),
                    "business_stakeholders": _text(2048),
                    "line_of_business": _text(2048),
                }
            ),
            "training_details": _training(),
            "evaluation_details": {"type": "array", "items": _evaluation()},
            "additional_information": _object(
                {
                    "ethical_considerations": _text(2048),
                    "caveats_and_recommendations": _text(2048),
                    "custom_details": _texts(1024),
                }
            ),
        }
    )


def _training() -> Schema:
    function = _object(
        {"function": {"enum": ["Maximize", "Minimize"]}, "facet": _text(63), "condition": _text(63)}
    )
    metric = _object(
        {"name": _text(255, 1), "notes": _text(1024), "value": {"type": "number"}}, ["name", "value"]
    )
    hyperparameter = _object({"name": _text(255, 1), "value": _text(255, 1)}, ["name", "value"])
    job = _object(
        {
            "training_arn": _text(1024),
            "training_datasets": _list(_text(1024), 15),
            "training_environment": _object({"container_image": _list(_text(1024), 15)}),
            "training_metrics": _list(metric, 50),
            "user_provided_training_metrics": _list(metric, 50),
            "hyper_parameters": _list(hyperparameter, 100),
            "user_provided_hyper_parameters": _list(hyperparameter, 100),
        }
    )
    return _object(
        {
            "objective_function": _object({"function": function, "notes": _text(1024)}),
            "training_observations": _text(1024),
            "training_job_details": job,
        }
    )


def _evaluation() -> Schema:
    numbers: Schema = {"type": "array", "items": {"type": "number"}, "minItems": 1}
    row = {**numbers, "maxItems": 20}
    pair = {**numbers, "minItems": 2, "maxItems": 2}
    axis, axes = _text(63), {"type": "array", "items": _text(63)}
    simple = {"anyOf": [{"type": "number"}, _text(63), {"type": "boolean"}]}
    metrics = [
        _metric(["number", "string", "boolean"], simple, axis, axis),
        _metric(["linear_graph"], {"type": "array", "items": pair, "minItems": 1}, axis, axis),
        _metric(["bar_chart"], numbers, axes, axis),
        _metric(["matrix"], {"type": "array", "items": row, "minItems": 1, "maxItems": 20}, axes, axes),
    ]
    group = {
        "type": "object",
        "properties": {"name": _text(63, 1), "metric_data": {"type": "array", "items": {"anyOf": metrics}}},
        "required": ["name", "metric_data"],
    }
    return _object(
        {
            "name": _text(63, 1),
            "evaluation_observation": _text(2096),
            "evaluation_job_arn": _text(256),
            "datasets": _list(_text(1024), 10),
            "metadata": _texts(1024),
            "metric_groups": {"type": "array", "items": group},
        },
        ["name"],
    )


def _metric(kinds: list[str], value: Schema, x_axis: Schema, y_axis: Schema) -> Schema:
    return _object(
        {
            "name": _text(255, 1),
            "notes": _text(1024),
            "type": {"enum": kinds},
            "value": value,
            "x_axis_name": x_axis,
            "y_axis_name": y_axis,
        },
        ["name", "type", "value"],
    )


def _object(properties: Mapping[str, Schema], required: list[str] | None = None) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": required or [],
        "additionalProperties": False,
    }


def _text(longest: int, shortest: int = 0) -> Schema:
    return {"type": "string", "minLength": shortest, "maxLength": longest}


def _texts(longest: int) -> Schema:
    return {"type": "object", "additionalProperties": _text(longest)}


def _list(item: Schema, most: int) -> Schema:
    return {"type": "array", "items": item, "maxItems": most}
