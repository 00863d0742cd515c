"""Who asks AWS, where, and whether the settings mean the same account."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import fields

import scripts.command as command
from config.settings import Settings
from scripts.checks.check import Result, State, Subject

NAME = "account"
ALL = tuple(item.name for item in fields(Settings))


def credentials(subject: Subject, keys: Collection[str] = ALL) -> Iterator[Result]:
    """Whether there are credentials, and whether the ARNs in the settings are of their account.

    Args:
        keys: the settings and sections that are looked at.
    """
    identity = subject.client("sts").get_caller_identity()
    account = identity["Account"]
    if subject.local:
        # Nothing there looks at the account in an ARN of the settings.
        yield Result("credentials", "ok", f"the local service, which is account {account}")
        return
    yield Result("credentials", "ok", f"account {account} as {identity['Arn']}")
    placeholders = [key for key in subject.settings.placeholders() if key in keys]
    others = {
        key: arn
        for key, arn in _arns(subject.settings, keys).items()
        if arn.split(":")[4] != account and key not in placeholders
    }
    if placeholders:
        yield Result(
            NAME,
            _weight(placeholders),
            f"{', '.join(placeholders)} in pipeline.toml still name the example account",
            "put in your own; docs/aws.md says how to create them",
        )
    if others:
        key, arn = next(iter(others.items()))
        yield Result(
            NAME,
            _weight(others),
            f"{', '.join(others)} in pipeline.toml name another account than {account}, that of these "
            f"credentials: {arn}",
            f"set {key} to one of account {account}, or AWS_PROFILE to a profile of {arn.split(':')[4]}",
        )
    if not (placeholders or others):
        yield Result(NAME, "ok", f"the ARNs in the settings are of account {account}")


def _arns(settings: Settings, keys: Collection[str]) -> dict[str, str]:
    """The settings that are ARNs with an account, by key."""
    found = {key: value for key, value in vars(settings).items() if key.endswith("_role") and value}
    if settings.schedule.dead_letter_queue:
        found["schedule.dead_letter_queue"] = settings.schedule.dead_letter_queue
    return {key: arn for key, arn in found.items() if key.partition(".")[0] in keys}


def _weight(keys: Iterable[str]) -> State:
    """Only schedules and score.py need what upsert_pipeline.py does not read."""
    needed = any(key.partition(".")[0] in command.UPSERTED for key in keys)
    return "failure" if needed else "warning"


def region(subject: Subject) -> Iterator[Result]:
    """Whether SageMaker is in the region of the settings, as far as botocore knows."""
    name = subject.settings.region
    partition = subject.session.get_partition_for_region(name)
    known = subject.session.get_available_regions("sagemaker", partition)
    if name in known:
        yield Result("region", "ok", f"SageMaker is in {name}")
    else:
        yield Result(
            "region",
            "warning",
            f"botocore does not know SageMaker in {name}; it may be newer than botocore",
            "check region in pipeline.toml, or update boto3: pip install --upgrade boto3",
        )
