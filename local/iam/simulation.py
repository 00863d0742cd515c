"""IAM's SimulatePrincipalPolicy, which moto lacks, for the roles that moto keeps.

Before it creates a job or a pipeline, the SageMaker SDK asks whether the role may do what that needs.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from local.home.home import ACCOUNT
from local.iam.policies import (
    ALLOWED,
    EXPLICIT_DENY,
    IMPLICIT_DENY,
    Context,
    Policy,
    UnknownOperatorError,
    condition_keys,
    decide,
)
from local.wire.errors import ServiceError
from local.wire.http import HttpRequest, HttpResponse
from local.wire.texts import whole_number

_ACTION = "SimulatePrincipalPolicy"
_NAMESPACE = "https://iam.amazonaws.com/doc/2010-05-08/"
_UNDERSTOOD = re.compile(
    r"Action|Version|PolicySourceArn|(ActionNames|ResourceArns)\.member\.\d+|MaxItems|Marker"
    r"|ContextEntries\.member\.\d+\.(ContextKeyName|ContextKeyType|ContextKeyValues\.member\.\d+)"
)
_MOST_ITEMS = 100  # MaxItems unless the request says otherwise (API reference)


def answer(request: HttpRequest) -> HttpResponse | None:
    """The answer to SimulatePrincipalPolicy; None for every other IAM request, whose body stays readable.

    Raises:
        ServiceError: there is no such role, or the request asks for something that is not simulated here.
    """
    asked = dict(parse_qsl(request.body.read().decode("utf-8", "replace"), keep_blank_values=True))
    request.body.seek(0)
    if asked.get("Action") != _ACTION:
        return None
    for member in asked:
        if not _UNDERSTOOD.fullmatch(member):
            raise ServiceError(
                "InvalidInput", f"{member}: the local service simulates only a role's own policies"
            )
    policies, boundary = _policies(asked.get("PolicySourceArn", ""))
    context = _context(asked)
    pairs = [
        (action, resource)
        for action in _members(asked, "ActionNames")
        for resource in list(_members(asked, "ResourceArns")) or ["*"]
    ]
    if not pairs:
        raise ServiceError("ValidationError", "ActionNames is missing")
    start, count = _number(asked, "Marker", 0), _number(asked, "MaxItems", _MOST_ITEMS)
    try:
        results = "".join(
            _result(policies, boundary, context, *pair) for pair in pairs[start : start + count]
        )
    except UnknownOperatorError as error:
        raise ServiceError("InvalidInput", f"{error}: the local service does not simulate it") from None
    more = start + count < len(pairs)
    marker = f"<Marker>{start + count}</Marker>" if more else ""
    body = (
        f'<{_ACTION}Response xmlns="{_NAMESPACE}"><{_ACTION}Result>'
        f"<IsTruncated>{str(more).lower()}</IsTruncated>{marker}"
        f"<EvaluationResults>{results}</EvaluationResults></{_ACTION}Result>"
        f"<ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId></ResponseMetadata></{_ACTION}Response>"
    )
    return HttpResponse(200, {"content-type": "text/xml"}, body.encode())


def _members(asked: dict[str, str], name: str) -> Iterator[str]:
    """The items of a list; the query protocol numbers them from 1."""
    number = 1
    while (key := f"{name}.member.{number}") in asked:
        yield asked[key]
        number += 1


def _context(asked: dict[str, str]) -> dict[str, list[str]]:
    """The values of each context key, whose names do not tell capital letters from small ones."""
    entries: dict[str, list[str]] = {}
    number = 1
    while (name := asked.get(f"ContextEntries.member.{number}.ContextKeyName")) is not None:
        entries[name.lower()] = list(_members(asked, f"ContextEntries.member.{number}.ContextKeyValues"))
        number += 1
    return entries


def _number(asked: dict[str, str], member: str, default: int) -> int:
    text = asked.get(member, str(default))
    try:
        return whole_number(text)
    except ValueError:
        raise ServiceError("ValidationError", f"{member} {text!r} is not valid") from None


def _policies(arn: str) -> tuple[list[Policy], Policy | None]:
    """The policies of a role, inline and attached, and its permissions boundary."""
    from moto.iam.exceptions import NotFoundException
    from moto.iam.models import iam_backends

    backend = iam_backends[ACCOUNT]["aws"]
    name = arn.rpartition("/")[2]
    try:
        role = backend.get_role(name)
    except NotFoundException:
        role = None
    if role is None or role.arn != arn:
        told = (
            f"The local service has no role {arn}; create it: "
            f"aws iam create-role --role-name {name or 'NAME'} --assume-role-policy-document file://trust.json"
        )
        raise ServiceError("NoSuchEntity", told, 404)
    inline = [json.loads(document) for document in role.policies.values()]
    attached = [_document(policy) for policy in role.managed_policies.values()]
    boundary = role.permissions_boundary_arn
    return inline + attached, _document(backend.managed_policies[boundary]) if boundary else None


def _document(policy: Any) -> Policy:
    """The document of a managed policy's default version."""
    versions = {version.version_id: version.document for version in policy.versions}
    document: Policy = json.loads(versions[policy.default_version_id])
    return document


def _result(
    policies: list[Policy], boundary: Policy | None, context: Context, action: str, resource: str
) -> str:
    decision, detail = decide(policies, action, resource, context), ""
    if boundary is not None:
        within = decide([boundary], action, resource, context)
        detail = (
            "<PermissionsBoundaryDecisionDetail><AllowedByPermissionsBoundary>"
            f"{str(within == ALLOWED).lower()}"
            "</AllowedByPermissionsBoundary></PermissionsBoundaryDecisionDetail>"
        )
        if within == EXPLICIT_DENY or (within == IMPLICIT_DENY and decision == ALLOWED):
            decision = within
    keys = condition_keys([*policies, boundary] if boundary is not None else policies)
    missing = "".join(
        f"<member>{escape(key)}</member>" for key in sorted(set(keys)) if key.lower() not in context
    )
    return (
        f"<member><EvalActionName>{escape(action)}</EvalActionName>"
        f"<EvalResourceName>{escape(resource)}</EvalResourceName><EvalDecision>{decision}</EvalDecision>"
        f"<MatchedStatements/><MissingContextValues>{missing}</MissingContextValues>{detail}</member>"
    )
