"""The code of a fork, which becomes `python COMMAND...`. forked.py sets the names that are undefined here."""

import atexit
import logging
import os
import runpy
import sys
from pathlib import Path
from types import ModuleType

import boto3
import torch

given = globals()
os.chdir(given["folder"])
os.environ.clear()
os.environ.update(given["environment"])
for descriptor, name in enumerate([os.devnull, *given["streams"]]):
    file = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
    os.dup2(file, descriptor)
    os.close(file)

# sys.path as Python builds it from its command and PYTHONPATH; this folder was there only for preload.py.
kind = given["command"][0]
alone = kind not in ("-m", "-c")
sys.argv = given["command"] if alone else given["command"][1:]
first = str(Path(sys.argv[0]).parent) if alone else str(Path.cwd()) if kind == "-m" else ""
named = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
folder = str(Path(__file__).parent)
sys.path[:] = [first, *named, *(entry for entry in sys.path if entry not in {"", folder})]

runpy.run_path(str(Path(__file__).with_name("scripts") / "prefixes.py"))["guard"]()
# Leftovers of importing the SDK, and what torch read earlier.
logging.root.handlers.clear()
logging.root.setLevel(logging.WARNING)
boto3.DEFAULT_SESSION = None
if threads := os.environ.get("OMP_NUM_THREADS"):
    torch.set_num_threads(int(threads))
try:
    if alone:
        runpy.run_path(sys.argv[0], run_name="__main__")
    elif kind == "-m":
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        module = sys.modules["__main__"] = ModuleType("__main__")
        code, sys.argv[0] = sys.argv[0], "-c"
        exec(compile(code, "<string>", "exec"), vars(module))
finally:
    atexit._run_exitfuncs()  # which multiprocessing's forks leave out
