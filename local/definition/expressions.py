"""The expressions of a pipeline definition: Get, Std:Join and Std:JsonGet."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from local.definition.checks import shown
from local.wire.texts import DIGITS_MAX, json_value

# One step of a path: a name or quoted key, or a position in a list.
Token = str | int

# Lists of Describe answers that a definition addresses by name: Outputs['train'], not Outputs[0].
_NAME_KEYS = ("OutputName", "InputName", "MetricName", "ChannelName")

# A quoted key may contain dots and brackets, so a path cannot be split on them.
_TOKEN = re.compile(
    r"""(?:^|(?<=.)\.)(?P<name>[^.\[\]]+)|\[(?P<index>\d+)\]|\[(?P<quote>['"])(?P<key>.*?)(?P=quote)\]"""
)


class ExpressionError(ValueError):
    """An expression that is malformed, or has no value when its step starts."""


@dataclass(frozen=True)
class Reference:
    """{"Get": text}: `root` is Parameters, Execution or Steps, `name` is a name there, `path` the rest."""

    text: str
    root: str
    name: str
    path: tuple[Token, ...] = ()


@dataclass(frozen=True)
class Join:
    """{"Std:Join": ...}: the values as text, with `on` between them."""

    on: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class JsonGet:
    """{"Std:JsonGet": ...}: the value at `path` in a JSON file; `file` is a property file or an S3 URI."""

    file: Any
    path: tuple[Token, ...]
    text: str


def tokens(path: str) -> tuple[Token, ...]:
    """The steps of a path such as a.b[0]['key.with.dots'].c.

    Raises:
        ExpressionError: not a path.
    """
    found: list[Token] = []
    position = 0
    while position < len(path):
        match = _TOKEN.match(path, position)
        if match is None:
            raise ExpressionError(f"{path!r} is not a path; expected e.g. a.b[0]['key']")
        index, name, key = match["index"], match["name"], match["key"]
        if index is not None and len(index) > DIGITS_MAX:
            raise ExpressionError(f"{shown(path)} has an index of {len(index)} digits")
        found.append(int(index) if index is not None else name if name is not None else key)
        position = match.end()
    if not found:
        raise ExpressionError("an empty path")
    return tuple(found)


def parse(value: Any) -> Any:
    """`value` (JSON) with each expression in it replaced by a Reference, a Join or a JsonGet.

    Raises:
        ExpressionError: a malformed expression, or a function that is not one of Pipelines'.
    """
    if isinstance(value, list):
        return [parse(item) for item in value]
    if not isinstance(value, dict):
        return value
    function = next((key for key in value if key == "Get" or key.startswith("Std:")), None)
    if function is None:
        return {key: parse(item) for key, item in value.items()}
    body = value[function]
    if len(value) != 1:
        raise ExpressionError(
            f"{function} must be the only key; remove {', '.join(sorted(set(value) - {function}))}"
        )
    if function == "Get":
        return _parse_get(body)
    if function == "Std:Join":
        return _parse_join(body)
    if function == "Std:JsonGet":
        return _parse_json_get(body)
    raise ExpressionError(f"the local service does not know the function {function}")


def _parse_get(body: Any) -> Reference:
    found = tokens(body) if isinstance(body, str) else ()
    root, name, *path = found if len(found) > 1 else ("", "")
    plain = isinstance(name, str) and (not path or root == "Steps")
    if root not in ("Parameters", "Execution", "Steps") or not plain or (root == "Steps" and not path):
        raise ExpressionError(
            f"Get {shown(body)}: expected Parameters.<name>, Execution.<name> or Steps.<step>.<property>"
        )
    return Reference(body, str(root), str(name), tuple(path))


def _parse_join(body: Any) -> Join:
    if not isinstance(body, dict) or set(body) != {"On", "Values"} or not isinstance(body["On"], str):
        raise ExpressionError(f"Std:Join takes On (a string) and Values, got {shown(body)}")
    if not isinstance(body["Values"], list):
        raise ExpressionError(f"Std:Join's Values is not a list: {json.dumps(body['Values'])}")
    return Join(body["On"], tuple(parse(value) for value in body["Values"]))


def _parse_json_get(body: Any) -> JsonGet:
    if not isinstance(body, dict) or set(body) not in ({"PropertyFile", "Path"}, {"S3Uri", "Path"}):
        raise ExpressionError(f"Std:JsonGet takes PropertyFile or S3Uri, and Path, got {shown(body)}")
    if not isinstance(body["Path"], str):
        raise ExpressionError(f"Std:JsonGet's Path is not a string: {json.dumps(body['Path'])}")
    file = parse(body["PropertyFile"] if "PropertyFile" in body else body["S3Uri"])
    if "PropertyFile" in body:
        named = isinstance(file, Reference) and file.path[:1] == ("PropertyFiles",) and len(file.path) == 2
        if not named:
            raise ExpressionError("Std:JsonGet's PropertyFile is not Get Steps.<step>.PropertyFiles.<name>")
    return JsonGet(file, tokens(body["Path"]), body["Path"])


def references(tree: Any) -> Iterator[Reference]:
    """Every Reference in a parsed value, also those inside Join and JsonGet."""
    if isinstance(tree, Reference):
        yield tree
    elif isinstance(tree, Join):
        yield from references(list(tree.values))
    elif isinstance(tree, JsonGet):
        yield from references(tree.file)
    elif isinstance(tree, list | dict):
        for item in tree.values() if isinstance(tree, dict) else tree:
            yield from references(item)


def written(tree: Any) -> Any:
    """A parsed value as the definition's JSON has it."""
    if isinstance(tree, Reference):
        return {"Get": tree.text}
    if isinstance(tree, Join):
        return {"Std:Join": {"On": tree.on, "Values": written(list(tree.values))}}
    if isinstance(tree, JsonGet):
        named = isinstance(tree.file, Reference) and tree.file.path[:1] == ("PropertyFiles",)
        return {"Std:JsonGet": {"PropertyFile" if named else "S3Uri": written(tree.file), "Path": tree.text}}
    if isinstance(tree, dict):
        return {key: written(item) for key, item in tree.items()}
    if isinstance(tree, list):
        return [written(item) for item in tree]
    return tree


def quoted(tree: Any) -> str:
    """A parsed value as refusals print it: the definition's JSON."""
    return json.dumps(written(tree), ensure_ascii=False)


def evaluate(tree: Any, get: Callable[[Reference], Any], read: Callable[[str], str]) -> Any:
    """The JSON value of a parsed value; `get` resolves references, `read` gives the text behind an S3 URI.

    A reference to a property file resolves to the file's S3 URI.

    Raises:
        ExpressionError: something has no value, or one of the wrong type.
    """
    if isinstance(tree, Reference):
        return get(tree)
    if isinstance(tree, Join):
        return tree.on.join(as_text(evaluate(value, get, read)) for value in tree.values)
    if isinstance(tree, JsonGet):
        uri = as_text(evaluate(tree.file, get, read))
        return _json_value(uri, read(uri), tree)
    if isinstance(tree, dict):
        return {key: evaluate(item, get, read) for key, item in tree.items()}
    if isinstance(tree, list):
        return [evaluate(item, get, read) for item in tree]
    return tree


def _json_value(uri: str, content: str, expression: JsonGet) -> Any:
    try:
        document = json_value(content)
    except ValueError as error:
        raise ExpressionError(f"{uri} is not valid JSON: {error}") from None
    try:
        return lookup(document, expression.path)
    except LookupError:
        raise ExpressionError(f"{uri} has no value at {expression.text}") from None


def lookup(value: Any, path: Sequence[Token]) -> Any:
    """What is at `path` in `value`; lists in Describe answers may be addressed by name.

    Raises:
        LookupError: nothing is there.
    """
    for token in path:
        if isinstance(value, list) and isinstance(token, str):
            named = [item for item in value if _is_named(item, token)]
            if not named:
                raise LookupError(token)
            value = named[0]
        elif isinstance(value, list) or (isinstance(value, dict) and isinstance(token, str)):
            value = value[token]  # type: ignore[index]
        else:
            raise LookupError(token)
    return value


def _is_named(item: Any, name: str) -> bool:
    return isinstance(item, dict) and any(item.get(key) == name for key in _NAME_KEYS)


def as_text(value: Any) -> str:
    """A single value as Std:Join writes it: 3.0 is "3.0", True is "true".

    Raises:
        ExpressionError: null, a list or an object, which have no text form.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    raise ExpressionError(f"{json.dumps(value)} is not a string, a number or a boolean")
