"""The environment variables of the programs that the service starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def base_environment(service: Mapping[str, str]) -> dict[str, str]:
    """The environment that every job starts from: this interpreter first on PATH, the service's own
    variables (endpoint, region, credentials), and pip kept from changing the environment.
    """
    names = ("HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "CUDA_VISIBLE_DEVICES")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return {
        **kept,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
        "PIP_NO_INDEX": "1",  # a requirement that is missing here fails the job by name ...
        "PIP_CONFIG_FILE": os.devnull,  # ... whatever the user's own pip configuration says
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        **service,
    }
