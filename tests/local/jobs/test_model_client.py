"""The settings that a model requests from a transform job."""

import threading
from types import SimpleNamespace

import pytest

from local.jobs.jobs import JobError
from local.jobs.model_client import DEFAULTS, ModelClient


def settings(status, body, **job):
    server = SimpleNamespace(execution_parameters=lambda: (status, {}, body))
    return ModelClient(
        {"TransformInput": {}, "TransformOutput": {}, **job}, server, threading.Event()
    ).settings()


def test_the_job_comes_before_the_model_and_the_model_before_the_defaults():
    assert settings(404, b"Not Found") == DEFAULTS
    asked = b'{"MaxConcurrentTransforms": 8, "BatchStrategy": "SINGLE_RECORD", "Other": 1}'
    assert settings(200, asked) == {
        "MaxConcurrentTransforms": 8,
        "MaxPayloadInMB": 6,
        "BatchStrategy": "SINGLE_RECORD",
    }
    own = {"MaxConcurrentTransforms": 2, "MaxPayloadInMB": 3, "BatchStrategy": "MultiRecord"}
    assert settings(200, asked, **own) == {**own, "BatchStrategy": "MULTI_RECORD"}
    assert settings(200, asked, MaxConcurrentTransforms=0)["MaxConcurrentTransforms"] == 8


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"MaxPayloadInMB": "6"}',
        b'{"MaxConcurrentTransforms": 0}',
        b'{"BatchStrategy": "MultiRecord"}',
    ],
)
def test_what_is_no_setting_fails_the_job(body):
    with pytest.raises(JobError, match="AlgorithmError: the model's answer to GET /execution-parameters is"):
        settings(200, body)


def test_a_model_may_not_ask_for_too_much():
    with pytest.raises(JobError, match=r"is 17 \* 6; it cannot exceed 100 MB; set both in the job"):
        settings(200, b'{"MaxConcurrentTransforms": 17}')
