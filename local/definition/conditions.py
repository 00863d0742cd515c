"""The conditions of a Condition step."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from local.definition.checks import shown
from local.definition.expressions import ExpressionError

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "Equals": operator.eq,
    "GreaterThan": operator.gt,
    "GreaterThanOrEqualTo": operator.ge,
    "LessThan": operator.lt,
    "LessThanOrEqualTo": operator.le,
}
_OPERANDS = {
    **{kind: {"LeftValue", "RightValue"} for kind in _COMPARISONS},
    "In": {"QueryValue", "Values"},
    "Not": {"Condition"},
    "Or": {"Conditions"},
}


def check_condition(condition: Any) -> None:
    """Refuse a malformed condition before it runs.

    Raises:
        ValueError: an unknown Type, or the wrong operands for it.
    """
    kind = condition.get("Type") if isinstance(condition, dict) else None
    if kind not in tuple(_OPERANDS):
        raise ValueError(f"condition of type {shown(kind)}; expected one of {', '.join(_OPERANDS)}")
    if set(condition) != {"Type", *_OPERANDS[kind]}:
        raise ValueError(
            f"condition {kind} takes {' and '.join(sorted(_OPERANDS[kind]))},"
            f" got {', '.join(sorted(set(condition) - {'Type'})) or 'nothing'}"
        )
    if kind == "In" and not isinstance(condition["Values"], list):
        raise ValueError("condition In takes a list of Values")
    if kind == "Not":
        check_condition(condition["Condition"])
    if kind == "Or":
        if not isinstance(condition["Conditions"], list) or not condition["Conditions"]:
            raise ValueError("condition Or takes a list of Conditions")
        for part in condition["Conditions"]:
            check_condition(part)


def holds(condition: dict[str, Any]) -> bool:
    """Whether a condition whose operands are plain values holds.

    Every operand is evaluated, so a wrong one raises wherever it occurs.

    Raises:
        ExpressionError: operands that cannot be compared: a string with a number, a null, a list.
    """
    kind = condition["Type"]
    if kind == "Not":
        return not holds(condition["Condition"])
    if kind == "Or":
        parts = [holds(part) for part in condition["Conditions"]]
        return any(parts)
    if kind == "In":
        equal = [_compare("Equals", condition["QueryValue"], value) for value in condition["Values"]]
        return any(equal)
    return _compare(kind, condition["LeftValue"], condition["RightValue"])


def _compare(kind: str, left: Any, right: Any) -> bool:
    kinds = {_kind(left), _kind(right)}
    if len(kinds) > 1 or None in kinds or (kinds == {"boolean"} and kind != "Equals"):
        raise ExpressionError(f"condition {kind} cannot compare {shown(left)} with {shown(right)}")
    return _COMPARISONS[kind](left, right)


def _kind(value: Any) -> str | None:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else None
