"""The endpoints of this deployment: list them, put another version behind one, go back, delete.

An endpoint costs money as long as it exists, used or not. The registered versions of the model outlive it:
`deploy` brings a deleted endpoint back.

  endpoints.py list
  endpoints.py deploy --version 3
  endpoints.py rollback
  endpoints.py delete
"""

from __future__ import annotations

if not __package__:
    import root  # noqa: F401

import argparse
from collections.abc import Sequence

from rich.table import Table

import scripts.command as command
from config.settings import Settings
from scripts import deploying, removal, served, versions
from scripts.prices import HOURS_PER_MONTH, Prices
from scripts.served import Hosting

# The settings that have an effect, by command.
READS = {
    "list": ("name", "region"),
    "show": ("name", "region"),
    "deploy": ("name", "region", "execution_role", "endpoint_role", "deployment"),
    "rollback": ("name", "region", "execution_role", "endpoint_role"),
    "delete": ("name", "region"),
}


def list_endpoints(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print a table of the endpoints that serve the deployment's model."""
    session = command.session(arguments, settings)
    sagemaker, prices = session.client("sagemaker"), Prices(session, settings.region)
    group = settings.model_package_group_name
    found = list(served.of_group(sagemaker, group, command.default(settings, "EndpointName")))
    if not found:
        command.output.print(
            f"No endpoint serves {group} in {settings.region}. Put the newest approved version behind one "
            f"with {command.another(arguments, 'endpoints.py', 'deploy')}",
            soft_wrap=True,
        )
        return 0
    table = Table("endpoint", "status", "version", "accuracy", "on", "costs", "since")
    for item in found:
        accuracy = versions.accuracy(sagemaker, item.package) if item.group else ""
        since = f"{item.since.astimezone():%Y-%m-%d %H:%M}"
        version = str(item.version) if item.group else item.serves
        table.add_row(
            item.endpoint, item.status, version, accuracy or "–", str(item.hosting),
            cost(item.hosting, prices), since,
        )  # fmt: skip
    command.output.print(table)
    _note(prices)
    return 0


def cost(hosting: Hosting, prices: Prices) -> str:
    """What an endpoint costs while it exists, in words."""
    if hosting.serverless:
        return "by the request"
    price = prices.of(hosting.instance_type, "endpoint") if hosting else None
    if price is None:
        return "unknown"
    hour = price.per_hour * hosting.instance_count
    return f"{hour:.2f} {price.currency} an hour, {hour * HOURS_PER_MONTH:.0f} a month"


def _note(prices: Prices) -> None:
    """Say where the prices come from, if not from AWS's price list."""
    if prices.note:
        command.console.print(prices.note, soft_wrap=True)


def show(arguments: argparse.Namespace, settings: Settings) -> int:
    """Print what an endpoint serves, and the versions that it could serve."""
    session = command.session(arguments, settings)
    sagemaker, prices = session.client("sagemaker"), Prices(session, settings.region)
    group = settings.model_package_group_name
    name = command.endpoint(arguments, settings)
    if (item := served.find_any(sagemaker, name)) is None:
        raise served.no_endpoint(sagemaker, name, group, "there is nothing to show")
    before = versions.served_before(sagemaker, item.endpoint_arn)
    rows = {
        "endpoint": item.endpoint,
        "status": item.status + (f": {item.reason}" if item.reason else ""),
        "since": f"{item.since.astimezone():%Y-%m-%d %H:%M}",
        "serves": item.serves,
        "before": f"version {before.rpartition('/')[2]}" if before and before != item.package else "",
        "on": str(item.hosting),
        "costs": cost(item.hosting, prices),
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
    _note(prices)
    return 0


def delete(arguments: argparse.Namespace, settings: Settings) -> int:
    """Delete an endpoint, or what deleted ones have left, after asking."""
    name = None if arguments.remains else command.endpoint(arguments, settings)
    session = command.session(arguments, settings)
    sagemaker = session.client("sagemaker")
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
    if found.endpoint and (endpoint := served.find_any(sagemaker, found.endpoint)):
        prices = Prices(session, settings.region)
        command.console.print(f"it costs, while it exists: {cost(endpoint.hosting, prices)}", soft_wrap=True)
        _note(prices)
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


RUN = {
    "list": list_endpoints,
    "show": show,
    "deploy": deploying.deploy,
    "rollback": deploying.roll_back,
    "delete": delete,
}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    settings = command.settings(arguments)
    return RUN[arguments.command](arguments, settings)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    commands = command.commands(__doc__ or "")

    def add(name: str, description: str) -> argparse.ArgumentParser:
        return command.add_command(commands, name, description, READS[name])

    add("list", "List the endpoints that serve the model. With status, version, accuracy and instances.")
    parser = add("show", "Show an endpoint. What it serves, what it served before, and all versions.")
    command.add_endpoint(parser, positional=True)
    parser = add(
        "deploy",
        "Put a version behind an endpoint, also behind one that was deleted. The deploying function of the "
        "pipeline does it, the way DeployEndpoint does; only VerifyEndpoint's questions are not asked.",
    )
    command.add_endpoint(parser)
    parser.add_argument("--version", type=int, metavar="N", help="the version (the newest Approved one)")
    parser.add_argument("--approve", action="store_true", help="approve the version first, if it is not")
    parser.add_argument(
        "--instance-type", type=deploying.instance_type, metavar="TYPE", help="as it is, or the default"
    )
    parser.add_argument(
        "--instance-count", type=deploying.count, metavar="N", help="as it is, or the default"
    )
    parser.add_argument("--yes", action="store_true", help="deploy without asking")
    parser = add(
        "rollback",
        "Put the version before back behind an endpoint. That is the one that it served before, where "
        "DeployEndpoint noted an earlier approved version; else the newest approved one before the current. "
        "The endpoint keeps its instances, and all traffic moves at once.",
    )
    command.add_endpoint(parser, positional=True)
    parser.add_argument("--to", metavar="VERSION", type=int, help="the version to return to")
    parser.add_argument("--reject", action="store_true", help="mark the version served now as Rejected")
    parser.add_argument("--wait", action="store_true", help="follow it until the endpoint is InService")
    parser.add_argument("--yes", action="store_true", help="roll back without asking")
    parser = add(
        "delete",
        "Delete an endpoint, with the endpoint configs and models of its deployments. The registered "
        "versions stay, and deploy serves them again.\n\n"
        "Configs that earlier endpoints may have had go with the last endpoint of the model package group. "
        "--remains deletes them before that, and what a deletion that was cut off has left.",
    )
    command.add_endpoint(parser, positional=True)
    parser.add_argument(
        "--remains", action="store_true", help="delete what deleted endpoints left and no endpoint needs"
    )
    parser.add_argument("--yes", action="store_true", help="delete without asking")
    arguments = commands[0].parse_args(argv)
    if arguments.command == "delete" and (arguments.name or arguments.endpoint) and arguments.remains:
        parser.error("--remains goes without the name of an endpoint")
    return arguments


if __name__ == "__main__":
    command.run(main)
