"""The pipeline definition as text: canonical, and compared."""

import difflib
import json
from typing import Any


def canonical(definition: str | dict[str, Any]) -> str:
    """The definition as JSON with sorted keys and two spaces; equal definitions give equal text."""
    document = json.loads(definition) if isinstance(definition, str) else definition
    return json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def diff(live: str | dict[str, Any], new: str | dict[str, Any]) -> list[str]:
    """What would change in the live definition: unified diff lines, none if they are equal."""
    before, after = canonical(live).splitlines(), canonical(new).splitlines()
    return list(difflib.unified_diff(before, after, "live", "new", lineterm=""))
