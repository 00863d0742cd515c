"""Who asks AWS, where, and whether the settings mean the same account."""

from __future__ import annotations

from collections.abc import Iterator

from config.settings import Settings
from scripts.checks.check import Result, Subject

NAME = "account"


def credentials(subject: Subject) -> Iterator[Result]:
    """Whether there are credentials, and whether the ARNs in the settings are of their account."""
    settings = subject.settings
    identity = subject.client("sts").get_caller_identity()
    account = identity["Account"]
    if subject.local:
        # Nothing there looks at the account in an ARN of the settings.
        yield Result("credentials", "ok", f"the local service, which is account {account}")
        return
    yield Result("credentials", "ok", f"account {account} as {identity['Arn']}")
    if placeholders := settings.placeholders():
        yield Result(
            NAME,
            "failure",
            f"{', '.join(placeholders)} in pipeline.toml still name the example account",
            "put in your own; docs/aws.md says how to create them",
        )
        return
    others = {key: arn for key, arn in _arns(settings).items() if arn.split(":")[4] != account}
    if others:
        key, arn = next(iter(others.items()))
        yield Result(
            NAME,
            "failure",
            f"{', '.join(others)} in pipeline.toml name another account than {account}, that of these "
            f"credentials: {arn}",
            f"set {key} to one of account {account}, or AWS_PROFILE to a profile of {arn.split(':')[4]}",
        )
    else:
        yield Result(NAME, "ok", f"the ARNs in the settings are of account {account}")


def _arns(settings: Settings) -> dict[str, str]:
    """The settings that are ARNs with an account, by key."""
    found = {key: value for key, value in vars(settings).items() if key.endswith("_role") and value}
    if settings.schedule.dead_letter_queue:
        found["schedule.dead_letter_queue"] = settings.schedule.dead_letter_queue
    return found


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
