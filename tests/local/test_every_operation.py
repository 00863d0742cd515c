"""Every operation that the service answers itself, over the wire.

Of SageMaker, CloudWatch Logs, Service Quotas, Lambda and EventBridge Scheduler.

answers_have_their_shapes (conftest.py) compares all answers with AWS's model. Lambda's are also compared with
AWS's examples, which come with botocore (data/lambda/.../examples-1.json). The API references of SageMaker
and CloudWatch Logs have only the syntax, which is the model.
"""

import io
import time
import zipfile

import botocore.loaders
import pytest

from local.home.home import Home
from local.service import LocalService
from local.wire.operations import ControlPlane, service_model
from tests.local.answer_shapes import missing, problems
from tests.local.definitions import ROLE, document, processing
from tests.local.endpoint_service import APP, pack
from tests.local.job_requests import processing_request, put, training_request
from tests.local.transform_requests import transform_request

EXAMPLES = botocore.loaders.Loader().load_service_model("lambda", "examples-1")["examples"]
# Members in Lambda's examples that this test's function does not have.
NOT_ASKED = {"Environment", "KMSKeyArn", "VpcConfig", "NextMarker"}
STATUSES = {"InProgress", "Creating", "Updating", "Deleting", "Executing", "Stopping"}


def settled(describe, key, **names):
    """The described resource, once its status is final."""
    deadline = time.monotonic() + 60
    while (found := describe(**names))[key] in STATUSES:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def sagemaker_scenario(sm, home):
    """Every operation of SageMaker."""

    def stop(kind, name):
        key = "".join(word.capitalize() for word in kind.split("_"))
        getattr(sm, f"list_{kind}s")()
        getattr(sm, f"stop_{kind}")(**{f"{key}Name": name})
        settled(getattr(sm, f"describe_{kind}"), f"{key}Status", **{f"{key}Name": name})

    pack(home, "m.tar.gz", app_py=APP)
    image = {"Image": "image", "ModelDataUrl": "s3://bucket/m.tar.gz"}
    sm.create_model(ModelName="m", PrimaryContainer=image, ExecutionRoleArn=ROLE)
    sm.describe_model(ModelName="m")
    sm.list_models()
    variant = {
        "VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large",
    }  # fmt: skip
    for name in ("first", "second"):
        sm.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sm.describe_endpoint_config(EndpointConfigName="first")
    sm.list_endpoint_configs()
    sm.create_endpoint(EndpointName="e", EndpointConfigName="first")

    sm.create_processing_job(**processing_request("print('hello')"))
    settled(sm.describe_processing_job, "ProcessingJobStatus", ProcessingJobName="p")
    asleep = "import time; time.sleep(60)"
    request = processing_request(asleep, ProcessingJobName="asleep")
    arn = sm.create_processing_job(**request)["ProcessingJobArn"]
    sm.add_tags(ResourceArn=arn, Tags=[{"Key": "k", "Value": "v"}])
    sm.list_tags(ResourceArn=arn)
    sm.delete_tags(ResourceArn=arn, TagKeys=["k"])
    stop("processing_job", "asleep")
    request = training_request(asleep)
    sm.create_training_job(**request)
    stop("training_job", "t")
    sm.create_transform_job(**transform_request("x", "s3://b/in"))
    stop("transform_job", "x")  # long before its model is up
    definition = {
        key: request[key]
        for key in ("OutputDataConfig", "ResourceConfig", "StoppingCondition", "RoleArn", "InputDataConfig")
    }
    algorithm = {"TrainingImage": "image", "TrainingInputMode": "File"}
    algorithm["MetricDefinitions"] = [{"Name": "acc", "Regex": "acc=([0-9.]+)"}]
    script = {"sagemaker_program": "a.py", "sagemaker_submit_directory": "s3://b/none.tar.gz"}
    ranges = {"ContinuousParameterRanges": [{"Name": "lr", "MinValue": "0.1", "MaxValue": "0.2"}]}
    sm.create_hyper_parameter_tuning_job(
        HyperParameterTuningJobName="h",
        HyperParameterTuningJobConfig={
            "Strategy": "Random",
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 1, "MaxParallelTrainingJobs": 1},
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "acc"},
            "ParameterRanges": ranges,
        },
        TrainingJobDefinition={
            **definition, "AlgorithmSpecification": algorithm, "StaticHyperParameters": script,
        },
    )  # fmt: skip
    stop("hyper_parameter_tuning_job", "h")
    sm.list_training_jobs_for_hyper_parameter_tuning_job(HyperParameterTuningJobName="h")

    sm.create_model_package_group(ModelPackageGroupName="g")
    sm.describe_model_package_group(ModelPackageGroupName="g")
    sm.list_model_package_groups()
    containers = {"Containers": [image], "SupportedContentTypes": ["a/b"]}
    containers["SupportedResponseMIMETypes"] = ["a/b"]
    package = sm.create_model_package(ModelPackageGroupName="g", InferenceSpecification=containers)
    arn = package["ModelPackageArn"]
    sm.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Approved")
    sm.describe_model_package(ModelPackageName=arn)
    sm.list_model_packages(ModelPackageGroupName="g")
    sm.delete_model_package(ModelPackageName=arn)
    sm.delete_model_package_group(ModelPackageGroupName="g")

    step = {"Name": "Low", "Type": "Fail", "Arguments": {"ErrorMessage": "low"}}
    parameter = {"Name": "Kind", "Type": "String", "DefaultValue": "a"}
    text = document(step, parameters=[parameter])
    sm.create_pipeline(PipelineName="l", PipelineDefinition=text, RoleArn=ROLE, ClientRequestToken="c" * 32)
    sm.update_pipeline(PipelineName="l", PipelineDescription="fails")
    sm.describe_pipeline(PipelineName="l")
    sm.list_pipelines()
    run = {"PipelineExecutionArn": sm.start_pipeline_execution(PipelineName="l")["PipelineExecutionArn"]}
    settled(sm.describe_pipeline_execution, "PipelineExecutionStatus", **run)
    sm.update_pipeline_execution(**run, PipelineExecutionDescription="failed")
    sm.describe_pipeline_definition_for_execution(**run)
    sm.list_pipeline_execution_steps(**run)
    sm.list_pipeline_executions(PipelineName="l")
    sm.list_pipeline_parameters_for_execution(**run)
    step = processing("Sleep")
    step["Arguments"]["AppSpecification"]["ContainerEntrypoint"] = ["/bin/sleep", "60"]
    sm.update_pipeline(PipelineName="l", PipelineDefinition=document(step))
    run = {"PipelineExecutionArn": sm.start_pipeline_execution(PipelineName="l")["PipelineExecutionArn"]}
    sm.stop_pipeline_execution(**run, ClientRequestToken="c" * 32)
    settled(sm.describe_pipeline_execution, "PipelineExecutionStatus", **run)
    sm.retry_pipeline_execution(**run, ClientRequestToken="c" * 32)
    sm.stop_pipeline_execution(**run, ClientRequestToken="c" * 32)
    settled(sm.describe_pipeline_execution, "PipelineExecutionStatus", **run)
    sm.delete_pipeline(PipelineName="l", ClientRequestToken="c" * 32)

    settled(sm.describe_endpoint, "EndpointStatus", EndpointName="e")
    sm.list_endpoints()
    sm.update_endpoint(EndpointName="e", EndpointConfigName="second")
    settled(sm.describe_endpoint, "EndpointStatus", EndpointName="e")
    sm.delete_endpoint(EndpointName="e")
    sm.delete_endpoint_config(EndpointConfigName="first")
    sm.delete_model(ModelName="m")


def logs_scenario(logs):
    """Every operation of CloudWatch Logs, on the log of the processing job p."""
    group = {"logGroupName": "/aws/sagemaker/ProcessingJobs"}
    logs.describe_log_groups()
    stream = logs.describe_log_streams(**group)["logStreams"][0]["logStreamName"]
    logs.get_log_events(**group, logStreamName=stream)
    logs.filter_log_events(**group)
    logs.delete_log_group(**group)
    with pytest.raises(logs.exceptions.ResourceNotFoundException):
        logs.delete_log_group(**group)
    assert group["logGroupName"] not in [it["logGroupName"] for it in logs.describe_log_groups()["logGroups"]]


def quotas_scenario(quotas):
    """The operations of Service Quotas."""
    quotas.list_service_quotas(ServiceCode="sagemaker")
    quotas.list_aws_default_service_quotas(ServiceCode="sagemaker")


def lambda_scenario(functions):
    """Every operation of Lambda, on one function."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("it.py", "def go(event, context):\n    return 'said'\n")
    code = {"ZipFile": archive.getvalue()}
    name = {"FunctionName": "f"}
    arn = functions.create_function(
        **name, Runtime="python3.12", Role=ROLE, Handler="it.go", Code=code, Tags={"DEPARTMENT": "pictures"},
        Description="says",
    )["FunctionArn"]  # fmt: skip
    functions.get_function(**name)
    functions.get_function_configuration(**name)
    functions.update_function_code(**name, **code)
    functions.update_function_configuration(**name, Timeout=9)
    functions.list_functions()
    functions.tag_resource(Resource=arn, Tags={"l": "w"})
    functions.list_tags(Resource=arn)
    functions.invoke(**name)["Payload"].read()
    functions.delete_function(**name)


def scheduler_scenario(scheduler):
    """Every operation of EventBridge Scheduler, on one schedule of one group."""
    arn = scheduler.create_schedule_group(Name="g")["ScheduleGroupArn"]
    scheduler.get_schedule_group(Name="g")
    scheduler.list_schedule_groups()
    scheduler.tag_resource(ResourceArn=arn, Tags=[{"Key": "k", "Value": "v"}])
    scheduler.list_tags_for_resource(ResourceArn=arn)
    scheduler.untag_resource(ResourceArn=arn, TagKeys=["k"])
    schedule = {
        "Name": "s", "GroupName": "g", "ScheduleExpression": "cron(0 3 1 1 ? 2190)",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": "arn:aws:sagemaker:us-east-1:123456789012:pipeline/p", "RoleArn": ROLE},
    }  # fmt: skip
    scheduler.create_schedule(**schedule)
    scheduler.get_schedule(Name="s", GroupName="g")
    scheduler.update_schedule(**schedule, State="DISABLED")
    scheduler.list_schedules()
    scheduler.delete_schedule(Name="s", GroupName="g")
    scheduler.delete_schedule_group(Name="g")


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """The answers to each operation, and the operations of the services with a control plane."""
    answers, planes = {}, []
    init = ControlPlane.__init__

    def noted(plane, operations, *arguments, **more):
        planes.extend(operations)
        init(plane, operations, *arguments, **more)

    def note(parsed, model, **_):
        answers.setdefault(model.name, []).append(parsed)

    home = tmp_path_factory.mktemp("every") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ControlPlane, "__init__", noted)
        service = LocalService(home)
    with service:
        clients = {
            name: service.client(name)
            for name in ("sagemaker", "logs", "lambda", "scheduler", "service-quotas")
        }
        for name, client in clients.items():
            client.meta.events.register(f"after-call.{name}", note)
        put(Home(home), "s3://b/in/x", "x")
        sagemaker_scenario(clients["sagemaker"], Home(home))
        logs_scenario(clients["logs"])
        quotas_scenario(clients["service-quotas"])
        lambda_scenario(clients["lambda"])
        scheduler_scenario(clients["scheduler"])
    return answers, planes


def test_every_operation_is_asked(asked):
    answers, operations = asked
    assert len(operations) >= 60
    assert not set(operations) - answers.keys()


def test_scheduler_answers_as_its_model_says(asked):
    answers, _ = asked
    model = service_model("scheduler")
    for operation in model.operation_names:
        for answer in answers[operation]:
            told = {key: value for key, value in answer.items() if key != "ResponseMetadata"}
            shape = model.operation_model(operation).output_shape
            assert shape is None or not problems(told, shape), operation


def test_lambda_answers_have_what_the_documentation_shows(asked):
    answers, _ = asked
    compared = [name for name in EXAMPLES if name in answers and name not in ("ListTags", "Invoke")]
    assert len(compared) >= 7, compared
    model = service_model("lambda")
    for operation in compared:
        for answer in answers[operation]:
            told = {key: value for key, value in answer.items() if key != "ResponseMetadata"}
            shape = model.operation_model(operation).output_shape
            assert shape is None or not problems(told, shape), operation
        assert not missing(answers[operation], EXAMPLES[operation], NOT_ASKED), operation
