"""Remove everything of this deployment, after a list of it with what it costs, and after asking.

Stops executions and jobs; deletes schedules and event rules, endpoints with their configs and models, the
function, its logs, the registered versions, alarms and queue, the pipeline's own objects in the bucket and,
last, the pipeline. Pictures stay unless --pictures names their folder. Nothing of another name is touched;
what CloudFormation made stays for its stack. If it is interrupted, run it again: it goes on.

  teardown.py --dry-run
  teardown.py --keep models
  teardown.py --pictures s3://my-flower-bucket/flower-classifier/data/flowers/

Exit code 1: something is left that should be gone; its command is printed.
"""

from __future__ import annotations

if not __package__:
    import root  # noqa: F401

import argparse
from collections.abc import Iterator, Sequence
from functools import partial

from rich.table import Table

import scripts.command as command
from scripts.belongings import around, models, objects, work
from scripts.belongings.thing import Thing, remove
from scripts.checks import account
from scripts.checks.check import Subject, refuse, subject

SETTINGS = (
    "name",
    "region",
    "bucket",
    "execution_role",
    "lambda_role",
    "deployment",
    "schedule",
)
MODELS, RESULTS = "models", "results"
_ROUNDS = 3  # an execution that is being stopped may still make something


def everything(of: Subject, keeping: Sequence[str] = (), pictures: Sequence[str] = ()) -> Iterator[Thing]:
    """All that belongs to the deployment, in the order in which it has to go.

    Args:
        keeping: MODELS, the registered versions with their artifacts; RESULTS, all of executions/.
        pictures: URLs of datasets that go, too.

    Raises:
        ClientError: AWS refused to list something: a permission may be missing.
        Failure: a URL is not that of a dataset of this deployment.
    """
    asked = list(objects.pictures(of, pictures))
    pipelines = around.pipelines(of)
    for name in pipelines:
        yield from work.schedules(of, _pipeline_arn(of, name))
        yield from work.rules(of, _pipeline_arn(of, name))
    for name in pipelines:
        yield from work.executions(of, name)
    yield from work.jobs(of)
    endpoints = list(models.endpoints(of))
    yield from endpoints
    names = [endpoint.name for endpoint in endpoints]
    yield from models.behind(of, names)
    yield from around.function(of)
    yield from around.logs(of, names)
    kept: set[str] = set()
    if MODELS in keeping:
        root = f"s3://{of.settings.bucket}/"
        kept = {url.removeprefix(root) for url in models.artifacts(of) if url.startswith(root)}
    else:
        yield from models.versions(of)
    yield from around.alarms(of)
    yield from around.queue(of)
    yield from objects.own(of, [objects.RESULTS] if RESULTS in keeping else [], kept)
    yield from asked
    for name in pipelines:
        yield from around.pipeline(of, name)


def _pipeline_arn(of: Subject, name: str) -> str:
    """The ARN of a pipeline, whether it is still there or not."""
    settings = of.settings
    account_id = of.client("sts").get_caller_identity()["Account"]
    partition = of.session.get_partition_for_region(settings.region)
    return f"arn:{partition}:sagemaker:{settings.region}:{account_id}:pipeline/{name}"


def what_stays(of: Subject, things: Sequence[Thing]) -> Iterator[str]:
    """What is left on purpose, a line each, with the command that removes it."""
    settings = of.settings
    going = [
        thing.name.removeprefix(f"s3://{settings.bucket}/").split(" (")[0]
        for thing in things
        if thing.kind == "objects"
    ]
    for folder in objects.staying(of, going):
        url = f"s3://{settings.bucket}/{folder.prefix}"
        asked = of.python("teardown.py", "--pictures", url)
        own = folder.prefix.removeprefix(f"{settings.name}/").startswith(objects.OWN)
        cost = objects.cost(of, folder.size_bytes)
        yield f"{folder.words(settings.bucket)}{', ' + cost if cost else ''}: " + (
            of.aws("s3", "rm", "--recursive", url) if own else asked
        )
    yield "the log streams of its jobs in /aws/sagemaker/TrainingJobs and its like, which all jobs share"
    if not of.local:
        yield f"roles, bucket, alarms and queue of the stack: {_delete_stack(of)}"


def _delete_stack(of: Subject) -> str:
    """CloudFormation calls a role STACK-ExecutionRole-RANDOM."""
    name = of.settings.execution_role.rpartition("/")[2]
    stack, found, _ = name.rpartition("-ExecutionRole-")
    if not found:
        return f"{name} was not made by infra/stack.yaml; remove the roles where they were made"
    return of.aws("cloudformation", "delete-stack", f"--stack-name={stack}")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    settings = command.settings(arguments)
    session = command.session(arguments, settings)
    of = subject(arguments, settings, session, {})
    command.refuse_placeholders(settings, "bucket", "execution_role")
    refuse(of, [partial(account.credentials, keys=("execution_role", "lambda_role"))])
    with command.status(f"looking for what belongs to {settings.name}"):
        things = list(everything(of, arguments.keep, arguments.pictures))
        for url in arguments.pictures:
            if not any(thing.name.startswith(url) for thing in things):
                command.fail(f"--pictures {url}: nothing lies there; leave it out, or correct it")
        stays = list(what_stays(of, things))
    if things:
        command.output.print(_table(things))
    for line in stays:
        command.console.print(f"stays: {line}", soft_wrap=True)
    if not things:
        command.output.print(f"Nothing of {settings.name} is left in {settings.region}.")
        return 0
    if arguments.dry_run:
        command.console.print("Nothing is removed: this is --dry-run.")
        return 0
    if not command.confirm(f"Remove these {len(things)} things of {settings.name}?", arguments):
        command.console.print("Nothing is removed.")
        return 1
    try:
        left = _remove_all(of, things, arguments)
    except KeyboardInterrupt:
        again = of.python("teardown.py", *_typed(arguments))
        raise KeyboardInterrupt(f"what was removed is gone; go on with {again}") from None
    for thing, reason in left:
        command.output.print(
            f"{thing.kind} {thing.name} is left: {reason}\n  {thing.by_hand}", soft_wrap=True
        )
    if left:
        return 1
    command.output.print(f"Nothing of {settings.name} is left in {settings.region} but what stays.")
    return 0


def _remove_all(
    of: Subject, things: Sequence[Thing], arguments: argparse.Namespace
) -> list[tuple[Thing, str]]:
    """Remove things, then what has appeared meanwhile; what is left, and why."""
    left: dict[str, tuple[Thing, str]] = {}
    for _ in range(_ROUNDS):
        for thing in things:
            blocking = next((other for other, _ in left.values() if other.kind in thing.after), None)
            reason = f"{blocking.kind} {blocking.name} is left" if blocking else remove(thing)
            if reason:
                left[thing.by_hand] = thing, reason
            else:
                command.console.print(f"removed: {thing.kind} {thing.name}", soft_wrap=True)
        there = everything(of, arguments.keep, arguments.pictures)
        things = [thing for thing in there if thing.by_hand not in left]
        if not things:
            break
    return [*left.values(), *((thing, "it has appeared again") for thing in things)]


def _typed(arguments: argparse.Namespace) -> list[str]:
    typed = [f"--keep={what}" for what in arguments.keep]
    return typed + [f"--pictures={url}" for url in arguments.pictures]


def _table(things: Sequence[Thing]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("kind", no_wrap=True)
    table.add_column("name", overflow="fold")
    table.add_column("cost", overflow="fold")
    for thing in things:
        table.add_row(thing.kind, thing.name, thing.cost)
    return table


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command.parser(__doc__ or "", SETTINGS)
    parser.add_argument("--dry-run", action="store_true", help="only list what would go")
    parser.add_argument(
        "--keep", choices=(MODELS, RESULTS), action="append", default=[],
        help="models: the registered versions and artifacts; results: what executions wrote (repeatable)",
    )  # fmt: skip
    parser.add_argument(
        "--pictures", metavar="S3_URL", action="append", default=[],
        help="also remove the pictures of this dataset (repeatable)",
    )  # fmt: skip
    parser.add_argument("--yes", action="store_true", help="remove without asking")
    return parser.parse_args(argv)


if __name__ == "__main__":
    command.run(main)
