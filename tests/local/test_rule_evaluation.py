"""A training job's rules, evaluated by real processes on a real training's tensors."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from pathlib import Path

import pytest
from smdebug.core.access_layer.utils import has_training_ended
from smdebug.trials import create_trial
from smdebug_rulesconfig.actions.actions import StopTraining

from local import rule_evaluation, training
from local.control import ControlPlane, ServiceError
from local.jobs import JobService
from local.rule_evaluation import RuleEvaluation
from local.s3 import S3
from local.server import Server, application

IMAGE = "503895931360.dkr.ecr.us-east-1.amazonaws.com/sagemaker-debugger-rules:latest"


def rule(rule_to_invoke, name=None, **parameters):
    return {
        "RuleConfigurationName": name or rule_to_invoke,
        "RuleEvaluatorImage": IMAGE,
        "RuleParameters": {"rule_to_invoke": rule_to_invoke, **parameters},
    }


def request(program, *arguments, **members):
    return {
        "TrainingJobName": "t",
        "RoleArn": "arn:aws:iam::123456789012:role/execution",
        "AlgorithmSpecification": {
            "TrainingImage": "image",
            "TrainingInputMode": "File",
            "ContainerEntrypoint": [sys.executable, "-c", program],
            "ContainerArguments": ["/opt/ml/output/tensors", *map(str, arguments)],
        },
        "OutputDataConfig": {"S3OutputPath": "s3://b/jobs"},
        "ResourceConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.xlarge", "VolumeSizeInGB": 30},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        "DebugHookConfig": {"S3OutputPath": "s3://b/debug"},
        "ProfilerConfig": {"S3OutputPath": "s3://b/profile", "ProfilingIntervalInMilliseconds": 100},
        **members,
    }


# What the hook of a training leaves, all at once.
TRAIN = "import os, shutil, sys, time; shutil.copytree(sys.argv[2], sys.argv[1], dirs_exist_ok=True); "


@pytest.fixture
def service(home, store):
    """Training jobs behind a server, so that a rule's action finds them."""

    def environment():
        return {
            "AWS_ENDPOINT_URL": server.url,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
        }

    jobs = JobService(home, store, training.KIND, environment)
    server = Server(application(S3(home).handle, ControlPlane(jobs.operations()), None, None, None))
    server.start()
    yield jobs
    jobs.close()
    server.stop()


def statuses(record, kind="Debug"):
    return {
        status["RuleConfigurationName"]: (status["RuleEvaluationStatus"], status.get("StatusDetails", ""))
        for status in record[f"{kind}RuleEvaluationStatuses"]
    }


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
    reports = home.object_path("s3://b/jobs/t/rule-output/ProfilerReport/profiler-output/profiler-reports")
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
    rule_evaluation.accept(record)
    found = [status["RuleEvaluationJobArn"] for status in record["DebugRuleEvaluationStatuses"]]
    # botocore's service model: ProcessingJobArn
    pattern = r"arn:aws:sagemaker:r:\d{12}:processing-job/[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"
    assert all(re.fullmatch(pattern, arn) for arn in found), found
    assert found[0].rpartition("/")[2][:53] == "a-training-job-with-a-name-the-losses-of-each-epoch-f"
    assert len(set(found)) == 3


def test_a_rule_stops_the_training(service, trials):
    action = StopTraining("t").serialize()  # as the SDK writes it into the request
    asked = request(
        TRAIN + "time.sleep(50)",
        trials / "stuck",
        DebugRuleConfigurations=[
            rule("LossNotDecreasing", num_steps="5", action_json=action),
            rule("VanishingGradient"),
        ],
    )
    began = time.monotonic()
    service.create(asked)
    record = service.wait("t")
    assert record["TrainingJobStatus"] == "Stopped", record
    assert time.monotonic() - began < 45
    assert statuses(record)["LossNotDecreasing"][0] == "IssuesFound"
    assert statuses(record)["VanishingGradient"][0] == "NoIssuesFound"


def test_an_action_that_is_not_json_is_the_error_of_its_rule_alone(service, trials):
    rules = [rule("LossNotDecreasing", num_steps="5", action_json="stop!"), rule("VanishingGradient")]
    service.create(request(TRAIN, trials / "good", DebugRuleConfigurations=rules))
    found = statuses(service.wait("t"))
    assert found["LossNotDecreasing"] == (
        "Error",
        "action_json is not JSON: Expecting value: line 1 column 1 (char 0)",
    )
    assert found["VanishingGradient"] == ("NoIssuesFound", "")


def test_a_rule_that_finds_nothing_lets_the_training_end(service, trials):
    action = StopTraining("t").serialize()
    asked = request(
        TRAIN + "time.sleep(4)",
        trials / "good",
        DebugRuleConfigurations=[rule("LossNotDecreasing", num_steps="5", action_json=action)],
    )
    service.create(asked)
    record = service.wait("t")
    assert record["TrainingJobStatus"] == "Completed", record
    assert statuses(record) == {"LossNotDecreasing": ("NoIssuesFound", "")}


def test_a_rule_with_an_action_sees_the_metrics_that_came_while_it_looked(service, home):
    before = int(time.time()) - 60
    hour = time.strftime("%Y%m%d%H", time.gmtime(before))
    old = home.object_path(f"s3://b/profile/t/profiler-output/system/incremental/{hour}")
    old.mkdir(parents=True)
    line = {"Type": "cpu", "Name": "cpu0", "Dimension": "CPUUtilization", "Value": 1.0, "NodeId": "algo-1"}
    (old / f"{before}.algo-1.json").write_text(json.dumps(line | {"Timestamp": before + 0.5}) + "\n")
    report = rule("ProfilerReport", action_json=StopTraining("t").serialize())
    service.create(request("import time; time.sleep(5)", ProfilerRuleConfigurations=[report]))
    record = service.wait("t")
    assert statuses(record, "Profiler") == {"ProfilerReport": ("NoIssuesFound", "")}
    reports = home.object_path("s3://b/jobs/t/rule-output/ProfilerReport/profiler-output/profiler-reports")
    assert json.loads((reports / "OverallSystemUsage.json").read_text())["Datapoints"] > 10


def test_the_report_tells_what_the_profilers_rules_found(service, home):
    before = int(time.time()) - 60
    hour = time.strftime("%Y%m%d%H", time.gmtime(before))
    profile = home.object_path(f"s3://b/profile/t/profiler-output/system/incremental/{hour}")
    profile.mkdir(parents=True)
    line = {"Type": "gpu", "Name": "gpu0", "Dimension": "GPUUtilization", "Value": 3.0, "NodeId": "algo-1"}
    lines = [json.dumps(line | {"Timestamp": before + second}) + "\n" for second in range(20)]
    (profile / f"{before}.algo-1.json").write_text("".join(lines))
    report = rule("ProfilerReport", LowGPUUtilization_patience="10", LowGPUUtilization_window="10")
    service.create(request("import time; time.sleep(1)", ProfilerRuleConfigurations=[report]))
    status, details = statuses(service.wait("t"), "Profiler")["ProfilerReport"]
    assert status == "IssuesFound"
    assert details == "LowGPUUtilization: 95 % of the time gpu0 is used by less than 3 %"
    reports = home.object_path("s3://b/jobs/t/rule-output/ProfilerReport/profiler-output/profiler-reports")
    fired = {file.stem: json.loads(file.read_text())["RuleTriggered"] for file in reports.glob("*.json")}
    assert fired.pop("LowGPUUtilization") == 1 and set(fired.values()) == {0}


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
    rule_evaluation.accept(record)
    store.create("TrainingJob", "t", record | {"TrainingJobStatus": "Completed", "CreationTime": 1.0})
    service.recover()
    assert statuses(service.describe("t")) == {"Overfit": ("Stopped", "the local service ended")}


@pytest.mark.parametrize("content", ["[]", "{}", "{"])
def test_damaged_collections_are_their_rules_error(service, home, trials, content):
    shutil.copytree(trials / "good", home.root / "broken")
    for file in (home.root / "broken").rglob("*_collections.json"):
        file.write_text(content)
    rules = {
        "DebugRuleConfigurations": [rule("Overfit")],
        "ProfilerRuleConfigurations": [rule("ProfilerReport")],
    }
    service.create(request(TRAIN + "time.sleep(0.5)", home.root / "broken", **rules))
    record = service.wait("t")
    assert statuses(record)["Overfit"][0] == "Error"
    assert "exit status" not in statuses(record)["Overfit"][1]
    assert statuses(record, "Profiler")["ProfilerReport"][0] in {"IssuesFound", "NoIssuesFound"}


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"tensor_regex": "*loss", "use_losses_collection": "False"}, "error: nothing to repeat"),
        ({"num_steps": "ten"}, "invalid literal for int() with base 10"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_the_error_of_its_rule_alone(service, trials, parameters, words):
    rules = [rule("LossNotDecreasing", **parameters), rule("VanishingGradient")]
    service.create(request(TRAIN, trials / "good", DebugRuleConfigurations=rules))
    found = statuses(service.wait("t"))
    assert found["LossNotDecreasing"][0] == "Error"
    assert words in found["LossNotDecreasing"][1]
    assert found["VanishingGradient"] == ("NoIssuesFound", "")


def test_a_tensor_of_other_bytes_is_the_error_of_its_rules(service, home, trials):
    shutil.copytree(trials / "good", home.root / "noise")
    for file in (home.root / "noise" / "events").rglob("*.tfevents"):
        file.write_bytes(b"\x7f" * file.stat().st_size)
    service.create(request(TRAIN, home.root / "noise", DebugRuleConfigurations=[rule("Overfit")]))
    status, details = statuses(service.wait("t"))["Overfit"]
    assert status == "Error" and "exit status" not in details


def test_an_evaluation_that_breaks_is_an_error_that_names_its_log(service, home, trials):
    reports = home.object_path("s3://b/jobs/t/rule-output")
    reports.parent.mkdir(parents=True)
    reports.write_text("a file where the folder should be")
    asked = request(TRAIN + "time.sleep(0.5)", trials / "good")
    service.create({**asked, "ProfilerRuleConfigurations": [rule("ProfilerReport")]})
    status, details = statuses(service.wait("t"), "Profiler")["ProfilerReport"]
    assert (status, details[:15]) == ("Error", "exit status 1 (")
    log = details.removeprefix("exit status 1 (log: ").removesuffix(")")
    assert "Error" in Path(log).read_text()


def test_tensors_that_are_cut_off_are_their_rules_error(service, home, trials):
    shutil.copytree(trials / "good", home.root / "cut")
    file = home.root / "cut" / "events" / f"{5:012}" / f"{5:012}_worker_0.tfevents"
    file.write_bytes(file.read_bytes()[:100])
    rules = [rule("VanishingGradient"), rule("LossNotDecreasing", mode="EVAL")]
    service.create(request(TRAIN, home.root / "cut", DebugRuleConfigurations=rules))
    found = statuses(service.wait("t"))
    assert found.pop("LossNotDecreasing") == ("NoIssuesFound", "")
    [(status, details)] = found.values()
    assert status == "Error"
    assert re.fullmatch(r"the file of gradient/Sequential_\S+ at step 5 is cut off or damaged", details)


def test_an_evaluation_that_is_killed_keeps_what_it_had_found(home):
    record = request("pass", DebugRuleConfigurations=[rule("Overfit"), rule("VanishingGradient")])
    record |= {"TrainingJobArn": "arn:aws:sagemaker:us-east-1:123456789012:training-job/t"}
    evaluation = RuleEvaluation(home, record, {})
    results = home.folder(rule_evaluation.FOLDER, "t") / "results.jsonl"
    results.parent.mkdir(parents=True)
    found = {"name": "Overfit", "RuleEvaluationStatus": "IssuesFound", "StatusDetails": "far apart"}
    results.write_text(json.dumps(found) + '\n{"name": "Vanishing')
    evaluation.stop()
    changes = {
        name: (c["RuleEvaluationStatus"], c["StatusDetails"]) for name, c in evaluation.finish().items()
    }
    assert changes == {
        "Overfit": ("IssuesFound", "far apart"),
        "VanishingGradient": ("Stopped", "the local service ended"),
    }


def test_no_job_fails_for_its_rules(service, home):
    (home.root / rule_evaluation.FOLDER).write_text("a file where the folder should be")
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
