"""The card is JSON in AWS's schema for any values of its references."""

import json

import pytest
from sagemaker.core.shapes.model_card_shapes import ModelCardContent

from config.sections import ModelCard
from entrypoints.contract import CARD_DETAILS
from local.definition.expressions import evaluate, parse
from local.endpoints.model_cards import check_card
from steps import card

MEASURED = 'Test accuracy 0.97 of "ants" and \\bees\\'
KNOWN = {
    "training_metrics": [{"name": "validation_accuracy", "value": 0.98}],
    "hyper_parameters": [{"name": "epochs", "value": "4"}],
    "training_observations": "resnet18",
    "evaluation_observation": MEASURED,
    "metric_groups": [
        {"name": "Test pictures", "metric_data": [{"name": "accuracy", "type": "number", "value": 0.97}]}
    ],
}
FILE = {name: json.dumps(value) for name, value in KNOWN.items()} | {
    "details": {name: json.dumps(f"the {name}") for name in CARD_DETAILS}
}


@pytest.fixture
def content(steps):
    """The card's text after the earlier steps; references become their own names."""

    def content(**settings):
        context, splitting, _, training, evaluating = steps(**settings)
        expression = json.loads(json.dumps(card.content(context, splitting, training, evaluating).expr))
        return evaluate(parse(expression), lambda reference: reference.text, lambda _: json.dumps(FILE))

    return content


def test_aws_would_take_it(content):
    text = content()
    check_card({"ModelCardContent": text})
    # The SDK's version of the schema, which differs from CloudFormation's and SDK 2's in one place.
    document = json.loads(text)
    assert document["training_details"].pop("objective_function")["function"]["function"] == "Maximize"
    ModelCardContent.model_validate(document)


def test_what_the_execution_knows_and_what_the_evaluation_found(content):
    found = json.loads(content())
    assert found["model_overview"]["model_artifact"] == ["Steps.TrainModel.ModelArtifacts.S3ModelArtifacts"]
    training = found["training_details"]["training_job_details"]
    assert training["training_arn"] == "Steps.TrainModel.TrainingJobArn"
    assert training["hyper_parameters"] == KNOWN["hyper_parameters"]
    outputs = "Steps.SplitDataset.ProcessingOutputConfig.Outputs"
    assert training["training_datasets"] == [
        f"{outputs}['train'].S3Output.S3Uri",
        f"{outputs}['validation'].S3Output.S3Uri",
    ]
    (evaluation,) = found["evaluation_details"]
    assert evaluation["evaluation_job_arn"] == "Steps.EvaluateModel.ProcessingJobArn"
    assert evaluation["datasets"] == [f"{outputs}['test'].S3Output.S3Uri"]
    assert evaluation["evaluation_observation"] == MEASURED
    assert evaluation["metric_groups"] == KNOWN["metric_groups"]
    assert found["additional_information"]["custom_details"] == {
        "pipeline_execution": "Execution.PipelineExecutionArn",
        "definition_sha256": "0" * 64,
        **{name: f"the {name}" for name in CARD_DETAILS},
    }


def test_the_intended_use_is_the_user_s_or_said_to_be_missing(content):
    assert json.loads(content())["intended_uses"] == {
        **{
            name: f"Not stated: set model_card.{name} in pipeline.toml"
            for name in ("purpose_of_model", "intended_uses", "explanations_for_risk_rating")
        },
        "risk_rating": "Unknown",
    }
    stated = ModelCard('counts "bees"', "gardens,\nnever roads", "Low", "a wrong count harms nobody")
    text = content(model_card=stated)
    check_card({"ModelCardContent": text})
    assert json.loads(text)["intended_uses"] == {
        "purpose_of_model": 'counts "bees"',
        "intended_uses": "gardens,\nnever roads",
        "risk_rating": "Low",
        "explanations_for_risk_rating": "a wrong count harms nobody",
    }
