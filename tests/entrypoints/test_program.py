from __future__ import annotations

from pathlib import Path

import pytest

from entrypoints.program import writing


def test_a_full_disk_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (
        pytest.raises(SystemExit) as stopped,
        writing("the metrics", tmp_path),
        Path("/dev/full").open("w") as full,
    ):
        full.write("accuracy")
    assert stopped.value.code == 1
    assert capsys.readouterr().err == (
        f"error: the metrics cannot be written to {tmp_path} (No space left on device); "
        "make room there and start again\n"
    )
