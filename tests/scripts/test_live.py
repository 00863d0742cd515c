"""The progress of running training jobs, from their logs in CloudWatch."""

from __future__ import annotations

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from entrypoints.contract import metric_line
from scripts.live import GROUP, LiveProgress, Progress, about

TRAINING = {
    "TrainingJobName": "one",
    "TrainingJobArn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/one",
    "ModelArtifacts": {"S3ModelArtifacts": "s3://bucket/model"},
    "TrainingJobStatus": "InProgress",
    "SecondaryStatus": "Training",
    "AlgorithmSpecification": {"TrainingInputMode": "File"},
    "ResourceConfig": {"VolumeSizeInGB": 30},
    "StoppingCondition": {},
    "CreationTime": 0,
}


class Session:
    def __init__(self):
        made = {"region_name": "us-east-1", "aws_access_key_id": "x", "aws_secret_access_key": "x"}
        self.clients = {name: boto3.client(name, **made) for name in ("logs", "sagemaker")}
        self.stubs = {name: Stubber(client) for name, client in self.clients.items()}
        for stub in self.stubs.values():
            stub.activate()

    def client(self, service):
        return self.clients[service]

    def stream(self, job, *names, epochs="4"):
        self.described(job, epochs)
        self.stubs["logs"].add_response(
            "describe_log_streams",
            {"logStreams": [{"logStreamName": f"{job}/{name}"} for name in names]},
            {"logGroupName": GROUP, "logStreamNamePrefix": f"{job}/algo-1-"},
        )

    def described(self, job, epochs="4", known_as=None):
        """A training job's record, asked for by the name `known_as`."""
        answer = TRAINING | {"TrainingJobName": job}
        if epochs:
            answer["HyperParameters"] = {"epochs": epochs}
        self.stubs["sagemaker"].add_response(
            "describe_training_job", answer, {"TrainingJobName": known_as or job}
        )

    def events(self, stream, *lines, token=None, then="f/1"):
        """Lines of a log, each with the second in which it was written."""
        self.stubs["logs"].add_response(
            "get_log_events",
            {
                "events": [{"timestamp": 1000 * second, "message": line} for second, line in lines],
                "nextForwardToken": then,
            },
            {"logGroupName": GROUP, "logStreamName": stream, "startFromHead": True}
            | ({"nextToken": token} if token else {}),
        )


@pytest.fixture
def session():
    session = Session()
    yield session
    for stub in session.stubs.values():
        stub.assert_no_pending_responses()


def test_the_numbers_of_one_epoch_stand_together_and_the_time_left_is_estimated(session):
    live = LiveProgress(session, 0)
    session.stream("one", "algo-1-7", "algo-1-9", epochs='"4"')  # the second attempt
    session.events("one/algo-1-9", (0, "read in 2.0 s"), (10, metric_line(1, 0.25, 1, 0.99258)))
    assert live.of(["one"]) == {"one": Progress(1, 4, 0.25, 0.99258, None)}
    # A worse loss and a worse accuracy: of one minute, and neither mixed with those of the epoch before.
    session.events("one/algo-1-9", (30, metric_line(2, 0.5, 1, 0.9)), token="f/1", then="f/2")
    assert live.of(["one"]) == {"one": Progress(2, 4, 0.5, 0.9, 40.0)}
    assert str(live.of([])) == "{}"
    lines = [(50, metric_line(3, 0.4, 1, 0.5)), (70, metric_line(4, 0.3, 1, 0.5))]
    session.events("one/algo-1-9", *lines, (71, metric_line(1, 0.25, 1, 0.99)), token="f/2", then="f/3")
    (progress,) = live.of(["one"]).values()
    assert str(progress) == "epoch 4 of 4: loss 0.3000, validation accuracy 50 %"
    assert progress.share == 1


def test_a_number_of_epochs_that_nobody_knows(session):
    session.stream("one", "algo-1-7", epochs="")
    session.events(
        "one/algo-1-7", (1, metric_line(1, 0.25, 1, 0.99258)), (2, metric_line(2, 0.25, 1, 0.99258))
    )
    (progress,) = LiveProgress(session, 0).of(["one"]).values()
    assert str(progress) == "epoch 2: loss 0.2500, validation accuracy 99.25 %"
    assert progress.share == 0


def test_a_job_without_a_log_is_asked_about_when_it_is_time_only(session):
    live = LiveProgress(session, 60)
    session.described("one")
    session.stubs["logs"].add_client_error("describe_log_streams", "ResourceNotFoundException", "none", 400)
    assert live.of(["one"]) == {} == live.of(["one"])
    session.stream("one")  # read again with a new one
    session.stream("two", "algo-1-7")
    session.events("two/algo-1-7", (1, metric_line(1, 2, 1, 0)))
    assert live.of(["one", "two"]) == {"two": Progress(1, 4, 2, 0, None)}
    assert live.of(["two"]) == {"two": Progress(1, 4, 2, 0, None)}


def test_without_the_permission_there_are_none_and_it_says_so_once(session, capsys):
    live = LiveProgress(session, 0)
    session.described("one")
    session.stubs["logs"].add_client_error(
        "describe_log_streams", "AccessDeniedException", "not authorized", 400
    )
    assert live.of(["one"]) == {} == live.of(["one"])
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("no live metrics: ")
    assert "not authorized" in line


def test_a_job_known_in_lower_case_has_its_log_under_its_own_name(session):
    """A step names its job by an ARN, which is in lower case on AWS."""
    session.described("pipelines-x-Train-1", known_as="pipelines-x-train-1")
    stream = "pipelines-x-Train-1/algo-1-7"
    session.stubs["logs"].add_response(
        "describe_log_streams",
        {"logStreams": [{"logStreamName": stream}]},
        {"logGroupName": GROUP, "logStreamNamePrefix": "pipelines-x-Train-1/algo-1-"},
    )
    session.events(stream, (1, metric_line(1, 2, 1, 0)))
    assert LiveProgress(session, 0).of(["pipelines-x-train-1"]).keys() == {"pipelines-x-train-1"}


def test_any_other_error_is_one(session):
    session.described("one")
    session.stubs["logs"].add_client_error("describe_log_streams", "InternalServiceFault", "broken", 500)
    with pytest.raises(ClientError, match="broken"):
        LiveProgress(session, 0).of(["one"])


def test_durations_that_nobody_knows_exactly():
    assert [about(seconds) for seconds in (0.2, 21, 59, 150, 4200)] == [
        "about 10 s",
        "about 30 s",
        "about 1 min",
        "about 2 min",
        "about 1 h 10 min",
    ]
