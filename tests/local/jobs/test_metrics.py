"""A training job's metrics reach CloudWatch while it runs."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import EndpointConnectionError

from local.jobs.metrics import DIMENSION, NAMESPACE, emitted, found, logged

DEFINITIONS = [{"Name": "loss", "Regex": r"loss=(\S+)"}, {"Name": "accuracy", "Regex": r"accuracy=(\S+)"}]
RECORD = {"TrainingJobName": "t", "AlgorithmSpecification": {"MetricDefinitions": DEFINITIONS}}


@pytest.fixture
def service(server):
    return {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "local",
        "AWS_SECRET_ACCESS_KEY": "local",
    }


def values(client, metric):
    """The lowest, the highest and the number of the values of a metric of the job t."""
    now = datetime.now(UTC)
    answer = client("cloudwatch").get_metric_statistics(
        Namespace=NAMESPACE,
        MetricName=metric,
        Dimensions=[{"Name": DIMENSION, "Value": "t"}],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(seconds=2),
        Period=7200,
        Statistics=["Minimum", "Maximum", "SampleCount"],
    )["Datapoints"]
    return [(point["Minimum"], point["Maximum"], point["SampleCount"]) for point in answer]


def test_metrics_are_sent_while_the_job_runs(client, service, tmp_path):
    log = tmp_path / "log.txt"
    with emitted(log, RECORD, service):
        log.write_text("epoch=1 loss=0.5 accuracy=0.25\nepoch=2 loss=0.")  # the last line is being written
        deadline = time.monotonic() + 30
        while values(client, "accuracy") != [(0.25, 0.25, 1.0)]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert values(client, "loss") == [(0.5, 0.5, 1.0)]
        with log.open("a") as file:
            file.write("25 accuracy=nan\n")
    assert values(client, "loss") == [(0.25, 0.5, 2.0)]
    assert values(client, "accuracy") == [(0.25, 0.25, 1.0)]


def test_a_job_without_metrics_sends_none(tmp_path):
    with emitted(tmp_path / "log.txt", {"TrainingJobName": "t"}, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}):
        pass


def test_no_job_fails_for_a_cloudwatch_that_cannot_be_reached(tmp_path, service, monkeypatch, caplog):
    def refuse(_name, _service):
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:9")

    monkeypatch.setattr("local.wire.clients.client", refuse)
    log = tmp_path / "log.txt"
    log.write_text("loss=0.5\n")
    with emitted(log, RECORD, service):
        pass
    assert "some metrics of t are missing in CloudWatch: Could not connect" in caplog.text


def test_every_metric_of_a_line_is_found(tmp_path):
    lines = ["loss=1 accuracy=0.5", "loss=inf", "nothing", "accuracy=0.75"]
    assert list(found(lines, DEFINITIONS)) == [("loss", 1.0), ("accuracy", 0.5), ("accuracy", 0.75)]
    (tmp_path / "log.txt").write_text("\n".join(lines))
    assert logged(tmp_path / "log.txt", DEFINITIONS) == {"loss": [1.0], "accuracy": [0.5, 0.75]}
    assert logged(tmp_path / "none.txt", DEFINITIONS) == {"loss": [], "accuracy": []}
