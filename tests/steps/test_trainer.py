import json
import os
import subprocess
import sys
from typing import get_args, get_type_hints

from config.sections import Debugger, Images
from local.debugger.system_rules import PROFILER_REPORT, SYSTEM_RULES
from local.debugger.tensor_rules import RULES
from steps.trainer import DEBUG_RULES, PROFILER_RULES


def collections(arguments):
    return {
        item["CollectionName"]: item["CollectionParameters"]
        for item in arguments["DebugHookConfig"]["CollectionConfigurations"]
    }


def test_debugger_and_profiler(steps, request_of):
    debugger = Debugger(
        rules=("Overfit",),
        collections=("weights",),
        save_interval_steps=5,
        tensor_interval_steps=50,
        profiler_interval_ms=1000,
    )
    arguments = request_of(steps(debugger=debugger)[3])["Arguments"]
    assert collections(arguments) == {
        "losses": {"save_interval": "5", "eval.save_interval": "1"},
        "weights": {"save_interval": "50"},
    }
    hook = arguments["DebugHookConfig"]
    assert hook["S3OutputPath"]["Std:Join"]["Values"][-2:] == ["train", "debugger"]
    profiler = arguments["ProfilerConfig"]
    assert profiler["ProfilingIntervalInMilliseconds"] == 1000
    assert profiler["S3OutputPath"]["Std:Join"]["Values"][-2:] == ["train", "profiler"]
    assert [rule["RuleConfigurationName"] for rule in arguments["DebugRuleConfigurations"]] == ["Overfit"]
    assert arguments["ProfilerRuleConfigurations"] == []


def test_what_a_rule_reads_is_saved(steps, request_of):
    debugger = Debugger(rules=("PoorWeightInitialization",), collections=("relu_input",))
    arguments = request_of(steps(debugger=debugger)[3])["Arguments"]
    assert collections(arguments) == {
        "losses": {"save_interval": "10", "eval.save_interval": "1"},
        "gradients": {"save_interval": "500"},
        # requested: more than the rule reads
        "relu_input": {"include_regex": ".*relu_input", "save_interval": "500"},
    }
    arguments = request_of(steps(debugger=Debugger(rules=("PoorWeightInitialization",)))[3])["Arguments"]
    assert collections(arguments)["relu_input"] == {
        "include_regex": ".*relu_input",
        "train.save_steps": "0",
        "eval.end_step": "0",
    }


def test_smdebug_takes_every_collection_of_the_settings(steps, request_of, tmp_path):
    [names] = get_args(get_type_hints(Debugger)["collections"])[:1]
    debugger = Debugger(rules=(), collections=get_args(names))
    asked = request_of(steps(debugger=debugger)[3])["Arguments"]["DebugHookConfig"][
        "CollectionConfigurations"
    ]
    assert len(asked) == 1 + len(get_args(names))
    config = tmp_path / "debughookconfig.json"
    config.write_text(json.dumps({"LocalPath": str(tmp_path / "out"), "CollectionConfigurations": asked}))
    program = (
        "from smdebug.pytorch import Hook\n"
        f"hook = Hook.create_from_json_file({str(config)!r})\n"
        "hook._prepare_collections()\n"
    )
    environment = {**os.environ, "SMDEBUG_LOG_LEVEL": "error"}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, timeout=120)


def test_every_rule_of_the_settings_is_a_rule_of_the_sdk_and_runs_on_the_laptop():
    [names] = get_args(get_type_hints(Debugger)["rules"])[:1]
    assert set(get_args(names)) == DEBUG_RULES.keys() | PROFILER_RULES.keys()
    assert set(RULES) == DEBUG_RULES.keys()
    assert {*SYSTEM_RULES, PROFILER_REPORT} == PROFILER_RULES.keys()
    for rule, config in DEBUG_RULES.items():
        assert config()["DebugRuleConfiguration"]["RuleParameters"]["rule_to_invoke"] == rule


def test_losses_are_recorded_and_watched_twice_a_second_by_default(steps, request_of):
    arguments = request_of(steps()[3])["Arguments"]
    assert collections(arguments) == {
        "losses": {"save_interval": "10", "eval.save_interval": "1"},
        "gradients": {"save_interval": "500"},
    }
    assert arguments["ProfilerConfig"]["ProfilingIntervalInMilliseconds"] == 500


def test_every_rule_has_a_real_evaluator(steps, request_of):
    arguments = request_of(steps(region="eu-west-1")[3])["Arguments"]
    rules = arguments["DebugRuleConfigurations"] + arguments["ProfilerRuleConfigurations"]
    assert [rule["RuleConfigurationName"] for rule in rules] == [
        "LossNotDecreasing",
        "Overfit",
        "Overtraining",
        "VanishingGradient",
        "ExplodingTensor",
        "ProfilerReport",
        "CPUBottleneck",
        "LowGPUUtilization",
    ]
    for rule in rules:
        assert rule["RuleEvaluatorImage"].endswith(".eu-west-1.amazonaws.com/sagemaker-debugger-rules:latest")
        assert rule["RuleParameters"]["rule_to_invoke"] == rule["RuleConfigurationName"]
    parameters = {rule["RuleConfigurationName"]: rule["RuleParameters"] for rule in rules}
    assert parameters["Overfit"] == {"rule_to_invoke": "Overfit", "patience": "3"}


def test_the_device_decides_the_image_of_trials_and_training(steps, request_of):
    _, splitting, tuning, training, _ = steps(images=Images(training_device="gpu"))
    trials = request_of(tuning)["Arguments"]["TrainingJobDefinition"]
    for job in (trials, request_of(training)["Arguments"]):
        assert ":2.13-cu" in job["AlgorithmSpecification"]["TrainingImage"]
    assert ":2.13-cpu" in request_of(splitting)["Arguments"]["AppSpecification"]["ImageUri"]


def test_spot_training_is_off_unless_asked_for(steps, request_of):
    _, _, tuning, training, _ = steps()
    for job in (
        request_of(tuning)["Arguments"]["TrainingJobDefinition"],
        request_of(training)["Arguments"],
    ):
        assert not job.get("EnableManagedSpotTraining")
        assert "CheckpointConfig" not in job
        assert job["StoppingCondition"] == {"MaxRuntimeInSeconds": 86_400}


def test_pictures_are_streamed_on_demand_and_weights_never(steps, request_of):
    def modes(**settings):
        _, _, tuning, training, _ = steps(**settings)
        jobs = request_of(tuning)["Arguments"]["TrainingJobDefinition"], request_of(training)["Arguments"]
        return [
            {entry["ChannelName"]: entry["InputMode"] for entry in job["InputDataConfig"]} for job in jobs
        ]

    assert modes() == [{"train": "File", "validation": "File", "pretrained": "File"}] * 2
    streamed = {"train": "FastFile", "validation": "FastFile", "pretrained": "File"}
    assert modes(input_mode="FastFile") == [streamed] * 2


def test_the_runtime_of_trials_and_training_is_limited(steps, request_of):
    _, _, tuning, training, _ = steps(max_runtime_s=1800)
    for job in (request_of(tuning)["Arguments"]["TrainingJobDefinition"], request_of(training)["Arguments"]):
        assert job["StoppingCondition"] == {"MaxRuntimeInSeconds": 1800}


def test_spot_training_of_trials_and_training_with_checkpoints_of_their_own(steps, request_of):
    _, splitting, tuning, training, _ = steps(use_spot=True, max_wait_s=100_000)
    jobs = {
        "tune": request_of(tuning)["Arguments"]["TrainingJobDefinition"],
        "train": request_of(training)["Arguments"],
    }
    for folder, job in jobs.items():
        assert job["EnableManagedSpotTraining"] is True
        assert job["StoppingCondition"] == {"MaxRuntimeInSeconds": 86_400, "MaxWaitTimeInSeconds": 100_000}
        uri = job["CheckpointConfig"]["S3Uri"]["Std:Join"]["Values"]
        assert uri[1:] == [{"Get": "Execution.PipelineExecutionId"}, folder, "checkpoints"]
    assert "EnableManagedSpotTraining" not in request_of(splitting)["Arguments"]


def test_checkpoints_without_spot_if_asked_for(steps, request_of):
    _, _, tuning, training, _ = steps(checkpoints=True)
    definition = request_of(tuning)["Arguments"]["TrainingJobDefinition"]
    for folder, job in {"tune": definition, "train": request_of(training)["Arguments"]}.items():
        uri = job["CheckpointConfig"]["S3Uri"]["Std:Join"]["Values"]
        assert uri[1:] == [{"Get": "Execution.PipelineExecutionId"}, folder, "checkpoints"]
        assert not job.get("EnableManagedSpotTraining")
        assert job["StoppingCondition"] == {"MaxRuntimeInSeconds": 86_400}


def test_spot_training_without_debugger(steps, request_of):
    arguments = request_of(steps(use_spot=True, debugger=Debugger(enabled=False))[3])["Arguments"]
    assert arguments["EnableManagedSpotTraining"] is True and "CheckpointConfig" in arguments
