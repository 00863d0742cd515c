from dataclasses import replace

from config.deployment import Deployment
from steps import deploy, register


def test_the_invocation(steps, request_of):
    context, splitting, _, training, evaluating = steps()
    step = request_of(deploy.build(context, register.build(context, splitting, training, evaluating)))
    assert (step["Name"], step["Type"]) == ("DeployEndpoint", "Lambda")
    assert step["FunctionArn"] == "arn:aws:lambda:us-east-1:123456789012:function:flowers-deploy"
    assert step["Arguments"] == {
        "model_package_arn": {"Get": "Steps.RegisterModel.ModelPackageArn"},
        "endpoint_name": {"Get": "Parameters.EndpointName"},
        "endpoint_instance_type": {"Get": "Parameters.EndpointInstanceType"},
        "endpoint_instance_count": {"Get": "Parameters.EndpointInstanceCount"},
        "execution_role": "arn:aws:iam::123456789012:role/Execution",
        "deployment_config": Deployment().request,
    }
    assert {item["OutputName"]: item["OutputType"] for item in step["OutputParameters"]} == {
        "deployed": "Boolean",
        "reason": "String",
        "endpoint_name": "String",
        "endpoint_config_name": "String",
        "previous_endpoint_config_name": "String",
    }


def test_a_serverless_endpoint_has_no_instances(steps, request_of):
    context, splitting, _, training, evaluating = steps()
    serverless = Deployment(kind="serverless")
    parameters = {
        name: value for name, value in context.parameters.items() if not name.startswith("EndpointInstance")
    }
    context = replace(
        context, settings=replace(context.settings, deployment=serverless), parameters=parameters
    )
    step = request_of(deploy.build(context, register.build(context, splitting, training, evaluating)))
    assert step["Arguments"]["serverless_config"] == {"MemorySizeInMB": 4096, "MaxConcurrency": 5}
    assert not [name for name in step["Arguments"] if "instance" in name]
