"""Create or update the pipeline, the function that deploys and the model package group.

Nothing is executed: start executions in Studio or with scripts/start_execution.py. --dry-run sends nothing;
it prints the definition on stdout and what would change in the live one on stderr.
"""

from __future__ import annotations

if not __package__:
    import root  # noqa: F401

import base64
import hashlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

import scripts.command as command
from config.settings import Settings
from pipeline.definition import canonical, diff
from steps import code
from steps.wheels import WheelsError

if TYPE_CHECKING:
    import boto3

RUNTIME = "python3.12"
# The function waits up to 90 s for an endpoint that is being deleted; the rest is a few calls. A Lambda step
# may take 600 s (developer guide, "Lambda step").
TIMEOUT_S = 240
MEMORY_MB = 256


def definition(settings: Settings) -> str:
    """The pipeline's definition, canonical; asks nobody."""
    with command.status("building the definition"):
        from pipeline.pipeline import build_pipeline, pipeline_session  # 4 s: the SDK

        return canonical(build_pipeline(settings, pipeline_session(settings)).definition())


def upsert(settings: Settings, session: boto3.Session, new: str) -> list[str]:
    """Put the code, the function, the group and the pipeline in place; what was done, a line each.

    Raises:
        ClientError: AWS refused.
        Failure: a wheel that the bundles bring cannot be fetched.
    """
    bundles = code.bundles(package_source=settings.package_source)
    try:
        uploaded = code.upload(session.client("s3"), settings, bundles.values())
    except WheelsError as error:
        command.fail(str(error))
    return [
        f"code in s3://{settings.bucket}: {len(uploaded)} objects uploaded",
        _upsert_function(session.client("lambda"), settings, bundles["deploy"].archive()),
        _upsert_group(session.client("sagemaker"), settings),
        _upsert_pipeline(session.client("sagemaker"), settings, new),
    ]


def live_definition(session: boto3.Session, settings: Settings) -> str | None:
    """The definition in the account; None if there is no such pipeline."""
    try:
        answer = session.client("sagemaker").describe_pipeline(PipelineName=settings.pipeline_name)
    except ClientError as error:
        if command.is_missing(error):
            return None
        raise
    return answer["PipelineDefinition"]


def _check_bucket(client: Any, bucket: str) -> None:
    try:
        client.head_bucket(Bucket=bucket)
    except ClientError as error:
        reason = error.response["Error"]["Code"]
        if reason == "404":
            command.fail(
                f"bucket {bucket} does not exist; create it with aws s3 mb s3://{bucket}, or set bucket"
            )
        if reason == "403":
            command.fail(
                f"bucket {bucket} belongs to someone else or these credentials may not use it; set bucket"
            )
        raise


def _upsert_function(client: Any, settings: Settings, archive: bytes) -> str:
    name = settings.function_name
    config = {
        "Runtime": RUNTIME,
        "Role": settings.lambda_role,
        "Handler": code.FUNCTION_HANDLER,
        "Timeout": TIMEOUT_S,
        "MemorySize": MEMORY_MB,
        "Description": "Deploys a model package to an endpoint; called by the pipeline's step DeployEndpoint",
    }
    try:
        live = client.get_function_configuration(FunctionName=name)
    except ClientError as error:
        if not command.is_missing(error):
            raise
        client.create_function(
            FunctionName=name, Code={"ZipFile": archive}, Tags=dict(settings.tags), **config
        )
        client.get_waiter("function_active_v2").wait(FunctionName=name)
        return f"function {name}: created"
    changed = False
    if live["CodeSha256"] != base64.b64encode(hashlib.sha256(archive).digest()).decode():
        client.update_function_code(FunctionName=name, ZipFile=archive)
        client.get_waiter("function_updated_v2").wait(FunctionName=name)
        changed = True
    if any(live.get(key) != value for key, value in config.items()):
        client.update_function_configuration(FunctionName=name, **config)
        client.get_waiter("function_updated_v2").wait(FunctionName=name)
        changed = True
    return f"function {name}: {'updated' if changed else 'unchanged'}"


def _upsert_group(client: Any, settings: Settings) -> str:
    name = settings.model_package_group_name
    try:
        client.describe_model_package_group(ModelPackageGroupName=name)
    except ClientError as error:
        if not command.is_missing(error):
            raise
        client.create_model_package_group(
            ModelPackageGroupName=name,
            ModelPackageGroupDescription=f"Image classifiers of the pipeline {settings.pipeline_name}",
            Tags=_tags(settings),
        )
        return f"model package group {name}: created"
    return f"model package group {name}: unchanged"


def _upsert_pipeline(client: Any, settings: Settings, new: str) -> str:
    name = settings.pipeline_name
    request = {
        "PipelineName": name,
        "PipelineDisplayName": name,
        "PipelineDescription": "Splits, tunes, trains, evaluates, registers and deploys an image classifier",
        "PipelineDefinition": new,
        "RoleArn": settings.execution_role,
    }
    try:
        live = client.describe_pipeline(PipelineName=name)
    except ClientError as error:
        if not command.is_missing(error):
            raise
        client.create_pipeline(**request, Tags=_tags(settings))
        return f"pipeline {name}: created"
    changes = diff(live["PipelineDefinition"], new)
    if not changes and live["RoleArn"] == settings.execution_role:
        return f"pipeline {name}: unchanged"
    client.update_pipeline(**request)
    lines = sum(line[0] in "+-" and line[:3] not in ("+++", "---") for line in changes)
    return f"pipeline {name}: updated, {lines} lines of its definition"


def _tags(settings: Settings) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in settings.tags.items()]


def _dry_run(settings: Settings, session: boto3.Session, new: str) -> None:
    sys.stdout.write(new)
    say = command.console.print
    try:
        live = live_definition(session, settings)
    except (BotoCoreError, ClientError) as error:  # the definition is worth having without an account
        say(f"not compared with the live pipeline: {command.explain(error)}", soft_wrap=True)
        return
    if live is None:
        say(f"There is no pipeline {settings.pipeline_name} yet; upserting would create it.")
        return
    changes = diff(live, new)
    say("\n".join(changes) if changes else "Nothing would change.", soft_wrap=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = command.parser(__doc__ or "", command.UPSERTED)
    parser.add_argument("--dry-run", action="store_true", help="print the definition and the changes only")
    parser.add_argument("--no-debugger", action="store_true", help="the same as --set debugger.enabled=false")
    arguments = parser.parse_args(argv)
    if arguments.no_debugger:
        arguments.overrides.append("debugger.enabled=false")
    settings = command.settings(arguments)
    session = command.session(arguments, settings)
    if arguments.dry_run:
        _dry_run(settings, session, definition(settings))
        return 0
    command.refuse_placeholders(settings, *command.UPSERTED)
    _check_bucket(session.client("s3"), settings.bucket)  # before the SDK takes its time
    for line in upsert(settings, session, definition(settings)):
        command.output.print(line, soft_wrap=True)
    if settings.debugger.enabled:
        command.console.print(
            "Debugger and Profiler are on. Debugger is closed to new customers since 2026-07-30: if AWS"
            " refuses TrainModel for it, upsert again with --no-debugger.",
            soft_wrap=True,
        )
    return 0


if __name__ == "__main__":
    command.run(main)
