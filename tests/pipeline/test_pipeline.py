import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from config.settings import load
from pipeline.definition import canonical
from pipeline.pipeline import build_pipeline, pipeline_session
from steps import code

ROOT = Path(__file__).resolve().parents[2]

# Any attempt to open a connection fails loudly, from before the first import.
BUILD_WITHOUT_NETWORK = """
import socket
def refuse(*arguments, **options):
    raise AssertionError(f"a connection was opened: {arguments}")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.create_connection = socket.getaddrinfo = refuse
import runpy, sys
definition = runpy.run_path("tests/golden/write.py")["definition"]()
sys.stdout.write(definition)
"""


def test_the_golden_definition(golden):
    """After an intended change: make golden, and read the difference before committing it."""
    assert golden["definition"]() == golden["FILE"].read_text(encoding="utf-8")


def test_the_steps_and_their_order(definition, steps):
    assert [step["Name"] for step in definition["Steps"]] == [
        "SplitDataset",
        "TuneHyperparameters",
        "TrainModel",
        "FindChampion",
        "EvaluateModel",
        "CheckAccuracy",
    ]
    assert {name: step["Type"] for name, step in steps.items()} == {
        "SplitDataset": "Processing",
        "TuneHyperparameters": "Tuning",
        "TrainModel": "Training",
        "FindChampion": "Lambda",
        "EvaluateModel": "Processing",
        "CheckAccuracy": "Condition",
        "CheckGuessing": "Condition",
        "CheckChampion": "Condition",
        "RegisterModel": "RegisterModel",
        "DeployEndpoint": "Lambda",
        "VerifyEndpoint": "Processing",
        "AccuracyTooLow": "Fail",
        "NoBetterThanGuessing": "Fail",
        "WorseThanChampion": "Fail",
    }
    assert all(step["DisplayName"] and step["Description"] for step in steps.values())


def test_the_definition_fits_the_service(golden, definition, steps):
    """Amazon SageMaker AI Developer Guide, "Quotas for Pipelines": steps, parameters, names, defaults.

    A definition of 100 KiB goes through S3 (Pipeline.upsert of the SDK).
    """
    assert len(golden["definition"]().encode()) < 100 * 1024
    checks = [step for step in steps.values() if step["Type"] == "Condition"]
    assert len(steps) <= 50
    assert all(len(check["Arguments"][part]) <= 20 for check in checks for part in ("IfSteps", "ElseSteps"))
    assert json.dumps(definition).count("Std:JsonGet") <= 200
    assert all(re.fullmatch(r"[A-Za-z0-9\-_]{1,64}", name) for name in steps)
    parameters = {item["Name"]: item for item in definition["Parameters"]}
    assert len(parameters) == len(definition["Parameters"]) <= 200
    assert all(re.fullmatch(r"[A-Za-z0-9\-_]{1,64}", name) for name in parameters)
    for item in parameters.values():
        choices = item.get("EnumValues", [])
        assert len(choices) <= 16
        assert all(len(str(text)) <= 2048 for text in (item.get("DefaultValue", ""), *choices))


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo"},
        {
            "PYTHONHASHSEED": "2",
            "AWS_DEFAULT_REGION": "eu-north-1",
            "AWS_REGION": "eu-north-1",
            "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
            "AWS_CONFIG_FILE": "absent",
            "SAGEMAKER_ROLE": "someone",
        },
    ],
)
def test_another_machine_gives_the_same_bytes_and_opens_no_connection(golden, tmp_path, environment):
    """No credentials, no region, another hash seed, home, zone; a defaults file of the SDK that differs."""
    config = tmp_path / ".config" / "sagemaker" / "config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(
        "SchemaVersion: '1.0'\n"
        "SageMaker:\n"
        "  ProcessingJob:\n"
        "    NetworkConfig:\n"
        "      EnableNetworkIsolation: true\n"
    )
    clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", BUILD_WITHOUT_NETWORK],
        cwd=ROOT,
        env=clean | {"XDG_CONFIG_HOME": str(config.parents[1])} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    # Standard output holds the definition and nothing else: the SDK is silent.
    assert run.stdout == golden["FILE"].read_text(encoding="utf-8")
    assert run.stderr == ""


def test_twice_in_one_process_gives_the_same_bytes(golden):
    assert golden["definition"]() == golden["definition"]()


def test_by_default_the_code_is_that_of_the_entry_points():
    settings = load(environ={})
    definition = canonical(build_pipeline(settings, pipeline_session(settings)).definition())
    for name, digest in code.digests(code.bundles()).items():
        # Lambda takes its zip directly, so the definition knows the function by its ARN only; with Debugger
        # on, TrainModel has another bundle than without.
        assert (code.url(settings, name, digest) in definition) is (name not in {"deploy", "train"})


def test_the_import_leaves_no_trace():
    probe = (
        "import logging, boto3, pipeline.pipeline;"
        "assert boto3.DEFAULT_SESSION is None;"
        "assert logging.getLogger().handlers == [];"
        "assert logging.getLogger().level == logging.WARNING"
    )
    subprocess.run([sys.executable, "-c", probe], cwd=ROOT, check=True, capture_output=True)


def test_settings_reach_the_definition(golden):
    settings = load(
        environ={}, overrides=["name=flowers", "region=eu-west-1", "bucket=petals", "debugger.enabled=false"]
    )
    definition = golden["definition"](settings)
    document = json.loads(definition)
    defaults = {item["Name"]: item["DefaultValue"] for item in document["Parameters"]}
    assert defaults["InputDataUrl"] == "s3://petals/flowers/data/default/"
    assert defaults["EndpointName"] == "flowers"
    assert "us-east-1" not in definition
    assert "Debug" not in definition
