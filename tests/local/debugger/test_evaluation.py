"""A training job's rules, evaluated by real processes on a real training's tensors."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from smdebug.core.access_layer.utils import has_training_ended
from smdebug.trials import create_trial
from smdebug_rulesconfig.actions.actions import StopTraining

from local.debugger import evaluation
from local.debugger.evaluation import RuleEvaluation
from local.processes import orphans
from local.wire.errors import ServiceError
from tests.local.rule_requests import REPORTS, TRAIN, judged_jobs, request, rule, statuses


@pytest.fixture
def service(home, store):
    with judged_jobs(home, store) as jobs:
        yield jobs


def test_rules_are_in_progress_and_then_tell_what_they_found(service, home, trials):
    asked = request(
        # Under SageMaker smdebug leaves that file to SageMaker.
        TRAIN + "time.sleep(0.5); os.remove(sys.argv[1] + '/training_job_end.ts')",
        trials / "overfit",
        DebugRuleConfigurations=[
            rule("Overfit"),
            rule("VanishingGradient"),
            rule("ExplodingTensor", "Exploding", collection_names="weights"),
            rule("LossNotDecreasing", num_steps="many"),
            rule("DeadRelu"),
        ],
        ProfilerRuleConfigurations=[rule("CPUBottleneck"), rule("ProfilerReport"), rule("StepOutlier")],
    )
    service.create(asked)
    before = service.describe("t")
    assert statuses(before)["Overfit"] == ("InProgress", "")
    arn = before["DebugRuleEvaluationStatuses"][0]["RuleEvaluationJobArn"]
    assert re.fullmatch(r"arn:aws:sagemaker:us-east-1:123456789012:processing-job/t-overfit-[0-9a-f]{8}", arn)
    record = service.wait("t")
    assert record["TrainingJobStatus"] == "Completed", record
    found = statuses(record)
    status, details = found.pop("Overfit")
    assert status == "IssuesFound"
    assert "Evaluation of the rule Overfit at step 3 resulted in the condition being met: the val" in details
    assert found == {
        "VanishingGradient": ("NoIssuesFound", ""),
        "Exploding": ("Error", "no tensor of the collection weights was saved"),
        "LossNotDecreasing": ("Error", "invalid literal for int() with base 10: 'many'"),
        "DeadRelu": ("Stopped", "the rule DeadRelu is not evaluated on the laptop"),
    }
    assert statuses(record, "Profiler") == {
        "CPUBottleneck": ("NoIssuesFound", ""),
        "ProfilerReport": ("NoIssuesFound", ""),
        "StepOutlier": ("Stopped", "the rule StepOutlier is not evaluated on the laptop"),
    }
    trial = create_trial(str(home.object_path("s3://b/debug/t/debug-output")))
    assert has_training_ended(trial.path)
    assert "CrossEntropyLoss_output_0" in trial.tensor_names(collection="losses")
    changed = {status["LastModifiedTime"] for status in record["DebugRuleEvaluationStatuses"][:2]}
    assert all(when > record["TrainingEndTime"] for when in changed)
    reports = home.object_path(REPORTS)
    usage = json.loads((reports / "OverallSystemUsage.json").read_text())
    assert usage["Datapoints"] >= 3
    assert usage["Details"]["CPUUtilization"]["max"] <= 100
    assert json.loads((reports / "CPUBottleneck.json").read_text())["RuleTriggered"] == 0


def test_the_arn_of_an_evaluation_is_one_whatever_the_names():
    name = "A-training-job-with-a-name-of-63-characters-which-is-the-longest"[:63]
    record = {
        "TrainingJobName": name,
        "TrainingJobArn": f"arn:aws:sagemaker:r:123456789012:training-job/{name}",
    }
    rules = [rule("Overfit", given) for given in ("The losses, of each epoch: far apart?", "!?", "x" * 256)]
    record["DebugRuleConfigurations"] = rules
    evaluation.check(record)
    found = [status["RuleEvaluationJobArn"] for status in record["DebugRuleEvaluationStatuses"]]
    # botocore's service model: ProcessingJobArn
    pattern = r"arn:aws:sagemaker:r:\d{12}:processing-job/[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"
    assert all(re.fullmatch(pattern, arn) for arn in found), found
    assert found[0].rpartition("/")[2][:53] == "a-training-job-with-a-name-the-losses-of-each-epoch-f"
    assert len(set(found)) == 3


def test_without_tensors_and_metrics_nothing_can_be_judged(service):
    asked = request(
        "raise SystemExit('no')",
        DebugRuleConfigurations=[rule("Overfit")],
        ProfilerRuleConfigurations=[rule("ProfilerReport")],
    )
    del asked["ProfilerConfig"]
    service.create(asked)
    record = service.wait("t")
    assert record["TrainingJobStatus"] == "Failed"
    assert statuses(record) == {"Overfit": ("Error", "no tensors were saved")}
    assert statuses(record, "Profiler") == {"ProfilerReport": ("Error", "no system metrics were recorded")}


def test_a_closing_service_stops_the_evaluation(service, trials):
    asked = request(TRAIN + "time.sleep(50)", trials / "good", DebugRuleConfigurations=[rule("Overfit")])
    service.create(asked)
    service.close()
    assert statuses(service.describe("t")) == {"Overfit": ("Stopped", "the local service ended")}


def test_an_evaluation_that_an_earlier_service_did_not_end_is_stopped(service, store):
    record = request("pass", DebugRuleConfigurations=[rule("Overfit")])
    record |= {"TrainingJobArn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/t"}
    evaluation.check(record)
    store.create("TrainingJob", "t", record | {"TrainingJobStatus": "Completed", "CreationTime": 1.0})
    service.recover()
    assert statuses(service.describe("t")) == {"Overfit": ("Stopped", "the local service ended")}


def test_an_evaluation_that_breaks_is_an_error_that_names_its_log(service, home, trials):
    own = home.folder(evaluation.FOLDER, "t")
    own.mkdir(parents=True)
    (own / "reports").write_text("a file where the folder should be")
    asked = request(TRAIN + "time.sleep(0.5)", trials / "good")
    service.create({**asked, "ProfilerRuleConfigurations": [rule("ProfilerReport")]})
    status, details = statuses(service.wait("t"), "Profiler")["ProfilerReport"]
    assert (status, details[:15]) == ("Error", "exit status 1 (")
    log = details.removeprefix("exit status 1 (log: ").removesuffix(")")
    assert "Error" in Path(log).read_text()


def test_reports_that_have_no_place_are_an_error_and_make_no_bucket(service, home):
    home.object_path("s3://b/file").write_text("a file where the folder should be")
    reporters = [
        rule("ProfilerReport", name) | {"S3OutputPath": path}
        for name, path in (("Bucket", "s3://absent/x"), ("Place", "s3://b/file"))
    ]
    service.create(request("import time; time.sleep(0.5)", ProfilerRuleConfigurations=reporters))
    found = statuses(service.wait("t"), "Profiler")
    assert {name: status for name, (status, _) in found.items()} == {"Bucket": "Error", "Place": "Error"}
    assert found["Bucket"][1].startswith("the bucket of s3://absent/x/t/rule-output/Bucket/")
    assert "cannot exist beside another key" in found["Place"][1]
    assert not (home.s3 / "absent").exists()


def test_an_evaluation_is_on_record_as_long_as_it_runs(home):
    record = request("pass", DebugRuleConfigurations=[rule("Overfit")])
    running = RuleEvaluation(home, record, {})
    running._start()
    (left,) = orphans.end_left(home.processes)
    assert left["command"][1:3] == ["-m", "local.debugger.evaluate"]
    assert running.finish()["Overfit"]["StatusDetails"].startswith("exit status -9 ")
    assert list(home.processes.iterdir()) == []


def test_an_evaluation_that_is_killed_keeps_what_it_had_found(home):
    record = request("pass", DebugRuleConfigurations=[rule("Overfit"), rule("VanishingGradient")])
    record |= {"TrainingJobArn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/t"}
    running = RuleEvaluation(home, record, {})
    results = home.folder(evaluation.FOLDER, "t") / "results.jsonl"
    results.parent.mkdir(parents=True)
    found = {"name": "Overfit", "RuleEvaluationStatus": "IssuesFound", "StatusDetails": "far apart"}
    results.write_text(json.dumps(found) + '\n{"name": "Vanishing')
    running.stop()
    changes = {name: (c["RuleEvaluationStatus"], c["StatusDetails"]) for name, c in running.finish().items()}
    assert changes == {
        "Overfit": ("IssuesFound", "far apart"),
        "VanishingGradient": ("Stopped", "the local service ended"),
    }


def test_no_job_fails_for_its_rules(service, home):
    (home.root / evaluation.FOLDER).write_text("a file where the folder should be")
    asked = request(
        "pass", DebugRuleConfigurations=[rule("Overfit", action_json=StopTraining("t").serialize())]
    )
    service.create(asked)
    record = service.wait("t")
    assert record["TrainingJobStatus"] == "Completed", record
    status, details = statuses(record)["Overfit"]
    assert (status, "Not a directory" in details) == ("Error", True)


def test_tensors_that_are_not_in_s3_fail_the_job_by_name(service):
    asked = request("pass", DebugRuleConfigurations=[rule("Overfit")])
    asked["DebugHookConfig"] = {"S3OutputPath": "https://b/debug"}
    service.create(asked)
    record = service.wait("t")
    assert record["FailureReason"].startswith(
        "ClientError: 'https://b/debug/t/debug-output' is not an S3 URI"
    )
    assert statuses(record)["Overfit"][0] == "Error"


def test_two_rules_of_one_name_are_refused(service):
    asked = request("pass", DebugRuleConfigurations=[rule("Overfit")], ProfilerRuleConfigurations=[])
    asked["ProfilerRuleConfigurations"] = [rule("CPUBottleneck", "Overfit")]
    with pytest.raises(ServiceError, match="RuleConfigurationName must be unique: 'Overfit'"):
        service.create(asked)


def test_tensors_outside_the_container_are_refused(service):
    asked = request("pass", DebugHookConfig={"S3OutputPath": "s3://b/debug", "LocalPath": "/tmp/tensors"})
    with pytest.raises(ServiceError, match="LocalPath must begin with /opt/ml/"):
        service.create(asked)
