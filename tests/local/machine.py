"""The machine's own /opt/ml, which no program may change."""

from pathlib import Path

HOST = Path("/opt/ml")


def machine() -> list[tuple[str, int]]:
    """The content of the machine's own /opt and /opt/ml."""
    return sorted(
        (str(path), path.lstat().st_mtime_ns)
        for folder in (HOST.parent, HOST)
        if folder.is_dir()
        for path in folder.iterdir()
    )
