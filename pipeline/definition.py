"""The pipeline's definition as text: canonical form, own digest, differences."""

import difflib
import hashlib
import json
import re
from typing import Any

from entrypoints.contract import DEFINITION_SHA256, NO_SHA256

_NAMED = re.compile(rf"({DEFINITION_SHA256}\W+)[0-9a-f]{{64}}")


def canonical(definition: str | dict[str, Any]) -> str:
    """The definition as JSON with sorted keys, indented by two; equal definitions give equal text."""
    document = json.loads(definition) if isinstance(definition, str) else definition
    return json.dumps(document, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def sealed(definition: str | dict[str, Any]) -> str:
    """The canonical text, with its digest inserted in the model package's card (steps/card.py)."""
    return _NAMED.sub(rf"\g<1>{digest(definition)}", canonical(definition))


def digest(definition: str | dict[str, Any]) -> str:
    """SHA-256 of the canonical text, with 64 zeros in place of the digest inside it.

    It also covers all code: the bundles' addresses contain their digests.
    """
    return hashlib.sha256(_NAMED.sub(rf"\g<1>{NO_SHA256}", canonical(definition)).encode()).hexdigest()


def diff(live: str | dict[str, Any], new: str | dict[str, Any]) -> list[str]:
    """Changes to the live definition: unified diff lines, none if equal."""
    before, after = canonical(live).splitlines(), canonical(new).splitlines()
    return list(difflib.unified_diff(before, after, "live", "new", lineterm=""))
