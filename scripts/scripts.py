"""What `import scripts` finds first when a file of this folder runs as a program.

`python scripts/x.py` puts this folder first on sys.path; the root of the project belongs there, before
site-packages, since PyPI has a package named `entrypoints`. This module, found because it lies in the folder
under the folder's own name, puts the root there and then stands in for the package, so that every script
begins with `import scripts.command` and needs no path of its own. Imported from the root (tests, mypy,
import-linter, `python -m scripts.x`), `scripts` is the package and this module is never loaded.
"""

import signal
import sys
from pathlib import Path

# Ctrl-C during the imports that follow ends the command without a traceback; `command.run` takes over.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

_folder = Path(__file__).resolve().parent
sys.path[0] = str(_folder.parent)
__path__ = [str(_folder)]
