"""CloudWatch Logs, queried like boto3 and `aws logs tail` do, for jobs that really ran."""

import os
import re
import sys
import time
from functools import partial

import pytest
from botocore.exceptions import ClientError

from local.application import answer_json, application
from local.home.home import Home
from local.home.store import Store
from local.logs.operations import control_plane
from local.processes.log_times import mark, marks
from local.s3.operations import S3
from local.server import Server
from local.wire.operations import ControlPlane
from tests.local.conftest import clients, refuse
from tests.local.job_requests import control_plane as jobs_plane
from tests.local.job_requests import finished, job_services, processing_request, put, training_request

TRAINING, PROCESSING = "/aws/sagemaker/TrainingJobs", "/aws/sagemaker/ProcessingJobs"
TRANSFORM = "/aws/sagemaker/TransformJobs"
PROGRAM = "import time\nprint('one', flush=True)\ntime.sleep(1.2)\nprint('two\\n\\nacc=3')"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return Home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def logs(home):
    """boto3's client; training jobs t and t2, processing job p, and log records without a job."""
    store = Store(home.database)
    put(home, "s3://b/in/a.txt", "x")
    with job_services(home, store) as services:
        jobs = jobs_plane(services)
        jobs.call("CreateTrainingJob", training_request(PROGRAM))
        jobs.call("CreateTrainingJob", training_request("print('else', end='')", TrainingJobName="t2"))
        jobs.call("CreateProcessingJob", processing_request("print('three')"))
        for kind, name in (("TrainingJob", "t"), ("TrainingJob", "t2"), ("ProcessingJob", "p")):
            finished(jobs, kind, name)
    variant = {"VariantName": "AllTraffic", "ModelName": "m"}
    store.create("endpoint-configs", "c", {"EndpointConfigName": "c", "ProductionVariants": [variant]})
    store.create("endpoints", "e", {"EndpointName": "e"})
    store.create("functions", "f", {"FunctionName": "f"})
    scored = {"TransformJobName": "s", "TransformJobStatus": "Completed", "TransformStartTime": 1e9}
    store.create("TransformJob", "s", scored)
    for name, text in (
        ("endpoints/e/c/server.log", "up\nhal"),
        ("functions/f/function.log", "START\n"),
        ("transform-jobs/s/log.txt", "MaxPayloadInMB=6\n"),
    ):
        (home.root / name).parent.mkdir(parents=True)
        (home.root / name).write_text(text)
    others = {"logs": partial(answer_json, control_plane(home, store))}
    server = Server(application(S3(home).handle, ControlPlane({}), refuse, refuse, refuse, others=others))
    server.start()
    yield clients(server.url)("logs")
    server.stop()
    store.close()


def messages(answer):
    return [event["message"] for event in answer["events"]]


def stream(logs, group, prefix=None):
    asked = {"logStreamNamePrefix": prefix} if prefix else {}
    (found,) = logs.describe_log_streams(logGroupName=group, **asked)["logStreams"]
    return found["logStreamName"]


def test_groups_and_streams_have_awss_names(logs):
    groups = [group["logGroupName"] for group in logs.describe_log_groups()["logGroups"]]
    assert groups == ["/aws/lambda/f", "/aws/sagemaker/Endpoints/e", PROCESSING, TRAINING, TRANSFORM]
    page = logs.describe_log_groups(limit=3)
    assert [
        g["logGroupName"] for g in logs.describe_log_groups(nextToken=page["nextToken"])["logGroups"]
    ] == [TRAINING, TRANSFORM]
    assert stream(logs, TRAINING, "t/").startswith("t/algo-1-")
    assert int(stream(logs, TRAINING, "t/").rpartition("-")[2]) == pytest.approx(time.time(), abs=120)
    assert stream(logs, PROCESSING, "p/").startswith("p/algo-1-")
    assert re.fullmatch(r"s/i-[0-9a-f]{17}-1000000000", stream(logs, TRANSFORM))
    scored = logs.get_log_events(logGroupName=TRANSFORM, logStreamName=stream(logs, TRANSFORM, "s/"))
    assert messages(scored) == ["MaxPayloadInMB=6"]
    assert stream(logs, "/aws/sagemaker/Endpoints/e").startswith("AllTraffic/i-")
    assert stream(logs, "/aws/lambda/f").startswith(time.strftime("%Y/", time.gmtime()))


def test_lines_have_the_times_at_which_they_were_written(logs):
    name = stream(logs, TRAINING, "t/")
    events = logs.get_log_events(logGroupName=TRAINING, logStreamName=name, startFromHead=True)["events"]
    assert [event["message"] for event in events] == ["one", "two", "acc=3"]
    one, two, three = (event["timestamp"] for event in events)
    assert 500 < two - one < 30_000 and two == three <= time.time() * 1000


def test_a_stream_is_read_forwards_and_backwards(logs):
    get = partial(
        logs.get_log_events, logGroupName=TRAINING, logStreamName=stream(logs, TRAINING, "t/"), limit=2
    )
    first = get(startFromHead=True)
    assert messages(first) == ["one", "two"]
    second = get(nextToken=first["nextForwardToken"])
    assert messages(second) == ["acc=3"]
    end = get(nextToken=second["nextForwardToken"])
    assert messages(end) == [] and end["nextForwardToken"] == second["nextForwardToken"]
    assert messages(get(nextToken=second["nextBackwardToken"])) == ["one", "two"]
    newest = get()
    assert messages(newest) == ["two", "acc=3"]
    oldest = get(nextToken=newest["nextBackwardToken"])
    assert messages(oldest) == ["one"]
    assert get(nextToken=oldest["nextBackwardToken"])["nextBackwardToken"] == oldest["nextBackwardToken"]


def test_an_ended_jobs_last_line_needs_no_newline_a_servers_does(logs):
    (event,) = logs.filter_log_events(logGroupName=TRAINING, logStreamNamePrefix="t2/")["events"]
    assert event["message"] == "else"
    assert messages(logs.filter_log_events(logGroupName="/aws/sagemaker/Endpoints/e")) == ["up"]


def test_streams_are_filtered_and_merged_by_time_in_pages(logs):
    ask = partial(logs.filter_log_events, logGroupName=TRAINING)
    events = ask()["events"]
    assert sorted(event["message"] for event in events) == ["acc=3", "else", "one", "two"]
    times = [event["timestamp"] for event in events]
    assert times == sorted(times) and len({event["eventId"] for event in events}) == 4
    pages = list(logs.get_paginator("filter_log_events").paginate(logGroupName=TRAINING, limit=3))
    assert [len(page["events"]) for page in pages] == [3, 1]
    assert messages(ask(filterPattern="acc")) == ["acc=3"]
    # `aws logs tail --follow` asks again from the newest time, and drops known ids.
    again = ask(startTime=times[-1])["events"]
    assert {event["eventId"] for event in again} <= {event["eventId"] for event in events}
    assert messages(ask(endTime=times[0] - 1)) == []


def test_what_there_is_not_or_is_not_read_is_refused(logs):
    for ask in (logs.describe_log_streams, logs.filter_log_events):
        with pytest.raises(logs.exceptions.ResourceNotFoundException, match="log group does not exist"):
            ask(logGroupName="/aws/sagemaker/Endpoints/other")
    with pytest.raises(logs.exceptions.ResourceNotFoundException, match="log stream does not exist"):
        logs.get_log_events(logGroupName=TRAINING, logStreamName="other")
    with pytest.raises(logs.exceptions.InvalidParameterException, match="nextToken"):
        logs.get_log_events(logGroupName=TRAINING, logStreamName=stream(logs, TRAINING, "t/"), nextToken="x")
    with pytest.raises(ClientError, match="no operation CreateLogGroup"):
        logs.create_log_group(logGroupName="mine")
    assert logs.describe_log_streams(logGroupName=TRAINING, logStreamNamePrefix="x")["logStreams"] == []


def test_a_mark_is_the_time_of_the_last_write(tmp_path):
    log = tmp_path / "log.txt"
    mark(log)
    assert marks(log) == []
    for size, seconds in ((1, 100), (2, 200), (3, 150)):  # the clock goes back once
        log.write_text("x" * size)
        os.utime(log, (seconds, seconds))
        mark(log)
        mark(log)
    assert marks(log) == [(100_000, 1), (200_000, 2), (200_000, 3)]
    assert (tmp_path / "log.times").stat().st_mode & 0o777 == 0o600 or sys.platform != "linux"
