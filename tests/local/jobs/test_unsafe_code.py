"""Archives of code that would write outside the job's folder: no job unpacks them, and each says why."""

import io
import tarfile

import pytest

from local.jobs.forks import starter
from local.processes.container import spawn
from tests.local.job_requests import finished, processing_request, put, training_request

TOLD = "cannot be unpacked: '../../escaped.py' leads out of it; pack it again"


@pytest.fixture
def hostile(home):
    """The URI of a .tar.gz archive with a member outside the job's folder."""
    put(home, "s3://b/in/sourcedir.tar.gz", "")
    with tarfile.open(home.object_path("s3://b/in/sourcedir.tar.gz"), "w:gz") as tar:
        member = tarfile.TarInfo("../../escaped.py")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    return "s3://b/in/sourcedir.tar.gz"


def script(uri):
    request = training_request(
        "", HyperParameters={"sagemaker_program": "train.py", "sagemaker_submit_directory": uri}
    )
    del request["AlgorithmSpecification"]["ContainerEntrypoint"]
    del request["AlgorithmSpecification"]["ContainerArguments"]
    return request


def test_a_training_job_hands_no_such_code_over(control, home, hostile):
    for name, uri in (("t", hostile), ("u", f'"{hostile}"')):  # the SDK writes hyperparameters as JSON
        control.call("CreateTrainingJob", script(uri) | {"TrainingJobName": name})
        record = finished(control, "TrainingJob", name)
        assert record["FailureReason"] == f"ClientError: the code {hostile} {TOLD}"
    assert not list(home.root.rglob("escaped*"))


def test_trials_are_not_forked_from_it(home, hostile, tmp_path):
    request = script(hostile) | {"TrainingJobArn": "arn"}
    with starter(home, tmp_path / "ml", request, {}, lambda: True) as start:
        assert start is spawn
    assert not list(tmp_path.rglob("escaped*"))


def test_a_processing_job_hands_no_such_code_over(control, hostile):
    control.call("CreateProcessingJob", processing_request("raise SystemExit(1)"))
    record = finished(control, "ProcessingJob", "p")
    assert hostile.startswith("s3://b/in/")
    assert record["FailureReason"] == f"ClientError: sourcedir.tar.gz of s3://b/in {TOLD}"


def test_a_processing_job_looks_for_it_wherever_an_input_puts_it(control, home, hostile):
    """At /opt/ml/processing/input/code, where the SDK's runproc.sh unpacks it, by an input above that."""
    deeper = home.object_path("s3://b/above/code/sourcedir.tar.gz")
    deeper.parent.mkdir(parents=True)
    home.object_path(hostile).rename(deeper)
    request = processing_request("raise SystemExit(1)")
    request["ProcessingInputs"][0]["S3Input"] |= {
        "S3Uri": "s3://b/above",
        "LocalPath": "/opt/ml/processing/input",
    }
    control.call("CreateProcessingJob", request)
    record = finished(control, "ProcessingJob", "p")
    assert record["FailureReason"] == f"ClientError: code/sourcedir.tar.gz of s3://b/above {TOLD}"
