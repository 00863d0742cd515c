"""Pages for browsers, from a Jinja template beside the code that fills it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template


def template(file: Path, filters: Mapping[str, Callable[..., Any]] = MappingProxyType({})) -> Template:
    """A template that escapes all that it is given, and refuses a name that it is not given."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # with the first page

    environment = Environment(
        loader=FileSystemLoader(file.resolve().parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    return environment.get_template(file.name)
