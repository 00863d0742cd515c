"""The SageMaker SDK as users use it, with its defaults and its checks of the role."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.definition.step_types import AWS_STEP_TYPES
from local.processes import opt_ml
from local.service import LocalService

ROOT = Path(__file__).parents[2]
# AWS's own drivers name /opt/ml.
needs_opt_ml = pytest.mark.skipif(
    bool(opt_ml._obstacle("own")), reason=f"jobs have no /opt/ml of their own: {opt_ml._obstacle('own')}"
)


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """How each part of the program ended, and what it printed."""
    folder = tmp_path_factory.mktemp("sdk")
    with LocalService(folder / "home") as service:
        environment = {**os.environ, **service.environment(), "HOME": str(folder), "COLUMNS": "500"}
        environment.pop("SAGEMAKER_VALIDATE_ROLE", None)
        program = [sys.executable, str(ROOT / "tests" / "local" / "sdk_client.py"), str(folder)]
        run = subprocess.run(
            program, env=environment, cwd=folder, capture_output=True, text=True, timeout=300, check=False
        )
    assert run.returncode == 0, run.stderr[-5000:]
    answers = json.loads(run.stdout.splitlines()[-1])
    return {**answers, "log": run.stderr}


def test_a_script_processor_runs_and_shows_its_log(answers):
    answer = answers["script_processor"]
    assert answer["ended"] == "run"
    assert "hello from ['a']" in answer["printed"] + answers["log"]


@needs_opt_ml
def test_a_framework_processor_runs_and_shows_its_log(answers):
    answer = answers["framework_processor"]
    assert answer["ended"] == "run"
    assert "hello from ['b']" in answer["printed"] + answers["log"]


def test_a_pipeline_is_put_twice_and_runs(answers):
    assert answers["pipeline"]["ended"] == "Succeeded"


@needs_opt_ml
def test_a_model_trainer_trains(answers):
    assert answers["model_trainer"]["ended"] == "trained"


def test_a_tuner_tunes(answers):
    assert answers["tuner"]["ended"] == "tuned"


def test_a_role_that_there_is_not_is_refused_by_the_sdk(answers):
    assert "jobs-missing' cannot be used for 'training' workloads" in answers["refused_role"]["ended"]


def test_the_sdks_step_types_are_known(answers):
    assert set(answers["step_types"]["ended"]) == AWS_STEP_TYPES
