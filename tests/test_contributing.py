"""CONTRIBUTING.md's list of modules matches the folders."""

import tomllib
from pathlib import Path

import pytest

from entrypoints.contract import VERSION

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("config", "entrypoints", "local", "pipeline", "scripts", "steps")


@pytest.fixture(scope="module")
def drawn() -> dict[str, set[str]]:
    """The words in the list for each folder."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    picture = text.partition("Module by module:\n\n```\n")[2].partition("```")[0]
    words: dict[str, set[str]] = {}
    for line in picture.splitlines():
        if not line.startswith(" "):
            folder, _, line = line.partition("/")
        words.setdefault(folder, set()).update(line.split())
    return words


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_module_is_drawn_and_no_other(drawn, folder):
    files = [path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*.py")]
    modules = {file.as_posix() for file in files if not file.name.startswith("__")}
    assert {word for word in drawn[folder] if word.endswith(".py")} == modules


def test_the_version_that_models_name_is_that_of_the_project():
    assert (
        tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"] == VERSION
    )
