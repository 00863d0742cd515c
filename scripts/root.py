"""Imported by a command that runs as a file: puts the project's root first on sys.path.

`python scripts/x.py` puts this folder there. The root must be there instead, before site-packages, since PyPI
has a package named `entrypoints`; this folder must not, since its modules could hide others. Imported as
`scripts.x` (tests, mypy, import-linter, `python -m scripts.x`), a command does not need this.

A .pth file in the environment would do the same without a line in each command, but jobs on this machine
could then import the whole project, which no container holds.
"""

import signal
import sys
from pathlib import Path

# Ctrl-C during the imports that follow ends the command without a traceback; `command.run` takes over.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

sys.path[0] = str(Path(__file__).resolve().parents[1])
