"""A user's program: the SageMaker SDK with its defaults and a local service; run as a process.

It prints, as its last line, how each of its parts ended.
"""

import contextlib
import io
import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import boto3
from sagemaker.core.helper.iam_role_resolver import RoleValidationError
from sagemaker.core.helper.session_helper import Session
from sagemaker.core.parameter import ContinuousParameter
from sagemaker.core.processing import FrameworkProcessor, ScriptProcessor
from sagemaker.core.training.configs import Compute, SourceCode
from sagemaker.core.workflow.pipeline_context import PipelineSession
from sagemaker.mlops.workflow.pipeline import Pipeline
from sagemaker.mlops.workflow.steps import ProcessingStep, StepTypeEnum
from sagemaker.train import ModelTrainer
from sagemaker.train.tuner import HyperparameterTuner

BUCKET = "sdk"  # without it the SDK asks the real STS for the account
TRUST = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
POLICY = "arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"
SCRIPT = "import sys\nprint('hello from', sys.argv[1:])\nprint('acc=0.5')\n"


def main(folder: Path) -> None:
    """Run each part in `folder`, with the role and the bucket that all need."""
    source = folder / "source"
    source.mkdir()
    (source / "script.py").write_text(SCRIPT)
    boto3.client("s3").create_bucket(Bucket=BUCKET)
    iam = boto3.client("iam")
    trust = json.dumps({"Version": "2012-10-17", "Statement": [TRUST]})
    role = iam.create_role(RoleName="jobs", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    iam.attach_role_policy(RoleName="jobs", PolicyArn=POLICY)
    session = Session(default_bucket=BUCKET)
    common = {"role": role, "sagemaker_session": session}
    instance = {"image_uri": "image", "instance_count": 1, "instance_type": "ml.m5.xlarge"}

    def script_processor() -> str:
        processor = ScriptProcessor(command=[sys.executable], **instance, **common)
        processor.run(code=str(source / "script.py"), arguments=["a"])
        return "run"

    def framework_processor() -> str:
        processor = FrameworkProcessor(command=[sys.executable], **instance, **common)
        processor.run(code="script.py", source_dir=str(source), arguments=["b"])
        return "run"

    def pipeline() -> str:
        deferred = PipelineSession(default_bucket=BUCKET)
        processor = ScriptProcessor(
            command=[sys.executable], role=role, sagemaker_session=deferred, **instance
        )
        arguments = processor.run(code=str(source / "script.py"))
        steps = [ProcessingStep(name="Hello", step_args=arguments)]
        made = Pipeline(name="sdk", steps=steps, sagemaker_session=deferred)
        made.upsert(role_arn=role)
        made.upsert(role_arn=role)
        execution = made.start()
        execution.wait(delay=1, max_attempts=120)
        status: str = execution.describe()["PipelineExecutionStatus"]
        return status

    def trainer() -> ModelTrainer:
        return ModelTrainer(
            training_image="image",
            source_code=SourceCode(source_dir=str(source), entry_script="script.py"),
            compute=Compute(instance_type="ml.m5.xlarge", instance_count=1),
            **common,
        )

    def model_trainer() -> str:
        trainer().train()
        return "trained"

    def tuner() -> str:
        search = HyperparameterTuner(
            model_trainer=trainer(),
            objective_metric_name="acc",
            hyperparameter_ranges={"lr": ContinuousParameter(0.1, 0.2)},
            metric_definitions=[{"Name": "acc", "Regex": "acc=([0-9.]+)"}],
            max_jobs=2,
        )
        search.tune(wait=True)
        return "tuned"

    def refused_role() -> str:
        try:
            ModelTrainer(training_image="image", role=f"{role}-missing", sagemaker_session=session).train()
        except RoleValidationError as error:
            return str(error)
        return "accepted"

    parts = (script_processor, framework_processor, pipeline, model_trainer, tuner, refused_role)
    answers = {part.__name__: outcome(part) for part in parts}
    print(json.dumps({**answers, "step_types": {"ended": sorted(kind.value for kind in StepTypeEnum)}}))


def outcome(part: Callable[[], str]) -> dict[str, str]:
    """How a part ended, or its error, and what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            ended = part()
        except BaseException:  # noqa: BLE001 - it is what the test shows
            ended = traceback.format_exc()
    return {"ended": ended, "printed": printed.getvalue()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
