"""Whether policies allow an action on a resource (IAM user guide, "Policy evaluation logic")."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

ALLOWED, EXPLICIT_DENY, IMPLICIT_DENY = "allowed", "explicitDeny", "implicitDeny"

Policy = Mapping[str, Any]  # a policy document
# What is known of a request besides its action and resource: the values of each key, its name in lower case.
Context = Mapping[str, Collection[str]]
NOTHING: Context = MappingProxyType({})


class UnknownOperatorError(Exception):
    """A condition compares in a way that is not known here; the message is the operator."""


def decide(policies: Iterable[Policy], action: str, resource: str, context: Context = NOTHING) -> str:
    """What policies say together: a deny outweighs every allow.

    A condition on a key that `context` lacks is not met, unless it holds for a missing key.

    Raises:
        UnknownOperatorError: a condition on a key in `context` compares dates, addresses or bytes.
    """
    effects = {
        statement["Effect"]
        for policy in policies
        for statement in _listed(policy.get("Statement", []))
        if _applies(statement, action, resource, context)
    }
    return EXPLICIT_DENY if "Deny" in effects else ALLOWED if "Allow" in effects else IMPLICIT_DENY


def condition_keys(policies: Iterable[Policy]) -> Iterator[str]:
    """The keys that conditions ask for, as the policies write them."""
    for policy in policies:
        for statement in _listed(policy.get("Statement", [])):
            for keys in statement.get("Condition", {}).values():
                yield from keys


def _applies(statement: Mapping[str, Any], action: str, resource: str, context: Context) -> bool:
    return (
        _named(statement, "Action", action.lower(), str.lower)
        and _named(statement, "Resource", resource, str)
        and all(
            _holds(operator, _listed(expected), context.get(key.lower()))
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


def _holds(operator: str, expected: list[Any], values: Collection[str] | None) -> bool:
    """Whether a request meets a condition (IAM user guide, "Condition operators" and "Multivalued keys").

    `values` are the key's; None if the request has no such key.
    """
    quantifier, _, name = operator.rpartition(":")
    if name == "Null":
        return (str(expected[0]).lower() == "true") is (values is None)
    if values is None:
        # Without values, "any matches" is false and "all match" is true.
        if quantifier:
            return quantifier == "ForAllValues"
        return name.endswith("IfExists") or "Not" in name
    comparison = name.removesuffix("IfExists")
    positive = comparison.replace("Not", "")
    if positive not in _COMPARISONS:
        raise UnknownOperatorError(operator)
    compare = _COMPARISONS[positive]
    meets = [
        any(compare(str(item), value) for item in expected) is (positive == comparison) for value in values
    ]
    if quantifier:
        return all(meets) if quantifier == "ForAllValues" else any(meets)
    return meets == [True]  # without a quantifier a key has one value


def _arn_matches(pattern: str, value: str) -> bool:
    """Each of the six parts by itself: a star does not reach beyond a colon."""
    patterns, parts = pattern.split(":", 5), value.split(":", 5)
    return len(patterns) == len(parts) and all(map(_matches, patterns, parts))


_COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda expected, value: expected == value,
    "StringEqualsIgnoreCase": lambda expected, value: expected.lower() == value.lower(),
    "StringLike": _matches,
    "ArnEquals": _arn_matches,
    "ArnLike": _arn_matches,
    "Bool": lambda expected, value: expected.lower() == value.lower(),
    "NumericEquals": lambda expected, value: float(value) == float(expected),
    "NumericLessThan": lambda expected, value: float(value) < float(expected),
    "NumericLessThanEquals": lambda expected, value: float(value) <= float(expected),
    "NumericGreaterThan": lambda expected, value: float(value) > float(expected),
    "NumericGreaterThanEquals": lambda expected, value: float(value) >= float(expected),
}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
