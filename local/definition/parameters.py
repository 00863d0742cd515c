"""The execution parameters of a pipeline: declared in its definition, set as strings at a start."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from local.definition.checks import list_of, shown
from local.wire.texts import DIGITS_MAX

Value = str | int | float | bool

_TYPES: dict[str, type] = {"String": str, "Integer": int, "Float": float, "Boolean": bool}
_MAX_ENUM_VALUES = 16


@dataclass(frozen=True)
class Parameter:
    """One declared parameter; `default` is None if each start must set it."""

    name: str
    type: str
    default: Value | None
    enum_values: tuple[Value, ...]


def parse_parameter(entry: Any) -> Parameter:
    """The parameter that an entry of the definition's Parameters declares.

    Raises:
        ValueError: malformed, or a default or enum value that does not fit.
    """
    if not isinstance(entry, dict) or not isinstance(entry.get("Name"), str):
        raise ValueError(f"a parameter without a Name: {json.dumps(entry)}")
    name, kind = entry["Name"], entry.get("Type", "String")
    unknown = sorted(set(entry) - {"Name", "Type", "DefaultValue", "EnumValues"})
    if unknown:
        raise ValueError(f"parameter {name!r} has the unknown key {unknown[0]!r}")
    if kind not in tuple(_TYPES):
        raise ValueError(
            f"parameter {name!r} has the type {shown(kind)}; expected one of {', '.join(_TYPES)}"
        )
    default = entry.get("DefaultValue")
    enum_values = list_of((str, int, float), entry, "EnumValues")
    if len(enum_values) > _MAX_ENUM_VALUES or len(set(map(str, enum_values))) < len(enum_values):
        raise ValueError(f"parameter {name!r} needs at most {_MAX_ENUM_VALUES} EnumValues, all different")
    for value in [*enum_values, *([] if default is None else [default])]:
        if not _fits(value, kind):
            raise ValueError(f"parameter {name!r} is of type {kind}, but {shown(value)} is not")
    parameter = Parameter(name, kind, default, tuple(enum_values))
    if default is not None:
        _check_enum(parameter, default)
    return parameter


def _fits(value: Any, kind: str) -> bool:
    if isinstance(value, bool) or kind == "Boolean":
        return isinstance(value, bool) and kind == "Boolean"
    return isinstance(value, (int, float) if kind == "Float" else _TYPES[kind])


def _check_enum(parameter: Parameter, value: Value) -> None:
    if parameter.enum_values and value not in parameter.enum_values:
        allowed = ", ".join(v if isinstance(v, str) else shown(v) for v in parameter.enum_values)
        raise ValueError(f"parameter {parameter.name!r} is {shown(value)}; expected one of {allowed}")


def values_at_start(
    parameters: Mapping[str, Parameter], given: Iterable[Mapping[str, str]]
) -> dict[str, Value]:
    """Each parameter's typed value for one execution; `given` is the request's PipelineParameters.

    Raises:
        ValueError: an unknown or repeated name, text that does not fit the type, a missing value.
    """
    values: dict[str, Value] = {}
    for entry in given:
        name, text = entry["Name"], entry["Value"]
        if name not in parameters:
            raise ValueError(f"Unknown parameter '{name}'")
        if name in values:
            raise ValueError(f"Parameter '{name}' is given twice.")
        values[name] = _typed(parameters[name], text)
        _check_enum(parameters[name], values[name])
    for name, parameter in parameters.items():
        if name not in values:
            if parameter.default is None:
                raise ValueError(f"Parameter '{name}' is undefined.")
            values[name] = float(parameter.default) if parameter.type == "Float" else parameter.default
    return values


def _typed(parameter: Parameter, text: str) -> Value:
    if text == "":
        raise ValueError(
            f"Parameter '{parameter.name}' value \"\" is too short (length: 0, required minimum: 1)"
        )
    if parameter.type == "String":
        return text
    if parameter.type == "Boolean" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if parameter.type == "Integer" and re.fullmatch(rf"[+-]?[0-9]{{1,{DIGITS_MAX}}}", text):
        return int(text)
    if parameter.type == "Float" and re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text):
        number = float(text)
        if math.isfinite(number):
            return number
    raise ValueError(f"Parameter '{parameter.name}' is of type {parameter.type}, but {text!r} is not.")
