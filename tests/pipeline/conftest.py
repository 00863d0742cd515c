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
    """Its steps by name, including those of the branches."""
    return {step["Name"]: step for step in within(definition["Steps"])}


def within(steps):
    for step in steps:
        yield step
        if step["Type"] == "Condition":
            yield from within(step["Arguments"]["IfSteps"] + step["Arguments"]["ElseSteps"])
