"""A job's status transitions in DescribeTrainingJob, and its tags."""

import itertools

import pytest

from local.home import tags
from local.wire.operations import ControlPlane
from tests.local.job_requests import (
    finished,
    job_services,
    processing_request,
    put,
    training_request,
)

TAGS = [{"Key": "team", "Value": "a"}]


@pytest.fixture
def control(home, store):
    put(home, "s3://b/in/a.txt", "x")
    with job_services(home, store) as services:
        operations = services[0].operations() | services[1].operations() | tags.operations(store)
        yield ControlPlane(operations)


def statuses(record):
    """The secondary statuses, after checking that each began when the previous one ended."""
    transitions = record["SecondaryStatusTransitions"]
    for before, after in itertools.pairwise(transitions):
        assert before["StartTime"] <= before["EndTime"] == after["StartTime"]
    return [transition["Status"] for transition in transitions]


def test_a_job_passes_through_its_secondary_statuses(control):
    control.call("CreateTrainingJob", training_request("pass"))
    record = finished(control, "TrainingJob", "t")
    assert statuses(record) == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    starting, downloading, *_, completed = record["SecondaryStatusTransitions"]
    assert starting["StartTime"] == record["CreationTime"]
    assert downloading["StartTime"] == record["TrainingStartTime"]
    assert completed["StartTime"] == completed["EndTime"] == record["TrainingEndTime"]
    assert completed["StatusMessage"] == "Training job completed"
    assert record["SecondaryStatus"] == "Completed"
    took = record["TrainingEndTime"] - record["TrainingStartTime"]
    assert took <= record["TrainingTimeInSeconds"] == record["BillableTimeInSeconds"] < took + 1


@pytest.mark.parametrize(
    ("program", "limit", "expected"),
    [
        ("raise SystemExit(1)", 60, ["Training", "Failed"]),
        ("import time; time.sleep(60)", 1, ["Training", "Uploading", "MaxRuntimeExceeded"]),
        ("stop", 60, ["Training", "Stopping", "Uploading", "Stopped"]),
        ("no data", 60, ["Failed"]),
    ],
)
def test_a_job_that_ends_otherwise_says_how(control, program, limit, expected):
    request = training_request(program, StoppingCondition={"MaxRuntimeInSeconds": limit})
    if program == "no data":
        request["InputDataConfig"][0]["DataSource"]["S3DataSource"]["S3Uri"] = "s3://b/missing"
    if program == "stop":
        request["AlgorithmSpecification"]["ContainerEntrypoint"] = ["sleep", "60"]
        request["AlgorithmSpecification"]["ContainerArguments"] = ["60"]
    control.call("CreateTrainingJob", request)
    while program == "stop":
        if control.call("DescribeTrainingJob", {"TrainingJobName": "t"})["SecondaryStatus"] == "Training":
            control.call("StopTrainingJob", {"TrainingJobName": "t"})
            break
    record = finished(control, "TrainingJob", "t")
    assert statuses(record) == ["Starting", "Downloading", *expected]
    assert record["SecondaryStatus"] == expected[-1]


def test_what_a_program_writes_into_the_failure_file_is_the_reason(control, home):
    program = (
        "import pathlib, sys\n"
        "pathlib.Path(sys.argv[1], 'output', 'failure').write_text('no labels:\\n' + 2000 * 'x')\n"
        "sys.exit('the log says something else')\n"
    )
    control.call("CreateTrainingJob", training_request(program))
    reason = finished(control, "TrainingJob", "t")["FailureReason"]
    log = home.folder("training-jobs", "t") / "log.txt"
    assert reason.startswith("AlgorithmError: no labels:\nxxx") and len(reason) == 1024
    assert reason.endswith(f"xxx, exit code: 1 (log: {log})")


def test_a_failure_file_of_a_job_that_ends_well_is_no_reason(control):
    program = "import pathlib, sys\npathlib.Path(sys.argv[1], 'output', 'failure').write_text('no')\n"
    control.call("CreateTrainingJob", training_request(program))
    record = finished(control, "TrainingJob", "t")
    assert record["TrainingJobStatus"] == "Completed" and "FailureReason" not in record


def test_jobs_have_the_tags_that_they_were_created_with(control):
    for kind, request in (
        ("TrainingJob", training_request("pass")),
        ("ProcessingJob", processing_request("pass")),
    ):
        arn = control.call(f"Create{kind}", {**request, "Tags": TAGS})[f"{kind}Arn"]
        assert control.call("ListTags", {"ResourceArn": arn}) == {"Tags": TAGS}
        finished(control, kind, request[f"{kind}Name"])
