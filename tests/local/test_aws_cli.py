"""The AWS CLI with the local service, as users type it. `make aws-cli` makes its environment."""

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from local.service import LocalService
from tests.local.definitions import ROLE, document, processing

AWS = Path(__file__).parents[2] / ".venv-aws-cli" / "bin" / "aws"
pytestmark = pytest.mark.skipif(not AWS.exists(), reason="no AWS CLI; `make aws-cli` installs it")


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with LocalService(tmp_path_factory.mktemp("cli") / "home") as service:
        yield service


@pytest.fixture
def aws(service, tmp_path):
    """aws("s3 ls") returns the command's output, aws("...", fails=True) its error message."""

    def run(*words: str, fails: bool = False) -> str:
        command = [AWS, *words[0].split(), *words[1:]]
        own = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "AWS_EC2_METADATA_DISABLED": "true"}
        found = subprocess.run(
            command, env=service.environment() | own, capture_output=True, text=True, timeout=120, check=False
        )
        assert found.returncode in ((254, 255) if fails else (0,)), found.stderr
        return found.stderr if fails else found.stdout

    return run


def test_s3(aws, tmp_path):
    pictures = tmp_path / "pictures"
    for name, content in {"cats/1.txt": b"one", "cats/2.txt": b"two", "big.bin": bytes(9 << 20)}.items():
        (pictures / name).parent.mkdir(parents=True, exist_ok=True)
        (pictures / name).write_bytes(content)
    aws("s3 mb s3://pictures")
    assert aws("s3 sync", str(pictures), "s3://pictures/in").count("upload:") == 3
    assert aws("s3 sync", str(pictures), "s3://pictures/in") == ""  # nothing has changed
    listed = aws("s3 ls --recursive s3://pictures/in").split()[3::4]
    assert listed == ["in/big.bin", "in/cats/1.txt", "in/cats/2.txt"]
    assert aws("s3 ls s3://pictures/in/").split()[:2] == ["PRE", "cats/"]
    aws("s3 cp s3://pictures/in/cats/1.txt", str(tmp_path / "back.txt"))
    assert (tmp_path / "back.txt").read_bytes() == b"one"
    aws("s3 cp --recursive s3://pictures/in s3://pictures/copy")
    head = json.loads(aws("s3api head-object --bucket pictures --key copy/big.bin"))
    assert head["ContentLength"] == 9 << 20
    url = aws("s3 presign s3://pictures/in/cats/2.txt --expires-in 60").strip()
    with urlopen(url, timeout=20) as answer:
        assert answer.read() == b"two"
    with pytest.raises(HTTPError, match="403"):
        urlopen(url.replace("2.txt", "1.txt"), timeout=20)
    assert "NoSuchTagSet" in aws("s3api get-bucket-tagging --bucket pictures", fails=True)
    aws("s3 rm s3://pictures/copy/cats/1.txt")
    aws("s3 rb --force s3://pictures")
    assert "pictures" not in aws("s3 ls")


@pytest.fixture(scope="module")
def job(service):
    """The name of a processing job that has printed two lines."""
    program = "print('first line', flush=True); print('second line', flush=True)"
    step = processing("Says")["Arguments"]
    step["AppSpecification"]["ContainerEntrypoint"] = [sys.executable, "-c", program]
    sagemaker = service.client("sagemaker")
    service.client("s3").create_bucket(Bucket="bucket")
    sagemaker.create_processing_job(ProcessingJobName="says", **step)
    waiter = sagemaker.get_waiter("processing_job_completed_or_stopped")
    waiter.wait(ProcessingJobName="says", WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    return "says"


def test_sagemaker(aws, job):
    listed = json.loads(aws("sagemaker list-processing-jobs"))["ProcessingJobSummaries"]
    assert [found["ProcessingJobName"] for found in listed] == [job]
    described = json.loads(aws("sagemaker describe-processing-job --processing-job-name", job))
    assert described["ProcessingJobStatus"] == "Completed"
    created = [
        "--pipeline-name",
        "typed",
        "--role-arn",
        ROLE,
        "--pipeline-definition",
        document(processing("A")),
    ]
    arn = json.loads(aws("sagemaker create-pipeline", *created))["PipelineArn"]
    assert json.loads(aws("sagemaker list-pipelines"))["PipelineSummaries"][0]["PipelineArn"] == arn
    refused = aws("sagemaker create-pipeline", *created, fails=True)
    assert "ValidationException" in refused
    assert "already exists" in refused
    unknown = aws("sagemaker describe-pipeline --pipeline-name other", fails=True)
    assert "ResourceNotFound" in unknown


def test_logs(aws, job):
    """The requests of `aws logs tail`, which version 1 of the CLI (the one on the package index) lacks."""
    group = "/aws/sagemaker/ProcessingJobs"
    asked = ["--log-group-name", group, "--log-stream-name-prefix", job]
    (stream,) = json.loads(aws("logs describe-log-streams", *asked))["logStreams"]
    name = stream["logStreamName"]
    assert name.startswith(f"{job}/")
    events = json.loads(aws("logs filter-log-events --interleaved", *asked))["events"]
    assert [event["message"] for event in events] == ["first line", "second line"]
    read = json.loads(aws("logs get-log-events --log-group-name", group, "--log-stream-name", name))
    assert [event["message"] for event in read["events"]] == ["first line", "second line"]
