"""What a fork runs: it becomes `python COMMAND...`. forked.py gives it the names that nobody defines here."""

import atexit
import logging
import os
import runpy
import sys
from pathlib import Path

import boto3

given = globals()
os.chdir(given["folder"])
os.environ.clear()
os.environ.update(given["environment"])
for descriptor, name in enumerate([os.devnull, *given["streams"]]):
    file = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
    os.dup2(file, descriptor)
    os.close(file)
sys.argv = given["command"]
runpy.run_path(str(Path(given["__file__"]).with_name("prefixes.py")))["guard"]()
root = str(Path(sys.argv[0]).parents[1])
sys.path[:] = [str(Path(sys.argv[0]).parent), *(entry for entry in sys.path if entry not in {"", root})]
# What importing the SDK left.
logging.root.handlers.clear()
logging.root.setLevel(logging.WARNING)
boto3.DEFAULT_SESSION = None
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    atexit._run_exitfuncs()  # which a fork of multiprocessing leaves out
