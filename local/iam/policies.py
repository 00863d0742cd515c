"""Whether policies allow an action on a resource (IAM user guide, "Policy evaluation logic")."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

ALLOWED, EXPLICIT_DENY, IMPLICIT_DENY = "allowed", "explicitDeny", "implicitDeny"

Policy = Mapping[str, Any]  # a policy document


def decide(policies: Iterable[Policy], action: str, resource: str) -> str:
    """What policies say together: a deny outweighs every allow.

    Only the request's action and resource are known: a condition on anything else is not met, unless it
    holds for a missing key.
    """
    effects = {
        statement["Effect"]
        for policy in policies
        for statement in _listed(policy.get("Statement", []))
        if _applies(statement, action, resource)
    }
    return EXPLICIT_DENY if "Deny" in effects else ALLOWED if "Allow" in effects else IMPLICIT_DENY


def _applies(statement: Mapping[str, Any], action: str, resource: str) -> bool:
    return (
        _named(statement, "Action", action.lower(), str.lower)
        and _named(statement, "Resource", resource, str)
        and all(
            _holds_without(operator, expected)
            for operator, keys in statement.get("Condition", {}).items()
            for expected in keys.values()
        )
    )


def _named(statement: Mapping[str, Any], element: str, value: str, fold: Any) -> bool:
    """Whether a statement applies to something, by its (Not)Action or (Not)Resource."""
    negated = f"Not{element}" in statement
    patterns = _listed(statement.get(f"Not{element}" if negated else element, []))
    return negated != any(_matches(fold(pattern), value) for pattern in patterns)


def _matches(pattern: str, value: str) -> bool:
    regex = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(regex, value, re.DOTALL) is not None


def _holds_without(operator: str, expected: Any) -> bool:
    """Whether a request without the key meets a condition (IAM user guide, "Condition operators")."""
    # Without values, "any matches" is false and "all match" is true.
    quantifier, _, name = operator.rpartition(":")
    if quantifier:
        return quantifier == "ForAllValues"
    if name == "Null":
        return str(_listed(expected)[0]).lower() == "true"
    return name.endswith("IfExists") or "Not" in name


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
