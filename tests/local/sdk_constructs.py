"""A user's program: the SageMaker SDK v3's requests for its own steps; run as a process.

It prints, as its last line, the definition of a pipeline that has them.
"""

import sys
from pathlib import Path

import boto3
from sagemaker.core.processing import FrameworkProcessor
from sagemaker.core.shapes import ProcessingOutput, ProcessingS3Output
from sagemaker.core.training.configs import Compute, SourceCode
from sagemaker.core.workflow.pipeline_context import PipelineSession
from sagemaker.mlops.workflow.model_step import ModelStep
from sagemaker.mlops.workflow.notebook_job_step import NotebookJobStep
from sagemaker.mlops.workflow.pipeline import Pipeline
from sagemaker.mlops.workflow.steps import ProcessingStep, TrainingStep
from sagemaker.serve.model_builder import ModelBuilder
from sagemaker.train import ModelTrainer

BUCKET = "sdk"  # without it the SDK asks the real STS for the account
ROLE = "arn:aws:iam::123456789012:role/jobs"
FILES = {
    "process.py": "import sys\nopen('/opt/ml/processing/result/out.txt', 'w').write(sys.argv[1])\n",
    "train.py": "open('/opt/ml/model/weights', 'w').write('w')\n",
    "inference.py": "print('serves')\n",
    "notebook.ipynb": '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
}


def main(folder: Path) -> None:
    for name, text in FILES.items():
        (folder / name).write_text(text)
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    session = PipelineSession(default_bucket=BUCKET)
    common = {"role": ROLE, "sagemaker_session": session}
    processor = FrameworkProcessor(
        command=["python3"], image_uri="image", instance_count=1, instance_type="ml.m5.xlarge", **common
    )
    target = ProcessingS3Output(
        s3_uri="s3://bucket/Framework", local_path="/opt/ml/processing/result", s3_upload_mode="EndOfJob"
    )
    processing = processor.run(
        code="process.py",
        source_dir=str(folder),
        arguments=["framework"],
        outputs=[ProcessingOutput(output_name="result", s3_output=target)],
    )
    trainer = ModelTrainer(
        training_image="image",
        source_code=SourceCode(source_dir=str(folder), entry_script="train.py"),
        compute=Compute(instance_type="ml.m5.xlarge", instance_count=1),
        **common,
    )
    train = TrainingStep(name="Train", step_args=trainer.train())
    builder = ModelBuilder(
        s3_model_data_url=train.properties.ModelArtifacts.S3ModelArtifacts,
        image_uri="123456789012.dkr.ecr.us-east-1.amazonaws.com/serve:1",
        source_code=SourceCode(source_dir=str(folder), entry_script="inference.py"),
        role_arn=ROLE,
        sagemaker_session=session,
    )
    registered = builder.register(
        model_package_group_name="repacked",
        content_types=["text/csv"],
        response_types=["text/csv"],
        inference_instances=["ml.m5.large"],
        transform_instances=["ml.m5.large"],
    )
    notebook = NotebookJobStep(
        name="Notebook",
        input_notebook=str(folder / "notebook.ipynb"),
        image_uri="885854791233.dkr.ecr.us-east-1.amazonaws.com/sagemaker-distribution-prod:3-cpu",
        kernel_name="python3",
        role=ROLE,
        s3_root_uri=f"s3://{BUCKET}",
    )
    steps = [
        ProcessingStep(name="Framework", step_args=processing),
        train,
        ModelStep(name="Register", step_args=registered),
        notebook,
    ]
    print(Pipeline(name="sdk", steps=steps, sagemaker_session=session).definition())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
