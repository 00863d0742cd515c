"""The roles: whether they exist, whom they trust, and whether they allow what this checkout needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from scripts.checks.check import Check, Result, State, Subject
from scripts.checks.stack import Grant, arn_of, grants

# The service that takes each role on.
TRUSTED = {
    "execution_role": "sagemaker.amazonaws.com",
    "lambda_role": "lambda.amazonaws.com",
    "processing_role": "sagemaker.amazonaws.com",
    "training_role": "sagemaker.amazonaws.com",
    "verification_role": "sagemaker.amazonaws.com",
    "endpoint_role": "sagemaker.amazonaws.com",
    "scoring_role": "sagemaker.amazonaws.com",
    "scheduler_role": "scheduler.amazonaws.com",
}
# Those that one command alone needs: schedule_retraining.py, score.py.
_OPTIONAL = {"scheduler_role", "scoring_role"}
UPSERTED = tuple(key for key in TRUSTED if key not in _OPTIONAL)
_LISTED = 3  # denied actions that are named


def checks() -> dict[str, Check]:
    """A check for each role, by the setting that names it."""
    return {key: partial(role, key) for key in TRUSTED}


def role(key: str, subject: Subject, simulating: bool = True) -> Iterator[Result]:
    """Whether a role exists, trusts its service and allows what the stack would.

    Args:
        key: the setting that names it.
        simulating: whether to ask what it allows, some twenty requests.
    """
    arn = arn_of(subject.settings, key)
    iam: Any = subject.client("iam")
    name = arn.rpartition("/")[2]
    try:
        found = iam.get_role(RoleName=name)["Role"]
    except iam.exceptions.NoSuchEntityException:
        if subject.local:
            yield Result(key, "ok", "not needed: the local service asks for no role")
        else:
            yield Result(key, _weight(key), f"there is no role {arn}", _deploy(subject))
        return
    if found["Arn"] != arn:
        wrong = f"role {name} is {found['Arn']}, and {key} says {arn}"
        yield Result(key, _weight(key), wrong, f'set {key} = "{found["Arn"]}" in pipeline.toml')
        return
    service = TRUSTED[key]
    if not _trusts(found["AssumeRolePolicyDocument"], service):  # botocore has decoded it
        distrust = f"role {arn} does not trust {service}, which has to take it on"
        yield Result(key, _weight(key), distrust, _deploy(subject))
        return
    yield Result(key, "ok", f"{name} is there, and {service} may take it on")
    if simulating:
        yield from _permissions(key, iam, arn, subject)


def _permissions(key: str, iam: Any, arn: str, subject: Subject) -> Iterator[Result]:
    """Whether the role allows what the stack of this checkout allows it."""
    wanted = grants(subject.settings)[key]
    denied = [pair for grant in wanted for pair in _denied(iam, arn, grant)]
    if denied:
        more = f" and {len(denied) - _LISTED} more" if denied[_LISTED:] else ""
        told = ", ".join(denied[:_LISTED]) + more
        yield Result(
            f"{key}: permissions",
            _weight(key),
            f"missing, compared with infra/stack.yaml: {told}",
            _deploy(subject),
        )
    else:
        yield Result(f"{key}: permissions", "ok", "all that infra/stack.yaml of this checkout grants")


def _denied(iam: Any, arn: str, grant: Grant) -> Iterator[str]:
    pages = iam.get_paginator("simulate_principal_policy").paginate(
        PolicySourceArn=arn,
        ActionNames=list(grant.actions),
        ResourceArns=list(grant.resources),
        ContextEntries=[
            {"ContextKeyName": name, "ContextKeyValues": [value], "ContextKeyType": "string"}
            for name, value in grant.context.items()
        ],
    )
    for page in pages:
        for result in page["EvaluationResults"]:
            if result["EvalDecision"] != "allowed":
                yield f"{result['EvalActionName']} on {result.get('EvalResourceName', '*')}"


def _trusts(document: Mapping[str, Any], service: str) -> bool:
    for statement in _listed(document.get("Statement", [])):
        principal = statement.get("Principal", {})
        services = _listed(principal.get("Service", [])) if isinstance(principal, dict) else []
        actions = _listed(statement.get("Action", []))
        if statement.get("Effect") == "Allow" and service in services and "sts:AssumeRole" in actions:
            return True
    return False


def _weight(key: str) -> State:
    return "warning" if key in _OPTIONAL else "failure"


def _deploy(subject: Subject) -> str:
    settings = subject.settings
    return (
        f"aws cloudformation deploy --region={settings.region} --stack-name={settings.name} "
        "--template-file=infra/stack.yaml --capabilities=CAPABILITY_IAM "
        f"--parameter-overrides Name={settings.name} BucketName={settings.bucket}"
        "; then put its outputs into pipeline.toml"
    )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
