"""Every construct of public pipelines runs with the right result, or is refused by name.

RUN and REFUSED are the table; there is no third group that succeeds with a wrong result.
"""

import functools
import io
import json
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from local.home.home import Home
from local.processes import opt_ml
from local.service import LocalService
from tests.local import definitions
from tests.local.definitions import (
    EQUAL,
    FUNCTION,
    ROLE,
    condition,
    document,
    fail,
    function,
    get,
    join,
    model,
    processing,
    register,
    training,
    tuning,
)
from tests.local.endpoint_service import pack
from tests.local.transform_requests import APP

UNEQUAL = {**EQUAL, "RightValue": 2}
KEY = "arn:aws:kms:us-east-1:123456789012:key/1"
TRIGGERED = {"Step": "Breaks", "Trigger": "Failed"}
RETRIES = [{"ExceptionType": ["Step.THROTTLING"], "MaxAttempts": 2}]
UNTIL_NEXT_YEAR = {"Enabled": True, "ExpireAfter": "P365D"}
REPORT = [{"PropertyFileName": "Report", "OutputName": "result", "FilePath": "report.json"}]
# A training script whose accuracy is the given rate.
SCRIPT = "import sys; print('accuracy=' + sys.argv[sys.argv.index('--rate') + 1].strip('\"') + ';')"
WRITE = 'printf "%s\\n" "$@" > "$0/out.txt"'
PARAMETERS = [
    {"Name": "Kind", "Type": "String", "DefaultValue": "a", "EnumValues": ["a", "b"]},
    {"Name": "Count", "Type": "Integer", "DefaultValue": 2},
    {"Name": "Rate", "Type": "Float", "DefaultValue": 0.5},
    {"Name": "On", "Type": "Boolean", "DefaultValue": True},
    {"Name": "Data", "Type": "String"},
    {"Name": "One", "Type": "Integer", "DefaultValue": 1},
    {"Name": "Instance", "Type": "String", "DefaultValue": "ml.m5.large"},
    {"Name": "Approval", "Type": "String", "DefaultValue": "Approved"},
]


def says(name, *arguments, program=WRITE, **more):
    """A processing step that writes its arguments, one a line, to s3://bucket/<name>/out.txt."""
    step = processing(name, *arguments, **more)
    entrypoint = ["/bin/sh", "-c", program, "/opt/ml/processing/result"]
    step["Arguments"]["AppSpecification"]["ContainerEntrypoint"] = entrypoint
    return step


def reads(step, uri, **source):
    """The step, with the objects under an S3 URI as input."""
    source = {"S3Uri": uri, "S3DataType": "S3Prefix", "S3InputMode": "File", **source}
    source.setdefault("LocalPath", "/opt/ml/processing/input/data")
    source = {key: value for key, value in source.items() if value is not None}
    step["Arguments"]["ProcessingInputs"] = [{"InputName": "data", "S3Input": source}]
    return step


def changed(step, path, value):
    """The step, with another value at a path of its Arguments."""
    *way, last = path.split(".")
    inner = step["Arguments"]
    for key in way:
        inner = inner[key]
    inner[last] = value
    return step


def trains(name, program):
    """A training step that runs a shell program."""
    step = changed(training(name), "HyperParameters", {"rate": "3"})
    return changed(
        step, "AlgorithmSpecification.ContainerEntrypoint", ["/bin/sh", "-c", program, "/opt/ml/model"]
    )


def tunes(name):
    """A tuning step of two parallel trials of SCRIPT."""
    step = tuning(name)
    job, config = (
        step["Arguments"]["TrainingJobDefinition"],
        step["Arguments"]["HyperParameterTuningJobConfig"],
    )
    metric = {"Name": "accuracy", "Regex": "accuracy=([0-9.]+);"}
    job["AlgorithmSpecification"]["MetricDefinitions"] = [metric]
    job["HyperParameterTuningResourceConfig"] = job.pop("ResourceConfig")
    config["ResourceLimits"] = {"MaxParallelTrainingJobs": 2}
    config["ParameterRanges"] = {"CategoricalParameterRanges": [{"Name": "rate", "Values": ["0.25", "0.75"]}]}
    config["Strategy"] = "Grid"
    return step


def searches(name):
    """A tuning step with Bayesian search; a parameter sets the number of trials, one."""
    step = changed(tunes(name), "HyperParameterTuningJobConfig.Strategy", "Bayesian")
    range_ = {"Name": "rate", "MinValue": "7", "MaxValue": "7", "ScalingType": "Logarithmic"}
    changed(step, "HyperParameterTuningJobConfig.ParameterRanges", {"IntegerParameterRanges": [range_]})
    limits = {"MaxNumberOfTrainingJobs": get("Parameters.One"), "MaxParallelTrainingJobs": 1}
    return changed(step, "HyperParameterTuningJobConfig.ResourceLimits", limits)


def first():
    report = '{"accuracy": 0.5, "list": [{"k.x": "deep"}]}'
    program = f"{WRITE}; printf '%s' '{report}' > \"$0/report.json\""
    step = says(
        "First", "one", program=program, PropertyFiles=REPORT, DisplayName="The first", RetryPolicies=RETRIES
    )
    step["Arguments"] |= {
        "Environment": {"WORD": "x"},
        "NetworkConfig": {
            "EnableNetworkIsolation": False,
            "VpcConfig": {"SecurityGroupIds": ["s"], "Subnets": ["n"]},
        },
    }
    changed(step, "ProcessingResources.ClusterConfig.VolumeKmsKeyId", KEY)
    step["Arguments"]["ProcessingOutputConfig"]["KmsKeyId"] = KEY
    return step


def spot():
    step = trains("Train", 'echo weights > "$0/weights"; echo "loss=0.125;"')
    changed(step, "AlgorithmSpecification.MetricDefinitions", [{"Name": "loss", "Regex": "loss=([0-9.]+);"}])
    step["Arguments"] |= {
        "EnableManagedSpotTraining": True,
        "StoppingCondition": {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200},
        "CheckpointConfig": {"S3Uri": "s3://bucket/checkpoints"},
        "VpcConfig": {"SecurityGroupIds": ["s"], "Subnets": ["n"]},
        "DebugHookConfig": {"S3OutputPath": "s3://bucket/debug", "CollectionConfigurations": []},
        "ProfilerConfig": {"S3OutputPath": "s3://bucket/profile"},
        "ProfilerRuleConfigurations": [
            {
                "RuleConfigurationName": "Report",
                "RuleEvaluatorImage": "image",
                "RuleParameters": {"rule_to_invoke": "ProfilerReport"},
            }
        ],
    }
    return step


def by_parameters():
    """A training on another step's output; parameters set its hyperparameters and instances."""
    program = 'grep -q "kind.*a" /opt/ml/input/config/hyperparameters.json && '
    program += 'echo "loss=$(grep -o "[0-9.]*" /opt/ml/input/data/data/report.json | head -n 1);"'
    step = changed(trains("Follow", program), "HyperParameters", {"kind": get("Parameters.Kind")})
    changed(step, "AlgorithmSpecification.MetricDefinitions", [{"Name": "loss", "Regex": "loss=([0-9.]+)"}])
    changed(step, "ResourceConfig.InstanceCount", get("Parameters.One"))
    changed(step, "ResourceConfig.InstanceType", get("Parameters.Instance"))
    return changed(step, "InputDataConfig", [channel(join("/", FIRST_OUTPUT, "report.json"))])


def channel(uri, **source):
    source = {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": "FullyReplicated", **source}
    return {"ChannelName": "data", "ContentType": "text/csv", "DataSource": {"S3DataSource": source}}


def approved():
    step = register("Approved", MODEL_DATA)
    statistics = {"ContentType": "application/json", "S3Uri": join("/", FIRST_OUTPUT, "report.json")}
    step["Arguments"] |= {
        "ModelApprovalStatus": get("Parameters.Approval"),
        "ModelMetrics": {"ModelQuality": {"Statistics": statistics}, "Bias": {}, "Explainability": {}},
    }
    return step


def app_managed():
    """A step whose program handles inputs and outputs itself."""
    program = 'test ! -e /opt/ml/processing/in && echo alone > "$0/out.txt"'
    step = reads(says("Managed", program=program), "s3://bucket/nothing/", LocalPath="/opt/ml/processing/in")
    step["Arguments"]["ProcessingInputs"][0]["AppManaged"] = True
    own = {"OutputName": "own", "AppManaged": True, "S3Output": {"S3Uri": "s3://absent/x"}}
    own["S3Output"] |= {"S3UploadMode": "EndOfJob"}
    step["Arguments"]["ProcessingOutputConfig"]["Outputs"].append(own)
    return step


def by_manifest(step):
    """The Transform step over a manifest's objects."""
    changed(step, "TransformInput.DataSource.S3DataSource.S3DataType", "ManifestFile")
    return changed(step, "TransformInput.SplitType", "Line")


def scores(name, model_name, source, target):
    """A Transform step over the objects under an S3 URI."""
    data = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": source}}
    arguments = {
        "ModelName": model_name,
        "TransformInput": {"DataSource": data},
        "TransformOutput": {"S3OutputPath": target},
        "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": 1},
    }
    return {"Name": name, "Type": "Transform", "Arguments": arguments}


PROPERTY_FILE = {"PropertyFile": get("Steps.First.PropertyFiles.Report")}
DEEP = {"Std:JsonGet": {**PROPERTY_FILE, "Path": "list[0]['k.x']"}}
ACCURACY = {"Std:JsonGet": {**PROPERTY_FILE, "Path": "accuracy"}}
FIRST_OUTPUT = get("Steps.First.ProcessingOutputConfig.Outputs['result'].S3Output.S3Uri")
FROM_S3 = {"Std:JsonGet": {"S3Uri": join("/", FIRST_OUTPUT, "report.json"), "Path": "accuracy"}}
MODEL_DATA = get("Steps.Train.ModelArtifacts.S3ModelArtifacts")
COMPARED = [
    EQUAL,
    {"Type": "GreaterThan", "LeftValue": ACCURACY, "RightValue": 0.25},
    {"Type": "GreaterThanOrEqualTo", "LeftValue": ACCURACY, "RightValue": get("Parameters.Rate")},
    {"Type": "LessThan", "LeftValue": get("Parameters.Count"), "RightValue": 3},
    {"Type": "LessThanOrEqualTo", "LeftValue": get("Parameters.Count"), "RightValue": 2},
    {"Type": "In", "QueryValue": get("Parameters.Kind"), "Values": ["a", "b"]},
    {"Type": "Not", "Condition": {"Type": "Equals", "LeftValue": get("Parameters.On"), "RightValue": False}},
    {"Type": "Or", "Conditions": [EQUAL, UNEQUAL]},
]  # fmt: skip

# Kind -> its steps, and the output of one of them, or the status of one without output.
RUN = {
    "Processing, with environment, network, KMS keys and retries": ([first()], "First", "one"),
    "an input from another step": (
        [reads(says("Copy", "/opt/ml/processing/input/data", program='cp "$1/out.txt" "$0"'), FIRST_OUTPUT)],
        "Copy", "one",
    ),
    "Std:Join of typed parameters": (
        [says("Joined", join(",", *(get(f"Parameters.{name}") for name in ("Count", "Rate", "On"))))],
        "Joined", "2,0.5,true",
    ),
    "a parameter that is chosen from a list, and one without a default": (
        [says("Given", get("Parameters.Kind"), get("Parameters.Data"))], "Given", "a\nmine",
    ),
    "execution variables": ([says("Named", get("Execution.PipelineName"))], "Named", "constructs"),
    "Std:JsonGet of a property file": ([says("Looked", DEEP)], "Looked", "deep"),
    "Std:JsonGet of an S3 URI, nested in Std:Join": (
        [says("Fetched", join("=", "a", FROM_S3))], "Fetched", "a=0.5",
    ),
    "Condition, with each operator": (
        [condition("Compare", COMPARED, [says("Met", "yes")], [says("Unmet", "no")])], "Met", "yes",
    ),
    "Condition in a Condition": (
        [condition("Outer", [EQUAL], [condition("Inner", [UNEQUAL], [], [says("Else", "inner")])])],
        "Else", "inner",
    ),
    "DependsOn a step and a Condition": (
        [says("Later", "after", DependsOn=["First", "Compare"])], "Later", "after",
    ),
    "Lambda, with outputs": (
        [
            function("Call", {"word": get("Parameters.Kind")}, {"said": "String", "count": "Integer"}),
            says("Told", get("Steps.Call.OutputParameters['said']"),
                 join("", get("Steps.Call.OutputParameters['count']"))),
        ],
        "Told", "a!\n3",
    ),
    "Training with an entrypoint, as spot, with checkpoints, metrics, Debugger, Profiler and a VPC": (
        [spot(), says("Trained", join("", get("Steps.Train.FinalMetricDataList['loss'].Value")))],
        "Trained", "0.125",
    ),
    "Tuning of a script, with trials side by side, and its best trial": (
        [tunes("Tune"), says("Best", get("Steps.Tune.BestTrainingJob.TunedHyperParameters['rate']"))],
        "Best", "0.75",
    ),
    "Tuning by Bayesian search, with limits and instances of its own": (
        [searches("Search"),
         says("Searched", get("Steps.Search.BestTrainingJob.TunedHyperParameters['rate']"))],
        "Searched", "7",
    ),
    "a trial by its place (TrainingJobSummaries)": (
        [says("Ranked", join("", get("Steps.Tune.TrainingJobSummaries[0]"
                                     ".FinalHyperParameterTuningJobObjectiveMetric.Value")))],
        "Ranked", "0.75",
    ),
    "Training whose hyperparameters, instances and channel parameters and steps say": (
        [by_parameters(),
         says("Followed", join("", get("Steps.Follow.FinalMetricDataList['loss'].Value")))],
        "Followed", "0.5",
    ),
    "inputs and outputs that are AppManaged": ([app_managed()], "Managed", "alone"),
    "Model": ([model("Model", MODEL_DATA)], "Model", None),
    "Model of several containers in a row (PipelineModel)": (
        [{"Name": "Row", "Type": "Model", "Arguments": {
            "ExecutionRoleArn": ROLE,
            "Containers": [{"Image": "a", "ModelDataUrl": MODEL_DATA}, {"Image": "b"}]}}],
        "Row", None,
    ),
    "RegisterModel": (
        [register("Register", MODEL_DATA),
         says("Version", join("", get("Steps.Register.ModelPackageVersion")))],
        "Version", "1",
    ),
    "RegisterModel with metrics, and the approval of a parameter": (
        [approved(), says("Approval", get("Steps.Approved.ModelApprovalStatus"))], "Approval", "Approved",
    ),
    "Transform of what a manifest lists, line by line": (
        [by_manifest(scores("ByManifest", get("Steps.Scorer.ModelName"), "s3://bucket/manifest.json",
                            "s3://bucket/by-manifest")),
         reads(says("Listed", "/opt/ml/processing/input/data", program='cp "$1/x.txt.out" "$0/out.txt"'),
               get("Steps.ByManifest.TransformOutput.S3OutputPath"))],
        "Listed", "[given]",
    ),
    "Transform of an output, with a Model": (
        [model("Scorer", "s3://bucket/scorer.tar.gz"),
         scores("Score", get("Steps.Scorer.ModelName"), FIRST_OUTPUT, "s3://bucket/scores"),
         reads(says("Scored", "/opt/ml/processing/input/data", program='cp "$1/out.txt.out" "$0/out.txt"'),
               get("Steps.Score.TransformOutput.S3OutputPath"))],
        "Scored", "[one\n]",
    ),
    "an output that is uploaded while the job runs": (
        [changed(says("Running", "now"), "ProcessingOutputConfig.Outputs",
                 [{"OutputName": "result", "S3Output": {
                     "S3Uri": "s3://bucket/Running", "LocalPath": "/opt/ml/processing/result",
                     "S3UploadMode": "Continuous"}}])],
        "Running", "now",
    ),
}  # fmt: skip


def of_type(kind):
    return {"Name": "Step", "Type": kind, "Arguments": {"A": 1}}


def built_in(name):
    image = "811284229777.dkr.ecr.us-east-1.amazonaws.com/image-classification:1"
    step = changed(training(name), "AlgorithmSpecification.TrainingImage", image)
    return changed(step, "HyperParameters", {"epochs": "3"})


def image_alone(name):
    step = processing(name)
    del step["Arguments"]["AppSpecification"]["ContainerEntrypoint"]
    return step


def several_definitions(name):
    step = tuning(name)
    step["Arguments"]["TrainingJobDefinitions"] = [step["Arguments"].pop("TrainingJobDefinition")]
    return step


def piped(name):
    return changed(
        trains(name, "true"), "InputDataConfig", [channel("s3://bucket/First") | {"InputMode": "Pipe"}]
    )


def transforms(name, **source):
    step = scores(name, "model", "s3://bucket/First", "s3://bucket/out")
    step["Arguments"]["TransformInput"]["DataSource"]["S3DataSource"] |= source
    return step


def into_features(name):
    step = says(name)
    output = {"OutputName": "f", "FeatureStoreOutput": {"FeatureGroupName": "g"}, "AppManaged": True}
    return changed(step, "ProcessingOutputConfig.Outputs", [output])


DATASET = {
    "InputName": "data",
    "DatasetDefinition": {
        "LocalPath": "/opt/ml/processing/d",
        "AthenaDatasetDefinition": {
            "Catalog": "c", "Database": "d", "QueryString": "q", "OutputS3Uri": "s3://bucket/a",
            "OutputFormat": "PARQUET",
        },
    },
}  # fmt: skip
INSTANCES = "ProcessingResources.ClusterConfig.InstanceCount"
# Step types that StartPipelineExecution refuses.
TYPES = (
    "AutoML", "Callback", "ClarifyCheck", "Cleanup", "EMR", "EMRServerless", "Endpoint", "EndpointConfig",
    "ForEach", "InferenceComponent", "Job", "Lineage", "QualityCheck",
)  # fmt: skip
# Kind -> the step that has it, and the words of the refusal, by the start or by the step.
REFUSED = {
    **{f"step type {kind}": (of_type(kind), f"steps of type {kind}") for kind in TYPES},
    "one of AWS's built-in algorithms": (built_in("Step"), "AWS's built-in algorithm image-classification"),
    "processing by what an image holds": (
        image_alone("Step"),
        "no ContainerEntrypoint: the image image is not",
    ),
    "several training job definitions": (
        several_definitions("Step"),
        "TrainingJobDefinitions do not run here",
    ),
    "a custom job prefix": (changed(processing("Step"), "ProcessingJobName", "mine"), "a custom job prefix"),
    "input mode Pipe": (piped("Step"), "InputMode Pipe does not run locally"),
    "a dataset of Athena": (
        changed(says("Step"), "ProcessingInputs", [DATASET]),
        "does not support ProcessingInputs[0].DatasetDefinition",
    ),
    "a dataset of features": (
        into_features("Step"),
        "does not support ProcessingOutputConfig.Outputs[0].FeatureStoreOutput",
    ),
    "a processing input by ManifestFile": (
        reads(says("Step"), "s3://bucket/manifest.json", S3DataType="ManifestFile"),
        "input data: S3DataType ManifestFile does not run locally",
    ),
    "a processing input mode Pipe": (
        reads(says("Step"), "s3://bucket/First", S3InputMode="Pipe"),
        "input data: S3InputMode Pipe does not run locally",
    ),
    "a processing input that is to be unpacked": (
        reads(says("Step"), "s3://bucket/First", S3CompressionType="Gzip"),
        "input data: S3CompressionType Gzip does not run locally",
    ),
    "a processing input without its place": (
        reads(says("Step"), "s3://bucket/First", LocalPath=None),
        "input data: LocalPath is a required parameter",
    ),
    "a training channel by ManifestFile": (
        changed(
            trains("Step", "true"),
            "InputDataConfig",
            [channel("s3://bucket/manifest.json", S3DataType="ManifestFile")],
        ),
        "channel data: only S3DataType S3Prefix runs locally",
    ),
    "a Transform by AugmentedManifestFile": (
        transforms("Step", S3DataType="AugmentedManifestFile"),
        "S3DataType AugmentedManifestFile does not run here",
    ),
    "a program of an image": (
        changed(trains("Step", "true"), "AlgorithmSpecification.ContainerEntrypoint", ["in-the-image"]),
        "the program in-the-image of ContainerEntrypoint is not on this machine",
    ),
    "Not by the key Expression": (
        condition("Step", [{"Type": "Not", "Expression": EQUAL}]),
        "Expression",
    ),
    "several instances": (changed(says("Step"), INSTANCES, 2), "InstanceCount is 2"),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    home = tmp_path_factory.mktemp("constructs") / "home"
    with LocalService(home) as service:
        service.client = functools.cache(service.client)  # each takes half a second to make
        service.client("s3").create_bucket(Bucket="bucket")
        for key, body in {
            "manifest.json": '[{"prefix": "s3://bucket/given/"}, "x.txt"]',
            "given/x.txt": "given",
        }.items():
            service.client("s3").put_object(Bucket="bucket", Key=key, Body=body.encode())
        pack(Home(home), "scorer.tar.gz", app_py=APP)
        bundle = io.BytesIO()
        with tarfile.open(fileobj=bundle, mode="w:gz") as tar:
            member = tarfile.TarInfo("train.py")
            member.size = len(SCRIPT)
            tar.addfile(member, io.BytesIO(SCRIPT.encode()))
        service.client("s3").put_object(Bucket="bucket", Key="code.tar.gz", Body=bundle.getvalue())
        code = "def go(event, context):\n    return {'said': event['word'] + '!', 'count': 3}\n"
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("it.py", code)
        service.client("lambda").create_function(
            FunctionName=FUNCTION.rpartition(":")[2], Runtime="python3.12", Role=ROLE, Handler="it.go",
            Code={"ZipFile": archive.getvalue()},
        )  # fmt: skip
        yield service


def execute(service, name, text, **request):
    """Create or update the pipeline and start it; return the finished execution and its steps by name."""
    sagemaker = service.client("sagemaker")
    try:
        sagemaker.create_pipeline(PipelineName=name, PipelineDefinition=text, RoleArn=ROLE)
    except ClientError as error:
        if "already exists" not in str(error):
            raise
    arn = sagemaker.start_pipeline_execution(PipelineName=name, **request)["PipelineExecutionArn"]
    deadline = time.monotonic() + 120
    while True:
        execution = sagemaker.describe_pipeline_execution(PipelineExecutionArn=arn)
        if execution["PipelineExecutionStatus"] not in ("Executing", "Stopping"):
            break
        assert time.monotonic() < deadline
        time.sleep(0.1)
    steps = sagemaker.list_pipeline_execution_steps(PipelineExecutionArn=arn, MaxResults=100)
    return execution, {step["StepName"]: step for step in steps["PipelineExecutionSteps"]}


def written(service, step):
    body = service.client("s3").get_object(Bucket="bucket", Key=f"{step}/out.txt")["Body"]
    return body.read().decode().rstrip("\n")


@pytest.fixture(scope="module")
def executed(service):
    """One execution of everything in RUN."""
    experiment = {
        "ExperimentName": get("Execution.PipelineName"),
        "TrialName": get("Execution.PipelineExecutionId"),
    }
    steps = (step for steps, _, _ in RUN.values() for step in steps)
    text = document(*steps, parameters=PARAMETERS, PipelineExperimentConfig=experiment)
    given = [{"Name": "Data", "Value": "mine"}]
    parallel = {"MaxParallelExecutionSteps": 4}
    return execute(service, "constructs", text, PipelineParameters=given, ParallelismConfiguration=parallel)


def test_there_are_at_least_29_kinds():
    assert len(RUN) + len(REFUSED) + len(OTHERS) + len(MADE_BY_THE_SDK) >= 29


@pytest.mark.parametrize("kind", RUN)
def test_what_runs_has_the_right_result(service, executed, kind):
    execution, steps = executed
    own, name, expected = RUN[kind]
    failures = {step: found.get("FailureReason") for step, found in steps.items() if "FailureReason" in found}
    statuses = {name: found["StepStatus"] for name, found in steps.items()}
    assert {step["Name"]: statuses.get(step["Name"]) for step in own} == dict.fromkeys(
        (step["Name"] for step in own), "Succeeded"
    ), failures
    if expected is not None:
        assert written(service, name) == expected
    assert execution["PipelineExecutionStatus"] == "Succeeded"
    assert not {"Unmet"} & steps.keys()


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_is_named(service, kind):
    step, told = REFUSED[kind]
    text = document(step)
    name = kind.replace(" ", "-").replace("'", "")
    try:
        execution, steps = execute(service, name, text)
    except ClientError as error:
        reason = error.response["Error"]["Message"]
        assert f"step '{step['Name']}': " in reason
    else:
        assert execution["PipelineExecutionStatus"] == "Failed"
        assert [found["StepStatus"] for found in steps.values()] == ["Failed"]
        reason = steps["Step"]["FailureReason"]
    assert told in reason
    assert "\n" not in reason


def failing(service):
    """Fail, and a step that runs after a failure."""
    steps = [
        says("Breaks", program="exit 3"),
        says("Mends", "mended", DependsOn=[TRIGGERED]),
        says("Never", "never", DependsOn=["Breaks"]),
    ]
    execution, found = execute(service, "failing", document(*steps))
    assert execution["PipelineExecutionStatus"] == "CompletedWithFailures"
    assert {name: step["StepStatus"] for name, step in found.items()} == {
        "Breaks": "Failed",
        "Mends": "Succeeded",
    }
    assert written(service, "Mends") == "mended"


def fails(service):
    step = fail("Low", join(" ", "too low:", get("Parameters.Rate")))
    text = document(condition("Check", [UNEQUAL], [], [step]), parameters=PARAMETERS[2:3])
    execution, found = execute(service, "fails", text)
    assert execution["PipelineExecutionStatus"] == "Failed"
    assert found["Low"]["FailureReason"] == "too low: 0.5"


def cached_and_selected(service):
    text = document(
        says("Kept", "kept", CacheConfig=UNTIL_NEXT_YEAR), says("Fresh", "fresh", DependsOn=["Kept"])
    )
    first_run, _ = execute(service, "cached", text)
    arn = first_run["PipelineExecutionArn"]
    _, found = execute(service, "cached", text)
    assert found["Kept"]["CacheHitResult"] == {"SourcePipelineExecutionArn": arn}
    assert "CacheHitResult" not in found["Fresh"]
    chosen = {"SourcePipelineExecutionArn": arn, "SelectedSteps": [{"StepName": "Fresh"}]}
    execution, found = execute(service, "cached", text, SelectiveExecutionConfig=chosen)
    assert (execution["PipelineExecutionStatus"], found["Fresh"]["StepStatus"]) == ("Succeeded", "Succeeded")
    with pytest.raises(ClientError, match="Invalid SourcePipelineExecutionArn: null"):
        execute(service, "cached", text, SelectiveExecutionConfig={"SelectedSteps": [{"StepName": "Fresh"}]})


def enumerated(service):
    text = document(says("Any", "x"), parameters=PARAMETERS[:1])
    with pytest.raises(ClientError, match="'Kind' is 'c'; expected one of a, b"):
        execute(service, "enumerated", text, PipelineParameters=[{"Name": "Kind", "Value": "c"}])


def from_s3(service):
    text = document(says("FromS3", "s3"))
    service.client("s3").put_object(Bucket="bucket", Key="definition.json", Body=text.encode())
    location = {"Bucket": "bucket", "ObjectKey": "definition.json"}
    sagemaker = service.client("sagemaker")
    sagemaker.create_pipeline(PipelineName="from-s3", PipelineDefinitionS3Location=location, RoleArn=ROLE)
    assert json.loads(
        sagemaker.describe_pipeline(PipelineName="from-s3")["PipelineDefinition"]
    ) == json.loads(text)


# Kinds that need their own execution.
OTHERS = {
    "Trigger: what runs when a step fails": failing,
    "Fail": fails,
    "caching, and executions of selected steps": cached_and_selected,
    "a value that a parameter's list does not have": enumerated,
    "a definition in S3": from_s3,
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_takes_its_own_execution(service, kind):
    OTHERS[kind](service)


def framework(service, _made, steps):
    """FrameworkProcessor, whose runproc.sh unpacks the code."""
    assert steps["Framework"]["StepStatus"] == "Succeeded", steps["Framework"]
    assert written(service, "Framework") == "framework"


def repacked(service, made, steps):
    """ModelStep, whose RepackModel step adds a program to another step's model."""
    [name] = [step["Name"] for step in made if "-RepackModel-" in step["Name"]]
    assert [steps[step]["StepStatus"] for step in ("Train", name, "Register")] == ["Succeeded"] * 3, steps
    arn = steps["Register"]["Metadata"]["RegisterModel"]["Arn"]
    package = service.client("sagemaker").describe_model_package(ModelPackageName=arn)
    bucket, _, key = (
        package["InferenceSpecification"]["Containers"][0]["ModelDataUrl"]
        .removeprefix("s3://")
        .partition("/")
    )
    archive = service.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert {"./weights", "weights"} & set(tar.getnames())
        assert "code/inference.py" in [found.removeprefix("./") for found in tar.getnames()]


def notebook(service, made, _steps):
    """NotebookJobStep is refused, since its program is in an image."""
    text = document(*(step for step in made if step["Name"] == "Notebook"))
    with pytest.raises(ClientError) as refusal:
        execute(service, "notebook", text)
    assert "step 'Notebook': " in str(refusal.value)
    assert "the program amazon_sagemaker_scheduler of ContainerEntrypoint is not on" in str(refusal.value)


# Kinds that the SageMaker SDK v3 builds with its own drivers, which name /opt/ml.
MADE_BY_THE_SDK = {
    "FrameworkProcessor": framework,
    "ModelStep with RepackModel": repacked,
    "NotebookJobStep": notebook,
}


@pytest.fixture(scope="module")
def made(service, tmp_path_factory):
    """The steps that the SDK makes, and those of their execution by name, without what is refused."""
    folder = tmp_path_factory.mktemp("sdk")
    program = [sys.executable, str(Path(definitions.__file__).with_name("sdk_constructs.py")), str(folder)]
    environment = {**os.environ, **service.environment(), "HOME": str(folder)}
    environment["SAGEMAKER_VALIDATE_ROLE"] = "false"
    run = subprocess.run(program, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-5000:]
    made = json.loads(run.stdout.splitlines()[-1])["Steps"]
    _, steps = execute(service, "sdk", document(*(step for step in made if step["Name"] != "Notebook")))
    return made, steps


@pytest.mark.skipif(
    bool(opt_ml._obstacle("own")), reason=f"jobs have no /opt/ml of their own: {opt_ml._obstacle('own')}"
)
@pytest.mark.parametrize("kind", MADE_BY_THE_SDK)
def test_what_the_sdk_makes(service, made, kind):
    MADE_BY_THE_SDK[kind](service, *made)
