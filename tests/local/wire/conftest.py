"""The scene of the guard's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from local.service import LocalService
from tests.local.wire.scene import Scene


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("guard")
    with LocalService(folder / "home") as service:
        yield Scene(folder, service)


@pytest.fixture
def scene(made: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """The module's scene, in a working directory without records."""
    monkeypatch.chdir(tmp_path)
    return made
