"""Only cards that fit AWS's page pass."""

import json

import pytest

from local.endpoints.model_cards import check_card
from local.wire.errors import ServiceError

# Each member of the schema, once.
CARD = {
    "model_overview": {"model_creator": "us", "model_artifact": ["s3://b/model.tar.gz"]},
    "intended_uses": {
        "purpose_of_model": "counts",
        "intended_uses": "gardens",
        "factors_affecting_model_efficiency": "light",
        "risk_rating": "Low",
        "explanations_for_risk_rating": "harmless",
    },
    "business_details": {
        "business_problem": "bees",
        "business_stakeholders": "keepers",
        "line_of_business": "honey",
    },
    "training_details": {
        "objective_function": {
            "function": {"function": "Maximize", "facet": "Accuracy", "condition": "always"},
            "notes": "n",
        },
        "training_observations": "went well",
        "training_job_details": {
            "training_arn": "arn",
            "training_datasets": ["s3://b/train"],
            "training_environment": {"container_image": ["image"]},
            "training_metrics": [{"name": "loss", "value": 0.1, "notes": "n"}],
            "user_provided_training_metrics": [{"name": "loss", "value": 0.1}],
            "hyper_parameters": [{"name": "epochs", "value": "4"}],
            "user_provided_hyper_parameters": [{"name": "epochs", "value": "4"}],
        },
    },
    "evaluation_details": [
        {
            "name": "test",
            "evaluation_observation": "good",
            "evaluation_job_arn": "arn",
            "datasets": ["s3://b/test"],
            "metadata": {"a": "b"},
            "metric_groups": [
                {
                    "name": "all kinds",
                    "metric_data": [
                        {"name": "a", "type": "number", "value": 1.5, "notes": "n", "x_axis_name": "x"},
                        {"name": "b", "type": "string", "value": "good"},
                        {"name": "c", "type": "boolean", "value": True},
                        {"name": "d", "type": "linear_graph", "value": [[0, 1], [1, 2]]},
                        {"name": "e", "type": "bar_chart", "value": [1, 2], "x_axis_name": ["a", "b"]},
                        {"name": "f", "type": "matrix", "value": [[1, 2], [3, 4]], "y_axis_name": ["a", "b"]},
                    ],
                }
            ],
        }
    ],
    "additional_information": {
        "ethical_considerations": "none",
        "caveats_and_recommendations": "none",
        "custom_details": {"a": "b"},
    },
}


def refused(text):
    with pytest.raises(ServiceError) as caught:
        check_card({"ModelCardContent": text})
    assert caught.value.code == "ValidationException"
    return caught.value.message


@pytest.mark.parametrize("card", [CARD, {}])
def test_a_card_of_the_schema_passes(card):
    check_card({"ModelCardContent": json.dumps(card)})


def test_a_status_without_content_passes():
    check_card({"ModelCardStatus": "Draft"})


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        (("model_name",), "x", "$"),
        (("model_overview", "model_id"), "x", "$.model_overview"),
        (("model_overview", "model_artifact"), 16 * ["s3://b"], "$.model_overview.model_artifact"),
        (("intended_uses", "risk_rating"), "low", "$.intended_uses.risk_rating"),
        (("intended_uses", "intended_uses"), 2049 * "x", "$.intended_uses.intended_uses"),
        (
            ("training_details", "training_observations"),
            1025 * "x",
            "$.training_details.training_observations",
        ),
        (
            ("training_details", "training_job_details", "hyper_parameters", 0, "value"),
            4,
            "$.training_details.training_job_details.hyper_parameters[0].value",
        ),
        (
            ("training_details", "training_job_details", "training_metrics"),
            51 * [{"name": "loss", "value": 1}],
            "$.training_details.training_job_details.training_metrics",
        ),
        (("evaluation_details", 0, "name"), "", "$.evaluation_details[0].name"),
        (("evaluation_details", 0, "metric_groups", 0, "metric_data", 0, "type"), "percent", "$.evaluation"),
        (("evaluation_details", 0, "metric_groups", 0, "metric_data", 4, "value"), [], "$.evaluation"),
        (
            ("evaluation_details", 0, "metric_groups", 0, "metric_data", 5, "value"),
            21 * [[1]],
            "$.evaluation",
        ),
        (("additional_information", "custom_details", "a"), 1, "$.additional_information.custom_details.a"),
    ],
)
def test_what_the_schema_does_not_have_is_refused_by_its_place(path, value, where):
    card = json.loads(json.dumps(CARD))
    inner = card
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    assert f"does not follow the schema of a model package's card: {where}" in refused(json.dumps(card))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not valid JSON"),
        ("", "is not valid JSON"),
        ('{"model_overview": NaN}', "is not valid JSON: NaN is not JSON"),
        (json.dumps(CARD, indent=2), "has several lines"),
        ("[]", "$: [] is not of type 'object'"),
    ],
)
def test_what_is_no_card_at_all_is_refused(text, said):
    assert said in refused(text)
