"""DeployEndpoint: a Lambda function creates or updates the endpoint from the model package."""

from entrypoints.contract import (
    DEPLOYED,
    DEPLOYMENT_CONFIG,
    ENDPOINT_CONFIG_NAME,
    ENDPOINT_INSTANCE_COUNT,
    ENDPOINT_INSTANCE_TYPE,
    ENDPOINT_NAME,
    EXECUTION_ROLE,
    MODEL_PACKAGE_ARN,
    PREVIOUS_ENDPOINT_CONFIG_NAME,
    REASON,
    SERVERLESS_CONFIG,
)
from steps.context import Context
from steps.register import RegisterStep
from steps.sdk import Lambda, LambdaOutput, LambdaOutputTypeEnum, LambdaStep

NAME = "DeployEndpoint"


def build(context: Context, registering: RegisterStep) -> LambdaStep:
    """An invocation of the deploying function, which exists before the pipeline runs."""
    parameters, deployment = context.parameters, context.settings.deployment
    hosting = (
        {SERVERLESS_CONFIG: deployment.serverless}
        if deployment.serverless
        else {
            ENDPOINT_INSTANCE_TYPE: parameters["EndpointInstanceType"],
            ENDPOINT_INSTANCE_COUNT: parameters["EndpointInstanceCount"],
        }
    )
    return LambdaStep(
        name=NAME,
        display_name="Deploy endpoint",
        description="Creates or updates the endpoint, if the model package is approved",
        lambda_func=Lambda(function_arn=context.settings.function_arn, session=context.session),
        inputs={
            MODEL_PACKAGE_ARN: registering.properties.ModelPackageArn,
            ENDPOINT_NAME: parameters["EndpointName"],
            **hosting,
            EXECUTION_ROLE: context.settings.role("endpoint"),
            DEPLOYMENT_CONFIG: deployment.request,
        },
        outputs=[
            LambdaOutput(DEPLOYED, LambdaOutputTypeEnum.Boolean),
            *(
                LambdaOutput(name)
                for name in (REASON, ENDPOINT_NAME, ENDPOINT_CONFIG_NAME, PREVIOUS_ENDPOINT_CONFIG_NAME)
            ),
        ],
    )
