"""The former name of `endpoints.py delete`, with the same options."""

from __future__ import annotations

if not __package__:
    import root  # noqa: F401

import sys
from collections.abc import Sequence

import scripts.command as command
from scripts import endpoints


def main(argv: Sequence[str] | None = None) -> int:
    return endpoints.main(["delete", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    command.run(main)
