"""One value of the settings: its form, and the error for another form."""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin


class SettingsError(ValueError):
    """A setting is unknown, missing or malformed; the message is one line with key, value, source, remedy."""


@dataclass(frozen=True)
class Between:
    """Numbers from `low` to `high`, `low` itself excluded when `above`."""

    low: float
    high: float = math.inf
    above: bool = False

    def admits(self, value: float) -> bool:
        return (value > self.low if self.above else value >= self.low) and value <= self.high

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"above {self.low:.10g}" if self.above else f"{self.low:.10g} or more"
        return f"{'above' if self.above else 'from'} {self.low:.10g} to {self.high:.10g}"


@dataclass(frozen=True)
class Matches:
    """Strings that match `pattern` from end to end; `words` says what they are."""

    pattern: str
    words: str

    def admits(self, value: str) -> bool:
        return re.fullmatch(self.pattern, value) is not None

    def __str__(self) -> str:
        return self.words


class Checked(ABC):
    """Settings that the types of their fields do not check alone."""

    @abstractmethod
    def check(self, refuse: Callable[[str, str], SettingsError]) -> None:
        """Refuse what the fields allow one by one and SageMaker does not together.

        Args:
            refuse: makes the error of a field's name and what to do about it.

        Raises:
            SettingsError: one line.
        """


@dataclass(frozen=True)
class Entry:
    """A value, where it came from, and whether it is still the text that a person typed."""

    value: Any
    source: str
    text: bool

    def error(self, key: str, remedy: str) -> SettingsError:
        shown = repr(self.value).replace("\n", " ")
        return SettingsError(f"{key} = {shown} (from {self.source}): {remedy}")


def convert(hint: Any, key: str, given: Entry, expected: str = "") -> Any:
    """The value of `given` as the annotation `hint` wants it.

    Text of a shell is read, values of a file are taken as they are; `expected` says what is wanted
    (default: the words for `hint`).
    Raises SettingsError for a value of another type or one that the annotation does not admit.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    refusal = given.error(key, f"must be {expected or words(hint)}")
    if origin is UnionType or type(None) in arguments:
        return None if given.value == "" else convert(arguments[0], key, given)
    if origin is Annotated:
        value = convert(arguments[0], key, given, words(hint))
        if not arguments[1].admits(value):
            raise refusal
        return value
    if origin is tuple:
        items = given.value
        if given.text:
            items = [item.strip() for item in items.strip("[]").split(",") if item.strip()]
        if not isinstance(items, list):
            raise refusal
        return tuple(convert(arguments[0], key, Entry(item, given.source, given.text)) for item in items)
    if origin is Literal:
        for choice in arguments:
            if given.value == (str(choice) if given.text else choice):
                return choice
        raise refusal
    value = _read(hint, given.value) if given.text else given.value
    if hint is float and type(value) is int:
        value = float(value)
    if type(value) is not hint or (hint is float and not math.isfinite(value)):
        raise refusal
    return value


def _read(kind: type, text: str) -> Any:
    """`text` as `kind`, or `text` itself if it is none."""
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        return kind(text)
    except ValueError:
        return text


def words(hint: Any) -> str:
    """What a value of the annotation `hint` looks like, for people."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is UnionType or type(None) in arguments:
        return words(arguments[0])
    if origin is Annotated:
        constraint = arguments[1]
        return str(constraint) if isinstance(constraint, Matches) else f"{words(arguments[0])} {constraint}"
    if origin is tuple:
        return f"a list, each item {words(arguments[0])}"
    if origin is Literal:
        choices = ", ".join(str(choice) for choice in arguments)
        return choices if len(arguments) == 1 else f"one of {choices}"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a string in quotes"}
    return names[hint]
