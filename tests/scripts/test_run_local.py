"""The whole pipeline on real pictures, as users run it: real jobs, real trials, a real endpoint."""

import json
import re
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from smdebug.core.modes import ModeKeys
from smdebug.profiler.system_metrics_reader import LocalSystemMetricsReader
from smdebug.trials import create_trial

from config.sections import Debugger
from entrypoints.verdict import percent
from local.home.home import Home
from local.home.store import Store
from local.service import LocalService
from tests.scripts.runs import CLASSES, ROOT, SMALL, STREAMED, TESTED, make_pictures, start


@pytest.fixture(scope="module")
def passed(tmp_path_factory):
    """One run that passes the gate: its home, its summary, its output."""
    folder = tmp_path_factory.mktemp("run")
    pictures = make_pictures(folder / "pictures")
    process = start(
        *("--data", pictures, "--home", folder / "home", "--summary", folder / "summary.json"),
        *("--parameter", "AccuracyThreshold=0", *STREAMED, *SMALL),
        cwd=folder,
    )
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, output + errors
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return folder / "home", summary, output, errors


def test_training_from_streamed_channels(passed):
    home, _, _, _ = passed
    store = Store(Home(home).database)
    jobs = store.list("TrainingJob")
    store.close()
    assert len(jobs) == 2
    for job in jobs:
        modes = {channel["ChannelName"]: channel["InputMode"] for channel in job["InputDataConfig"]}
        assert modes == {"train": "FastFile", "validation": "FastFile", "pretrained": "File"}
        assert job["TrainingJobStatus"] == "Completed"


def test_the_trial_is_forked_and_the_training_is_started_by_the_toolkit(passed):
    home, _, _, _ = passed
    logs = {path.parent.name: path.read_text() for path in (home / "training-jobs").glob("*/log.txt")}
    by_toolkit = {"TrainModel" in name: "sagemaker-training-toolkit" in log for name, log in logs.items()}
    assert len(logs) == 2 and by_toolkit == {True: True, False: False}


def test_smdebugs_own_readers_read_what_the_training_left(passed):
    home = Home(passed[0])
    store = Store(home.database)
    [job] = [job for job in store.list("TrainingJob") if "TrainModel" in job["TrainingJobName"]]
    store.close()
    tensors, profile = (
        home.object_path(f"{job[config]['S3OutputPath']}/{job['TrainingJobName']}/{folder}")
        for config, folder in (("DebugHookConfig", "debug-output"), ("ProfilerConfig", "profiler-output"))
    )
    trial = create_trial(str(tensors))
    [loss] = trial.tensor_names(collection="losses")
    for mode in (ModeKeys.TRAIN, ModeKeys.EVAL):
        assert trial.tensor(loss).steps(mode=mode)
    assert trial.tensor_names(collection="gradients")
    events = LocalSystemMetricsReader(str(profile)).get_events(0, time.time() * 1e6)
    assert {"CPUUtilization"} <= {event.dimension for event in events}
    asked = Debugger().rules
    statuses = [*job["DebugRuleEvaluationStatuses"], *job["ProfilerRuleEvaluationStatuses"]]
    assert {status["RuleConfigurationName"] for status in statuses} == set(asked)
    assert not [status for status in statuses if status["RuleEvaluationStatus"] == "InProgress"]


def test_every_step_succeeds_and_the_summary_tells_it_all(passed):
    home, summary, _, _ = passed
    assert summary["status"] == "Succeeded"
    assert [(step["name"], step["type"], step["status"]) for step in summary["steps"]] == [
        ("SplitDataset", "Processing", "Succeeded"),
        ("TuneHyperparameters", "Tuning", "Succeeded"),
        ("TrainModel", "Training", "Succeeded"),
        ("FindChampion", "Lambda", "Succeeded"),
        ("EvaluateModel", "Processing", "Succeeded"),
        ("CheckAccuracy", "Condition", "Succeeded"),
        ("CheckChampion", "Condition", "Succeeded"),
        ("RegisterModel", "RegisterModel", "Succeeded"),
        ("DeployEndpoint", "Lambda", "Succeeded"),
        ("VerifyEndpoint", "Processing", "Succeeded"),
    ]
    assert summary["classes"] == list(CLASSES)
    assert summary["test_images"] == TESTED
    assert 0 <= summary["test_accuracy"] <= 1
    assert summary["best_hyperparameters"] == summary["trials"][0]["hyperparameters"]
    assert 1e-4 <= float(summary["best_hyperparameters"]["learning_rate"]) <= 1e-1
    assert summary["best_hyperparameters"]["batch_size"] in {"32", "64"}
    assert summary["model_package_arn"].endswith("model-package/image-classification/1")
    assert summary["model_approval_status"] == "Approved"
    prediction = summary["endpoint_prediction"]
    assert Path(prediction["file"]).is_file()
    assert prediction["probabilities"].keys() == set(CLASSES)
    assert sum(prediction["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert all(step["seconds"] >= 0 for step in summary["steps"]) and summary["seconds"] > 0
    assert summary["suspect_labels"] is None  # a class has four pictures to train on
    artifacts = summary["artifacts"]
    assert artifacts["home"] == str(home)
    assert Path(artifacts["model"]).name == "model.tar.gz" and Path(artifacts["model"]).is_file()
    evaluation = json.loads(Path(artifacts["evaluation"]).read_text())
    accuracy = evaluation["multiclass_classification_metrics"]["accuracy"]["value"]
    assert accuracy == summary["test_accuracy"]
    report = Path(artifacts["report"])
    assert report.parent == home / "reports"
    html = report.read_text(encoding="utf-8")
    assert "große Bienen" in html and "Accepted" in html


def test_the_version_has_a_card_of_this_execution(passed):
    home, summary, output, _ = passed
    store = Store(Home(home).database)
    registered = store.list("model-packages")
    store.close()
    [package] = [each for each in registered if each["ModelPackageArn"] == summary["model_package_arn"]]
    assert package["ModelCard"]["ModelCardStatus"] == "Draft"
    card = json.loads(package["ModelCard"]["ModelCardContent"])
    details = card["additional_information"]["custom_details"]
    assert details["pipeline_execution"] == summary["execution_arn"]
    with tarfile.open(summary["artifacts"]["model"]) as tar:
        model = json.load(tar.extractfile("model.json"))
    assert details["data_sha256"] == model["data"]["sha256"]
    assert card["training_details"]["training_job_details"]["training_arn"] == model["training_job"]
    measured = card["evaluation_details"][0]["metric_groups"][0]["metric_data"]
    found = {metric["name"]: metric["value"] for metric in measured}
    assert (found["accuracy"], found["pictures"]) == (summary["test_accuracy"], TESTED)
    assert found["known"] == summary["test_known"]
    assert f"known: {percent(summary['test_known'])} of the test pictures" in output
    report = Path(summary["artifacts"]["report"]).read_text(encoding="utf-8")
    assert details["definition_sha256"] in report
    assert "Not stated: set model_card.intended_uses in pipeline.toml" in report


def test_the_person_reads_what_happened(passed):
    home, summary, output, errors = passed
    assert "left out: ants/notes.txt: " in errors
    assert "random weights, for which 18 pictures are few; --weights imagenet starts " in errors
    url = "s3://image-classification-123456789012/image-classification/data/pictures-"
    assert re.search(rf"18 pictures of 3 classes are in {url}[0-9a-f]{{8}}/ ", errors)
    share = r"[\d.]+ %"
    assert re.search(
        rf"Accepted: test accuracy {share} of {TESTED} pictures, too few to be sure; .* {share} to {share} ",
        output,
    )
    report = Path(summary["artifacts"]["report"])
    assert f"  report: {report.as_uri()}\n" in output
    assert f"    python -m local --home {home}\n" in output
    assert "TrainModel Executing" in errors and "epoch 1 of 1: loss " in errors
    assert "of 3 classes (fewer than 30 say little)" in errors
    assert (
        "Not compared: endpoint image-classification serves nothing, and image-classification has no"
        in errors
    )
    assert "endpoint image-classification is InService" in output


def test_its_definition_is_that_of_the_dry_run(passed):
    home, summary, _, _ = passed
    dry = subprocess.run(
        [sys.executable, ROOT / "scripts" / "upsert_pipeline.py", "--dry-run", *STREAMED, *SMALL[4:]],
        capture_output=True,
        check=True,
    ).stdout.decode()
    with LocalService(home) as service:
        answer = service.client("sagemaker").describe_pipeline_definition_for_execution(
            PipelineExecutionArn=summary["execution_arn"]
        )
    assert answer["PipelineDefinition"] == dry


def test_a_later_command_finds_the_run_and_a_gate_that_says_no(passed, run, tmp_path):
    """Repeats the end of the execution by selective execution, with a threshold that no model reaches."""
    home, summary, _, _ = passed
    with LocalService(home) as service:
        sagemaker = service.client("sagemaker")
        packages = _packages(sagemaker)
        done = run(
            *("start_execution.py", "--local", service.url, "--wait"),
            *("--from", "CheckAccuracy", "--parameter", "AccuracyThreshold=0.99"),
        )
        assert done.returncode == 1, done.stderr
        said, *ways = done.stdout.splitlines()[1:]
        assert said.startswith("Refused. Test accuracy ")
        assert " is below AccuracyThreshold 0.99; --parameter AccuracyThreshold=" in said
        assert ways[-2] == "accept this model anyway:"
        way_on = ways[-1].strip()
        assert way_on.startswith("python scripts/start_execution.py --local=http://")
        assert "--parameter Epochs=2 " in ways[ways.index("train longer:") + 1]
        assert float(re.search(r"--parameter AccuracyThreshold=(\S+)", way_on)[1]) <= summary["test_accuracy"]
        arn = done.stdout.splitlines()[0]
        # In the way that run_local.py writes its report.
        told = (
            "--typed",
            "python scripts/run_local.py --data x",
            "--home",
            home,
            "--output",
            tmp_path / "no.html",
        )
        done = run("report.py", arn, "--local", service.url, *told)
        assert done.returncode == 0, done.stderr
        html = (tmp_path / "no.html").read_text(encoding="utf-8")
        assert "<code>python scripts/run_local.py --data x --weights imagenet</code>" in html
        assert f"while python -m local --home {home} runs" in html
        assert f"--from CheckAccuracy --source {arn} --parameter AccuracyThreshold=" in html
        listed = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=arn)["PipelineExecutionSteps"]
        ran = {step["StepName"]: step["StepStatus"] for step in listed if not _reused(step)}
        assert ran == {"CheckAccuracy": "Succeeded", "AccuracyTooLow": "Failed"}
        assert _packages(sagemaker) == packages
        # The endpoint of the earlier run answers again, from the same home.
        picture = summary["endpoint_prediction"]["file"]
        _in_service(sagemaker)
        done = run("predict.py", "--format", "json", "--local", service.url, picture)
        assert done.returncode == 0, done.stderr
        (prediction,) = json.loads(done.stdout)
        assert prediction["label"] == summary["endpoint_prediction"]["label"]


def test_the_next_model_is_put_beside_the_one_that_serves(passed, run):
    home, _, _, _ = passed
    with LocalService(home) as service:
        _in_service(service.client("sagemaker"))
        done = run(
            *("start_execution.py", "--local", service.url, "--wait", "--from", "FindChampion"),
            *("--parameter", "AccuracyThreshold=0", "--parameter", "ModelApprovalStatus=Rejected"),
        )
    assert done.returncode == 0, done.stdout + done.stderr
    champion = "Not compared with image-classification/1, which endpoint image-classification serves: "
    assert f"{champion}{TESTED} test pictures to compare on" in done.stderr


def test_a_package_that_is_not_approved_is_registered_and_not_deployed(passed, run):
    home, _, _, _ = passed
    with LocalService(home) as service:
        done = run(
            *("start_execution.py", "--local", service.url, "--wait", "--from", "CheckAccuracy"),
            *("--parameter", "AccuracyThreshold=0", "--parameter", "EndpointName=other"),
            *("--parameter", "ModelApprovalStatus=PendingManualApproval"),
        )
        assert done.returncode == 0, done.stderr
        assert "nothing is deployed" in done.stdout and "PendingManualApproval" in done.stdout
        names = [e["EndpointName"] for e in service.client("sagemaker").list_endpoints()["Endpoints"]]
        assert names == ["image-classification"]


def _reused(step):
    return "SelectiveExecutionResult" in step


def _packages(sagemaker):
    found = sagemaker.list_model_packages(ModelPackageGroupName="image-classification")
    return [package["ModelPackageArn"] for package in found["ModelPackageSummaryList"]]


def _in_service(sagemaker):
    deadline = time.monotonic() + 60
    while sagemaker.describe_endpoint(EndpointName="image-classification")["EndpointStatus"] != "InService":
        assert time.monotonic() < deadline
        time.sleep(0.1)
