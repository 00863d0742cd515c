"""The metrics of running training jobs, as CloudWatch answers."""

from __future__ import annotations

from datetime import UTC, datetime

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import ANY, Stubber

from scripts.live import LiveMetrics


class Session:
    def __init__(self):
        self.cloudwatch = boto3.client(
            "cloudwatch", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
        )
        self.stub = Stubber(self.cloudwatch)
        self.stub.activate()

    def client(self, service):
        assert service == "cloudwatch"
        return self.cloudwatch

    def answer(self, **values):
        now = datetime.now(UTC)
        results = [
            {"Id": name, "Values": found, "Timestamps": [now] * len(found)} for name, found in values.items()
        ]
        self.stub.add_response("get_metric_data", {"MetricDataResults": results})


@pytest.fixture
def session():
    session = Session()
    yield session
    session.stub.assert_no_pending_responses()


def test_the_latest_minute_of_each_job(session):
    session.answer(m0=[0.25, 0.5], m1=[0.9375, 0.5], m2=[], m3=[])
    assert LiveMetrics(session, 60).of(["one", "two"]) == {
        "one": "train:loss 0.2500, validation:accuracy 0.9375"
    }


def test_the_best_of_a_minute_is_asked_for(session):
    def query(name, metric, stat):
        found = {
            "Namespace": "/aws/sagemaker/TrainingJobs",
            "MetricName": metric,
            "Dimensions": [{"Name": "TrainingJobName", "Value": "one"}],
        }
        return {"Id": name, "MetricStat": {"Metric": found, "Period": 60, "Stat": stat}}

    session.stub.add_response(
        "get_metric_data",
        {"MetricDataResults": []},
        {
            "MetricDataQueries": [
                query("m0", "train:loss", "Minimum"),
                query("m1", "validation:accuracy", "Maximum"),
            ],
            "StartTime": ANY,
            "EndTime": ANY,
            "ScanBy": "TimestampDescending",
        },
    )
    assert LiveMetrics(session, 60).of(["one"]) == {}


def test_it_asks_again_for_a_new_job_and_when_it_is_time_only(session):
    live = LiveMetrics(session, 60)
    assert live.of([]) == {}
    session.answer(m0=[1.0])
    for _ in range(3):
        assert live.of(["one"]) == {"one": "train:loss 1.0000"}
    session.answer(m0=[0.5], m2=[2.0])
    assert live.of(["one", "two"]) == {"one": "train:loss 0.5000", "two": "train:loss 2.0000"}
    at_once = LiveMetrics(session, 0)
    for value in (3.0, 2.0):
        session.answer(m0=[value])
        assert at_once.of(["one"]) == {"one": f"train:loss {value:.4f}"}


def test_without_the_permission_there_are_none_and_it_says_so_once(session, capsys):
    live = LiveMetrics(session, 0)
    session.stub.add_client_error("get_metric_data", "AccessDenied", "not authorized", 403)
    assert live.of(["one"]) == {} == live.of(["one"])
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("no live metrics: ")
    assert "not authorized" in line


def test_any_other_error_is_one(session):
    session.stub.add_client_error("get_metric_data", "InternalServiceFault", "broken", 500)
    with pytest.raises(ClientError, match="broken"):
        LiveMetrics(session, 0).of(["one"])
