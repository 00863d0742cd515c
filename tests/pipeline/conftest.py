import json
import runpy
from pathlib import Path

import pytest

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@pytest.fixture(scope="session")
def golden():
    """The names of tests/golden/write.py: FILE, SETTINGS, DIGESTS, definition."""
    return runpy.run_path(str(GOLDEN / "write.py"))


@pytest.fixture
def definition(golden):
    """The golden deployment's definition, built now."""
    return json.loads(golden["definition"]())


@pytest.fixture
def steps(definition):
    """Its steps by name, those of the branches included."""
    (check,) = [step for step in definition["Steps"] if step["Type"] == "Condition"]
    nested = check["Arguments"]["IfSteps"] + check["Arguments"]["ElseSteps"]
    return {step["Name"]: step for step in definition["Steps"] + nested}
