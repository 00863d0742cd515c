"""The endpoints of this deployment: list them, put another version behind one, go back, delete.

An endpoint costs as long as it exists, asked or not. The registered versions of the model outlive it: `deploy`
brings a deleted endpoint back.

  endpoints.py list
  endpoints.py deploy --version 3
  endpoints.py rollback
  endpoints.py delete
"""

from __future__ import annotations

if not __package__:
    import root  # noqa: F401

import argparse
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from rich.table import Table

import scripts.command as command
from config.parameters import INSTANCE_TYPE
from config.settings import Settings
from entrypoints import contract
from scripts import aws_errors, removal, served, versions

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_sagemaker.client import SageMakerClient

    from scripts.served import Served
    from scripts.versions import Version

READS = {
    "list": ("name", "region"),
    "show": ("name", "region"),
    "deploy": ("name", "region", "execution_role", "deployment"),
    "rollback": ("name", "region", "execution_role"),
    "delete": ("name", "region"),
}


def list_endpoints(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print a table of the endpoints that serve the deployment's model."""
    sagemaker = command.session(arguments, settings).client("sagemaker")
    group = settings.model_package_group_name
    found = list(served.of_group(sagemaker, group, command.default(settings, "EndpointName")))
    if not found:
        command.output.print(
            f"No endpoint serves {group} in {settings.region}. Put the newest approved version behind one "
            f"with {_typed('deploy', arguments, settings)}",
            soft_wrap=True,
        )
        return 0
    table = Table("endpoint", "status", "version", "accuracy", "on", "since")
    for item in found:
        accuracy = versions.accuracy(sagemaker, item.package) if item.group else ""
        since = f"{item.since.astimezone():%Y-%m-%d %H:%M}"
        table.add_row(item.endpoint, item.status, _version(item), accuracy or "–", item.hosting, since)
    command.output.print(table)
    return 0


def show(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print what an endpoint serves, and the versions that it could serve."""
    sagemaker = command.session(arguments, settings).client("sagemaker")
    group = settings.model_package_group_name
    item = _found(sagemaker, arguments, settings, "there is nothing to show")
    before = versions.served_before(sagemaker, item.endpoint_arn)
    rows = {
        "endpoint": item.endpoint,
        "status": item.status + (f": {item.reason}" if item.reason else ""),
        "since": f"{item.since.astimezone():%Y-%m-%d %H:%M}",
        "serves": f"version {item.version} of {item.group}" if item.group else item.model or "unknown",
        "before": f"version {before.rpartition('/')[2]}" if before and before != item.package else "",
        "on": item.hosting,
        "endpoint config": item.config,
        "model": item.model,
    }
    for name, value in rows.items():
        if value:
            command.output.print(f"{name}: {value}", soft_wrap=True)
    table = Table("version", "status", "accuracy")
    for number, version in sorted(versions.of_group(sagemaker, group).items(), reverse=True):
        serving = " (serves)" if version.arn == item.package else ""
        table.add_row(f"{number}{serving}", version.status, versions.accuracy(sagemaker, version.arn) or "–")
    if table.row_count:
        command.output.print(table)
    return 0


def deploy(arguments: argparse.Namespace, settings: Settings) -> int:
    """Put a version behind the endpoint, new or not, and wait until it serves."""
    session = command.session(arguments, settings)
    command.refuse_placeholders(settings, "execution_role")
    sagemaker = session.client("sagemaker")
    name, group = command.endpoint(arguments, settings), settings.model_package_group_name
    approving = None if arguments.approve else f"{shlex.join(_as_typed(arguments))} --approve"
    version = versions.to_serve(versions.of_group(sagemaker, group), group, arguments.version, approving)
    current = _find(sagemaker, name)
    if current and current.group.lower() != group.lower():
        command.fail(
            f"endpoint {name} serves {current.model or 'what nobody knows'}, which is not from model package "
            f"group {group}; name another one with --endpoint"
        )
    instance_type, instance_count = _instances(arguments, settings, current)
    _say_deployment(name, group, version, current, f"{instance_count} {instance_type}")
    if version.status != versions.APPROVED:
        command.console.print(f"version {version.number} is {version.status} and becomes Approved")
    if not command.confirm("Deploy it?", arguments):
        command.console.print("Nothing is changed.")
        return 1
    if version.status != versions.APPROVED:
        versions.set_status(sagemaker, version.arn, versions.APPROVED, "Deployed with endpoints.py")
    from scripts import deploying  # it imports the deploying function's boto3

    event = deploying.event_for(settings, version.arn, name, instance_type, instance_count)
    event[contract.DEPLOYMENT_CONFIG] = settings.deployment.request
    return _put_behind(session, arguments, settings, event, wait=True)


def roll_back(arguments: argparse.Namespace, settings: Settings) -> int:
    """Put the version behind the endpoint that it served before, or the one that was named.

    Which version it serves is asked of SageMaker. It stays on the same instances; all traffic moves at once.
    """
    session = command.session(arguments, settings)
    command.refuse_placeholders(settings, "execution_role")
    sagemaker = session.client("sagemaker")
    current = _found(sagemaker, arguments, settings, "there is nothing to go back to")
    if not current.group:
        command.fail(
            f"endpoint {current.endpoint} serves {current.model or 'what nobody knows'}, which is not a "
            "version of a model package group; put another one behind it with the AWS CLI"
        )
    packages = versions.of_group(sagemaker, current.group)
    before = versions.served_before(sagemaker, current.endpoint_arn) if arguments.to is None else ""
    version = versions.to_go_back_to(packages, current, arguments.to, before)
    _say_deployment(current.endpoint, current.group, version, current, current.hosting)
    if arguments.reject:
        command.console.print(f"version {current.version} becomes Rejected: nothing deploys it again")
    if not command.confirm("Go back?", arguments):
        command.console.print("Nothing is changed.")
        return 1
    from scripts import deploying  # it imports the deploying function's boto3

    event = deploying.event_for(
        settings, version.arn, current.endpoint, current.instance_type, current.instance_count
    )
    rejected = current if arguments.reject else None
    return _put_behind(session, arguments, settings, event, wait=arguments.wait, rejected=rejected)


def delete(arguments: argparse.Namespace, settings: Settings) -> int:
    """Delete an endpoint, or what deleted ones have left, after asking."""
    name = None if arguments.remains else command.endpoint(arguments, settings)
    sagemaker = command.session(arguments, settings).client("sagemaker")
    found = removal.find(sagemaker, name, settings.model_package_group_name)
    if not (found.endpoint or found.configs or found.models):
        command.output.print("Nothing remains of deleted endpoints.")
        return 0
    for kind, names in (
        ("endpoint", [found.endpoint] if found.endpoint else []),
        ("endpoint config", found.configs),
        ("model", found.models),
    ):
        for item in names:
            command.console.print(f"{kind}: {item}")
    if found.endpoint:
        command.console.print(f"While the endpoint exists it costs money: {COST}.", soft_wrap=True)
    if found.staying:
        command.console.print(
            f"{len(found.staying)} older endpoint configs stay: other endpoints may have had them; "
            "--remains deletes what no endpoint needs",
            soft_wrap=True,
        )
    if not command.confirm("Delete all of this?", arguments):
        command.console.print("Nothing is deleted.")
        return 1
    removal.delete(sagemaker, found)
    command.output.print(
        f"Deleted {found.endpoint or 'remains'}: "
        f"{len(found.configs)} endpoint configs, {len(found.models)} models."
    )
    return 0
