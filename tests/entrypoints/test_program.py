from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from entrypoints.program import writing

# Prints how many pages the kernel provided for ten blocks of 64 MiB, allocated one after the other.
FAULTS = """\
import resource
import sys
from entrypoints.program import keep_freed_memory

def fill():
    bytearray(64 << 20)

if sys.argv[1] == "kept":
    keep_freed_memory()
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has mallopt")
def test_freed_memory_is_used_again() -> None:
    def faults(what: str) -> int:
        command = [sys.executable, "-c", FAULTS, what]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert faults("kept") < 100 < 1000 < faults("given back")


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
