"""The SageMaker SDK's own drivers, which name /opt/ml themselves, run in its jobs unchanged."""

import tarfile

import boto3
import pytest

from local.jobs import opt_ml
from local.service import LocalService

ROLE = "arn:aws:iam::123456789012:role/execution"
pytestmark = [
    pytest.mark.skipif(bool(opt_ml._obstacle("own")), reason=f"no mounts: {opt_ml._obstacle('own')}"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture
def service(tmp_path, monkeypatch):
    with LocalService(tmp_path / "home") as service:
        for name, value in service.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("SAGEMAKER_VALIDATE_ROLE", "false")
        service.client("s3").create_bucket(Bucket="pictures")
        yield service


def test_model_trainer_script_processor_and_framework_processor(service, tmp_path):
    from sagemaker.core.helper.session_helper import Session
    from sagemaker.core.processing import FrameworkProcessor, ScriptProcessor
    from sagemaker.core.shapes import (
        ProcessingOutput,
        ProcessingS3Output,
    )
    from sagemaker.core.training.configs import Compute, OutputDataConfig, SourceCode
    from sagemaker.train import ModelTrainer

    session = Session(boto3.Session(region_name="us-east-1"), default_bucket="pictures")
    code = tmp_path / "code"
    code.mkdir()
    (code / "helper.py").write_text("WORD = 'helped'\n")
    (code / "train.py").write_text(
        "import os, helper\nopen(os.path.join(os.environ['SM_MODEL_DIR'], helper.WORD), 'w')\n"
    )
    (code / "process.py").write_text(
        "import os, pathlib, sys\n"
        "pathlib.Path('/opt/ml/processing/output', sys.argv[1]).write_text(os.getcwd())\n"
    )
    trainer = ModelTrainer(
        training_image="pytorch",
        source_code=SourceCode(source_dir=str(code), entry_script="train.py"),
        compute=Compute(instance_type="ml.m5.xlarge", instance_count=1),
        output_data_config=OutputDataConfig(s3_output_path="s3://pictures/jobs"),
        base_job_name="train",
        role=ROLE,
        sagemaker_session=session,
    )
    trainer.train(wait=False)
    outputs = [
        ProcessingOutput(
            output_name="out",
            s3_output=ProcessingS3Output(
                s3_uri="s3://pictures/out", local_path="/opt/ml/processing/output", s3_upload_mode="EndOfJob"
            ),
        )
    ]
    common = {
        "image_uri": "image", "role": ROLE, "instance_count": 1, "instance_type": "ml.m5.xlarge",
        "sagemaker_session": session,
    }  # fmt: skip
    ScriptProcessor(**common, command=["python3"], base_job_name="script").run(
        code=str(code / "process.py"), arguments=["script"], outputs=outputs, wait=False, logs=False
    )
    FrameworkProcessor(**common, command=["python3"], base_job_name="framework").run(
        code="process.py",
        source_dir=str(code),
        arguments=["framework"],
        outputs=outputs,
        wait=False,
        logs=False,
    )
    sagemaker = service.client("sagemaker")
    jobs = [job["ProcessingJobName"] for job in sagemaker.list_processing_jobs()["ProcessingJobSummaries"]]
    for job in jobs:
        sagemaker.get_waiter("processing_job_completed_or_stopped").wait(
            ProcessingJobName=job, WaiterConfig={"Delay": 1}
        )
        record = sagemaker.describe_processing_job(ProcessingJobName=job)
        log = (service.home.folder("processing-jobs", job) / "log.txt").read_text()
        assert record["ProcessingJobStatus"] == "Completed", log
    assert len(jobs) == 2
    said = {path.name for path in service.home.object_path("s3://pictures/out").iterdir()}
    assert said == {"script", "framework"}
    [job] = [job["TrainingJobName"] for job in sagemaker.list_training_jobs()["TrainingJobSummaries"]]
    sagemaker.get_waiter("training_job_completed_or_stopped").wait(
        TrainingJobName=job, WaiterConfig={"Delay": 1}
    )
    record = sagemaker.describe_training_job(TrainingJobName=job)
    log = (service.home.folder("training-jobs", job) / "log.txt").read_text()
    assert record["TrainingJobStatus"] == "Completed", log
    with tarfile.open(service.home.object_path(record["ModelArtifacts"]["S3ModelArtifacts"])) as model:
        assert model.getnames() == ["helped"]
