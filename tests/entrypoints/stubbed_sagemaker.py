"""SageMaker's answers to the program deploy, without a server."""

from __future__ import annotations

from typing import Any

import boto3
from botocore.stub import Stubber

from entrypoints import deploy

PACKAGE = "arn:aws:sagemaker:us-east-1:123456789012:model-package/ants-and-bees/7"
ENDPOINT = "ants-and-bees"
ENDPOINT_ARN = f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{ENDPOINT}"
ROLE = "arn:aws:iam::123456789012:role/execution"
EVENT = {
    "model_package_arn": PACKAGE,
    "endpoint_name": ENDPOINT,
    "endpoint_instance_type": "ml.m5.2xlarge",
    "endpoint_instance_count": 1,
    "execution_role": ROLE,
}
MODEL = deploy.name_for(PACKAGE, PACKAGE, ROLE)
CONFIG = deploy.name_for(PACKAGE, PACKAGE, ROLE, "ml.m5.2xlarge", "1")
SERVERLESS = {"MemorySizeInMB": 2048, "MaxConcurrency": 5}
CONFIG_SERVERLESS = deploy.name_for(PACKAGE, PACKAGE, ROLE, "MaxConcurrency=5", "MemorySizeInMB=2048")
CONFIG_OF_TWO = deploy.name_for(PACKAGE, PACKAGE, ROLE, "ml.m5.2xlarge", "2")
TIME = "2026-11-22T10:00:00Z"


class Service:
    """SageMaker as botocore's Stubber: expects the calls in the order in which they are queued here."""

    def __init__(self) -> None:
        self.client = boto3.client(
            "sagemaker", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
        )
        self.stub = Stubber(self.client)
        self.stub.activate()

    def package(self, status: str = "Approved", **more: Any) -> None:
        answer = {
            "ModelPackageName": "ants-and-bees",
            "ModelPackageArn": PACKAGE,
            "CreationTime": TIME,
            "ModelPackageStatus": "Completed",
            "ModelPackageStatusDetails": {"ValidationStatuses": []},
            "ModelApprovalStatus": status,
            **more,
        }
        self.stub.add_response("describe_model_package", answer, {"ModelPackageName": PACKAGE})

    def endpoint(
        self,
        status: str | None,
        config: str = "earlier",
        instances: int | None = None,
        pending: str | None = None,
        serverless: bool = False,
    ) -> None:
        if status is None:
            self.missing("describe_endpoint", f'Could not find endpoint "{ENDPOINT}".', EndpointName=ENDPOINT)
            return
        answer: dict[str, Any] = {
            "EndpointName": ENDPOINT,
            "EndpointArn": ENDPOINT_ARN,
            "EndpointConfigName": config,
            "EndpointStatus": status,
            "CreationTime": TIME,
            "LastModifiedTime": TIME,
        }
        if pending:
            answer["PendingDeploymentSummary"] = {"EndpointConfigName": pending}
        if instances is not None:
            answer["ProductionVariants"] = [{"VariantName": "AllTraffic", "CurrentInstanceCount": instances}]
        if serverless:
            answer["ProductionVariants"] = [
                {"VariantName": "AllTraffic", "CurrentServerlessConfig": SERVERLESS}
            ]
        self.stub.add_response("describe_endpoint", answer, {"EndpointName": ENDPOINT})

    def model(self, exists: bool = False, invisible: int = 0) -> None:
        """`invisible`: how often CreateModel does not find the newly registered model package."""
        if exists:
            answer = {
                "ModelName": MODEL,
                "CreationTime": TIME,
                "ModelArn": "arn:aws:sagemaker:x:y:model/zzzz",
            }
            self.stub.add_response("describe_model", answer, {"ModelName": MODEL})
            return
        self.missing("describe_model", "Could not find model.", ModelName=MODEL)
        for _ in range(invisible):
            self.invisible("create_model", f"Could not find model package {PACKAGE}.")
        self.stub.add_response(
            "create_model",
            {"ModelArn": "arn:aws:sagemaker:us-east-1:123456789012:model/m"},
            {
                "ModelName": MODEL,
                "ExecutionRoleArn": ROLE,
                "Containers": [{"ModelPackageName": PACKAGE}],
            },
        )

    def config(self, exists: bool = False, instances: int = 1, invisible: int = 0) -> None:
        """`invisible`: how often CreateEndpointConfig does not find the newly created model.

        0 instances: it is serverless.
        """
        name = {0: CONFIG_SERVERLESS, 1: CONFIG, 2: CONFIG_OF_TWO}[instances]
        arn = "arn:aws:sagemaker:us-east-1:123456789012:endpoint-config/c"
        if exists:
            answer = {
                "EndpointConfigName": name,
                "EndpointConfigArn": arn,
                "ProductionVariants": [{"VariantName": "AllTraffic"}],
                "CreationTime": TIME,
            }
            self.stub.add_response("describe_endpoint_config", answer, {"EndpointConfigName": name})
            return
        message = "Could not find endpoint configuration."
        self.missing("describe_endpoint_config", message, EndpointConfigName=name)
        for _ in range(invisible):
            self.invisible("create_endpoint_config", f'Could not find model "{MODEL}".')
        variant: dict[str, Any] = {
            "VariantName": "AllTraffic",
            "ModelName": MODEL,
            "InitialVariantWeight": 1.0,
        }
        if instances:
            variant |= {"InstanceType": "ml.m5.2xlarge", "InitialInstanceCount": instances}
        else:
            variant["ServerlessConfig"] = SERVERLESS
        expected = {"EndpointConfigName": name, "ProductionVariants": [variant]}
        self.stub.add_response("create_endpoint_config", {"EndpointConfigArn": arn}, expected)

    def note(self, config: str = "earlier") -> None:
        tag = {"Key": "previous-endpoint-config", "Value": config}
        expected = {"ResourceArn": ENDPOINT_ARN, "Tags": [tag]}
        self.stub.add_response("add_tags", {"Tags": [tag]}, expected)

    def noted(self, config: str | None) -> None:
        tags = [{"Key": "team", "Value": "vision"}]
        tags += [{"Key": "previous-endpoint-config", "Value": config}] if config else []
        self.stub.add_response("list_tags", {"Tags": tags}, {"ResourceArn": ENDPOINT_ARN})

    def change(self, operation: str, **more: Any) -> None:
        names = {"EndpointName": ENDPOINT}
        if operation == "delete_endpoint":
            self.stub.add_response(operation, {}, names)
        else:
            expected = {**names, "EndpointConfigName": CONFIG, **more}
            self.stub.add_response(operation, {"EndpointArn": ENDPOINT_ARN}, expected)

    def invisible(self, operation: str, message: str) -> None:
        self.stub.add_client_error(operation, "ValidationException", message)

    def missing(self, operation: str, message: str, **expected: str) -> None:
        self.stub.add_client_error(operation, "ValidationException", message, expected_params=expected)

    def deploy(self, **changes: object) -> dict[str, Any]:
        return deploy.deploy(self.client, {**EVENT, **changes})
