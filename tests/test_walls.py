"""import-linter's contracts hold: an import that one of them forbids is found."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINTER = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]

# A contract's name, a module that breaks it, and what that module imports.
FORBIDDEN = [
    ("The layers import only from below", "steps/scratch.py", "pipeline.definition"),
    ("The layers import only from below", "config/scratch.py", "steps.code"),
    ("The wings of the local service import only from below", "local/wire/scratch.py", "local.home.store"),
    (
        "The wings of the local service import only from below",
        "local/endpoints/scratch.py",
        "local.functions.code",
    ),
    ("The wings of the local service import only from below", "local/scratch.py", "json"),
    (
        "The entry points are known by their contract",
        "steps/scratch.py",
        "entrypoints.archives",
    ),
    (
        "The entry points are known by their contract",
        "steps/scratch.py",
        "entrypoints.scratch",
    ),
    (
        "The entry points are known by their contract",
        "local/scratch.py",
        "entrypoints.model",
    ),
    ("The local service stands alone", "local/scratch.py", "config.settings"),
    ("The local service stands alone", "local/scratch.py", "sagemaker"),
    ("A command for AWS does without the local service", "scripts/reporting/scratch.py", "local.home.home"),
    ("No program needs a test or a benchmark", "entrypoints/scratch.py", "benchmarks.load"),
    ("No program needs a test or a benchmark", "steps/scratch.py", "tests.browser"),
    ("The entry points run in containers, alone", "entrypoints/scratch.py", "config.settings"),
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project's folders, with a new module among the entry points."""
    folder = tmp_path_factory.mktemp("house")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name in LINTER["root_packages"]:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "entrypoints" / "scratch.py").touch()
    return folder


def lint(house: Path) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=house, capture_output=True, text=True, timeout=60, check=False)


def test_the_house_keeps_its_contracts(house):
    completed = lint(house)
    assert completed.returncode == 0, completed.stdout


@pytest.mark.parametrize(("contract", "module", "imported"), FORBIDDEN)
def test_a_forbidden_import_is_found(house, contract, module, imported):
    scratch = house / module
    before = scratch.read_text() if scratch.exists() else None
    scratch.write_text(f"import {imported}\n")
    try:
        completed = lint(house)
    finally:
        scratch.unlink() if before is None else scratch.write_text(before)
    assert completed.returncode == 1
    assert f"{contract} BROKEN" in completed.stdout


def test_every_contract_is_broken_once():
    assert {contract["name"] for contract in LINTER["contracts"]} == {contract for contract, *_ in FORBIDDEN}
