"""Whether policies allow an action on a resource (IAM user guide, "Policy evaluation logic")."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

ALLOWED, EXPLICIT_DENY, IMPLICIT_DENY = "allowed", "explicitDeny", "implicitDeny"

Policy = Mapping[str, Any]  # a policy document


class UnknownOperator(ValueError):
    """A condition operator that is not understood here."""


def decide(
    policies: Iterable[Policy],
    action: str,
    resource: str,
    context: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> str:
    """What policies say together: a deny outweighs every allow.

    Args:
        context: the values of the request's condition keys. A condition on a key that it lacks is not met,
            unless it holds for a missing key.

    Raises:
        UnknownOperator: a condition on a key of the context has an operator that is not understood here.
    """
    effects = {
        statement["Effect"]
        for policy in policies
        for statement in _listed(policy.get("Statement", []))
        if _applies(statement, action, resource, context)
    }
    return EXPLICIT_DENY if "Deny" in effects else ALLOWED if "Allow" in effects else IMPLICIT_DENY


def _applies(
    statement: Mapping[str, Any], action: str, resource: str, context: Mapping[str, Sequence[str]]
) -> bool:
    folded = {key.lower(): values for key, values in context.items()}  # condition keys are not case-sensitive
    return (
        _named(statement, "Action", action.lower(), str.lower)
        and _named(statement, "Resource", resource, str)
        and all(
            _holds(operator, expected, given)
            if (given := folded.get(key.lower())) is not None
            else _holds_without(operator, expected)
            for operator, keys in statement.get("Condition", {}).items()
            for key, expected in keys.items()
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


def _holds(operator: str, expected: Any, given: Sequence[str]) -> bool:
    """Whether a request with these values of a key meets a condition."""
    quantifier, _, full = operator.rpartition(":")
    name = full.removesuffix("IfExists")
    wanted = [str(value) for value in _listed(expected)]
    if name == "Null":
        return wanted[0].lower() == "false"
    negated, name = "Not" in name, name.replace("Not", "")
    if name not in _COMPARED:
        raise UnknownOperator(operator)
    matches = [any(_COMPARED[name](pattern, value) for pattern in wanted) != negated for value in given]
    return all(matches) if quantifier == "ForAllValues" else any(matches)


def _holds_without(operator: str, expected: Any) -> bool:
    """Whether a request without the key meets a condition (IAM user guide, "Condition operators")."""
    # Without values, "any matches" is false and "all match" is true.
    quantifier, _, name = operator.rpartition(":")
    if quantifier:
        return quantifier == "ForAllValues"
    if name == "Null":
        return str(_listed(expected)[0]).lower() == "true"
    return name.endswith("IfExists") or "Not" in name


# Operators of IAM that compare texts, without their "Not". ARNs match with wildcards in both forms.
_COMPARED: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda expected, value: expected == value,
    "StringEqualsIgnoreCase": lambda expected, value: expected.lower() == value.lower(),
    "StringLike": _matches,
    "ArnEquals": _matches,
    "ArnLike": _matches,
    "Bool": lambda expected, value: expected.lower() == value.lower(),
}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
