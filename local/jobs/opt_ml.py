"""A job's /opt/ml, which lies in the job's folder.

The prefix /opt/ml is replaced in its arguments, environment and configuration files, so programs that take
every path from these run unchanged.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

OPT_ML = "/opt/ml"


def rewritten(value: Any, ml: Path) -> Any:
    """A string, list or dict with the prefix /opt/ml replaced by the folder `ml` in every string."""
    if isinstance(value, str):
        return value.replace(OPT_ML, str(ml)) if OPT_ML in value else value
    if isinstance(value, list):
        return [rewritten(item, ml) for item in value]
    if isinstance(value, dict):
        return {key: rewritten(item, ml) for key, item in value.items()}
    return value
