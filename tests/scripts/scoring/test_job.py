"""A transform job's request within SageMaker's limits, and what its log says of pictures."""

import botocore.session
import pytest
from botocore.validate import ParamValidator

from scripts.scoring import job
from scripts.scoring.job import Place, Resources
from scripts.scoring.ledger import Ledger

PLACE = Place("bucket", "flowers/pictures/", "bucket", "flowers/results/")


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path) as ledger:
        yield ledger


@pytest.mark.parametrize(
    ("largest_bytes", "payload_mb", "at_once"),
    [(1, 6, 16), (6_000_000, 6, 16), (6_000_001, 7, 14), (25_000_000, 25, 4)],
)
def test_as_many_at_once_as_sagemaker_allows(largest_bytes, payload_mb, at_once):
    resources = Resources("ml.m5.2xlarge", 2, 64)
    request = job.request("j", "m", "s3://bucket/m.json", PLACE, resources, largest_bytes)
    assert (request["MaxPayloadInMB"], request["MaxConcurrentTransforms"]) == (payload_mb, at_once)
    assert payload_mb * at_once <= 100
    shape = (
        botocore.session.get_session().get_service_model("sagemaker").shape_for("CreateTransformJobRequest")
    )
    assert not ParamValidator().validate(request, shape).has_errors()


def test_results_are_found_wherever_the_manifest_puts_them(ledger):
    for name in ("a.png", "b/a.png"):
        ledger.add(name, name, 1, 0, 1, None)
    assert job._picture("a.png", ledger) == "a.png"
    assert job._picture("b/a.png", ledger) == "b/a.png"
    assert job._picture("flowers/pictures/b/a.png", ledger) == "b/a.png"
    assert job._picture("c.png", ledger) is None


def test_a_line_of_the_log_names_its_object(ledger):
    ledger.add("a: b.png", "a: b.png", 1, 0, 1, None)
    line = "2026-11-30T10:00:00.000:[sagemaker logs]: bucket/flowers/pictures/a: b.png: ClientError: 400"
    assert job._of_object(line, PLACE, ledger) == ("a: b.png", "ClientError: 400")
    assert job._of_object(line.replace("a: b", "c"), PLACE, ledger) is None
    assert job._of_object("2026-11-30 10:00:00 GET /ping", PLACE, ledger) is None
    settings = "2026-11-30T10:00:00.000:[sagemaker logs]: MaxConcurrentTransforms=16, MaxPayloadInMB=6"
    assert job._of_object(settings, PLACE, ledger) is None


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["ClientError: 400", "Message:", '{"code": "invalid",', '"message": "Too green."}'], "Too green."),
        (["ClientError: 413", "Message:", "<html>", "too large"], "ClientError: 413 <html> too large"),
        (["Unable to get response from algorithm"], "Unable to get response from algorithm"),
    ],
)
def test_the_models_own_words_come_first(lines, reason):
    assert job.reason(lines) == reason
