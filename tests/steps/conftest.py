"""Steps are built for an account simulated by moto: the bucket exists and holds the code bundles."""

import json

import boto3
import pytest
from moto import mock_aws
from sagemaker.core.helper.pipeline_variable import PipelineVariable

from config.parameters import execution_parameters
from config.settings import Settings
from pipeline.pipeline import pipeline_session
from steps import champion, code, evaluate, split, train, tune
from steps.context import Context, sdk_parameter

ACCOUNT = "arn:aws:iam::123456789012:role"
SETTINGS = {
    "bucket": "pictures",
    "execution_role": f"{ACCOUNT}/Execution",
    "lambda_role": f"{ACCOUNT}/Lambda",
    "scheduler_role": f"{ACCOUNT}/Scheduler",
    "name": "flowers",
    "tags": {"team": "vision"},
}


def plain(value):
    """A request as the definition's JSON has it."""
    return json.loads(json.dumps(value, default=expression))


def expression(value):
    assert isinstance(value, PipelineVariable), value
    return value.expr


@pytest.fixture
def s3(monkeypatch):
    """A client of moto's S3 with the settings' bucket."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=SETTINGS["bucket"])
        yield client


@pytest.fixture
def context(s3):
    """Makes a context from settings and uploads its bundles."""

    def make(**changes):
        settings = Settings(**{**SETTINGS, **changes})
        bundles = code.bundles()
        code.upload(s3, settings, bundles.values())
        urls = {name: code.url(settings, name, bundle.digest) for name, bundle in bundles.items()}
        parameters = execution_parameters(settings, urls["random_weights"])
        return Context(
            settings,
            pipeline_session(settings),
            {item.name: sdk_parameter(item) for item in parameters},
            urls,
        )

    return make


@pytest.fixture
def steps(context):
    """The steps up to the evaluation, by module name."""

    def make(**changes):
        made = context(**changes)
        splitting = split.build(made)
        tuning = tune.build(made, splitting)
        training = train.build(made, splitting, tuning)
        evaluating = evaluate.build(made, splitting, training, champion.build(made, training))
        return made, splitting, tuning, training, evaluating

    return make


@pytest.fixture
def request_of():
    """The step as the definition has it."""
    return lambda step: plain(step.to_request())


@pytest.fixture
def uploaded(s3):
    """The keys of the bucket that begin with the key of an S3 URI."""

    def keys(uri):
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return [item["Key"] for item in s3.list_objects_v2(Bucket=bucket, Prefix=key).get("Contents", [])]

    return keys
