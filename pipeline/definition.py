"""The pipeline's definition as text: canonical, with its own digest, and compared."""

import difflib
import hashlib
import json
import re
from typing import Any

from entrypoints.contract import DEFINITION_SHA256, NO_SHA256

_NAMED = re.compile(rf"({DEFINITION_SHA256}\W+)[0-9a-f]{{64}}")


def canonical(definition: str | dict[str, Any]) -> str:
    """The definition as JSON with sorted keys and two spaces; equal definitions give equal text."""
    document = json.loads(definition) if isinstance(definition, str) else definition
    return json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def sealed(definition: str | dict[str, Any]) -> str:
    """The canonical text, with its digest where the card of a model package names it (steps/card.py)."""
    return _NAMED.sub(rf"\g<1>{digest(definition)}", canonical(definition))


def digest(definition: str | dict[str, Any]) -> str:
    """SHA-256 of the canonical text, with 64 zeros for the digest that the text itself holds.

    It is also that of all code: the addresses of the bundles are digests of theirs.
    """
    return hashlib.sha256(_NAMED.sub(rf"\g<1>{NO_SHA256}", canonical(definition)).encode()).hexdigest()


def diff(live: str | dict[str, Any], new: str | dict[str, Any]) -> list[str]:
    """What would change in the live definition: unified diff lines, none if they are equal."""
    before, after = canonical(live).splitlines(), canonical(new).splitlines()
    return list(difflib.unified_diff(before, after, "live", "new", lineterm=""))
