"""Runs training jobs as forks of itself: `python -P zygote.py CHANNEL_FD`, in a training job's environment.

The toolkit's work for every job (unpack the code, let pip check its requirements) and the program's imports
(mainly torch) happen once; after that a job costs one fork. Arguments, variables and folders of a fork come
from the toolkit's own functions. This is a separate program that imports nothing from the local service. An
error before it is ready ends it; the toolkit then reports the reason.

The channel is a socket that keeps message boundaries; each message is one JSON object. It sends {} when it is
ready. For each message {"variables": {...}, "folder": "<job>/ml", "own": true, "log": "<job>/log.txt"} it
sends {"pid": p}; the service answers {"runs": true} when that process is recorded; it sends
{"pid": p, "status": s} when that process has ended. "own": whether the folder becomes the process's /opt/ml,
as for this process and for jobs that the toolkit starts (launcher.py).
"""

from __future__ import annotations

import ast
import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from sagemaker_training import environment, files, modules, params

MESSAGE_BYTES = 1 << 20


def main(launcher: str, descriptor: str) -> None:
    channel = socket.socket(fileno=int(descriptor))
    channel.set_inheritable(False)
    give_own = runpy.run_path(launcher)["own"]
    code = Path(environment.code_dir)
    env = environment.Environment()
    # As in sagemaker_training.trainer.train: torchrun's parameter is for the toolkit in PyTorch's containers.
    if env.framework_module or env.additional_framework_parameters.get(params.MPI_ENABLED):
        sys.exit("a framework's own launcher runs this program: not forked")
    in_fork(lambda: unpack(env.module_dir, code))
    if (code / "setup.py").exists():
        sys.exit("the code is a package to be installed: not forked")
    for statement in outside_imports(code, code / env.user_entry_point):
        exec(compile(statement, "imports of the program", "exec"), {})
    # numpy's OpenBLAS ends its threads before a fork. Other threads would be missing in every fork.
    in_fork(lambda: None)
    if len([*Path("/proc/self/task").iterdir()]) > 1:
        sys.exit("a module that the program imports has started threads: not forked")
    gc.freeze()  # so that forks' garbage collection does not touch, and so copy, these objects
    channel.send(b"{}")
    if request := serve(channel):
        become(code, give_own, **request)


def in_fork(work: Callable[[], None]) -> None:
    """Do something in a fork, so that it leaves no thread, connection or boto3 session in this process."""
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    os.close(os.pidfd_open(pid))  # fails here, not later, if the kernel lacks it
    if os.waitpid(pid, 0)[1]:
        sys.exit(1)


def unpack(uri: str, code: Path) -> None:
    """Do what sagemaker_training.entry_point.run does before it runs a script."""
    files.download_and_extract(uri, str(code))
    if modules.has_requirements(str(code)):
        modules.install_requirements(str(code))


def outside_imports(code: Path, program: Path) -> Iterator[ast.Module]:
    """The import statements, at the top of a program and of what it imports from `code`, of other modules."""
    todo, done = [program], set()
    while todo:
        path = todo.pop()
        if path in done:
            continue
        done.add(path)
        for node in ast.parse(path.read_bytes(), str(path)).body:
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                continue
            if own := [file for name in names for file in module_files(name, (program.parent, code))]:
                todo += own
            elif "__future__" not in names:
                yield ast.Module([node], [])


def module_files(name: str, folders: tuple[Path, ...]) -> list[Path]:
    """The files below `folders` that importing a module runs, its packages among them."""
    parts = name.split(".")
    bases = [folder.joinpath(*parts[: end + 1]) for folder in folders for end in range(len(parts))]
    found = [path for base in bases for path in (base.with_suffix(".py"), base / "__init__.py")]
    return [path for path in found if path.is_file()]


def serve(channel: socket.socket) -> dict[str, Any] | None:
    """Fork for each request; return the request in the fork, and None here once the service is gone."""
    running: dict[int, int] = {}  # a descriptor of the process -> its pid
    with selectors.DefaultSelector() as selector, channel, contextlib.suppress(ConnectionError):
        selector.register(channel, selectors.EVENT_READ)
        connected = True
        while connected:
            for key, _ in selector.select():
                if key.fd in running:
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    pid = running.pop(key.fd)
                    failed = os.waitpid(pid, 0)[1] != 0
                    # The toolkit ends with 1 however its program failed (trainer.DEFAULT_FAILURE_CODE).
                    channel.send(json.dumps({"pid": pid, "status": int(failed)}).encode())
                elif message := channel.recv(MESSAGE_BYTES):
                    request: dict[str, Any] = json.loads(message)
                    gate, opener = os.pipe()
                    pid = os.fork()
                    if pid == 0:
                        for descriptor in (*running, opener):
                            os.close(descriptor)
                        if not os.read(gate, 1):
                            os._exit(1)  # it is not on record
                        os.close(gate)
                        return request
                    os.close(gate)
                    os.setpgid(pid, pid)  # before anybody can know its pid
                    descriptor = os.pidfd_open(pid)
                    running[descriptor] = pid
                    selector.register(descriptor, selectors.EVENT_READ)
                    channel.send(json.dumps({"pid": pid}).encode())
                    answer = channel.recv(MESSAGE_BYTES)  # nothing comes before it
                    if answer and json.loads(answer)["runs"]:
                        os.write(opener, b"\n")
                    os.close(opener)
                    connected = bool(answer)
                else:
                    connected = False
    for pid in running.values():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
    return None


def become(
    code: Path, give_own: Callable[[str], None], variables: dict[str, str], folder: str, own: bool, log: str
) -> None:
    """Become the process in which the toolkit would run the program: Python reports its errors."""
    os.setpgid(0, 0)
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(descriptor, stream.fileno())
    os.close(descriptor)

    # The toolkit's module `environment` reads the job's folder when it is imported.
    os.environ.update(variables)
    shutil.copytree(code, Path(folder, "code"), dirs_exist_ok=True)
    if own:
        give_own(folder)  # hides the previous /opt/ml
    importlib.reload(environment)
    env = environment.Environment()
    sys.path[:0] = [environment.code_dir, environment.base_dir]
    environment.write_env_vars(env.to_env_vars())

    # As `python PROGRAM ARGUMENTS` in the folder of the code.
    os.chdir(environment.code_dir)
    program = Path(environment.code_dir, env.user_entry_point)
    sys.path.insert(0, str(program.parent))
    sys.argv = [env.user_entry_point, *env.to_cmd_args()]
    # Seeded at import: unless the program seeds them, all forks would draw the same numbers.
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()
    if torch := sys.modules.get("torch"):
        torch.default_generator.seed()
    module = sys.modules["__main__"] = ModuleType("__main__")
    module.__file__ = str(program)
    exec(compile(program.read_bytes(), program, "exec"), vars(module))
    end()


def end() -> None:
    """Do the visible part of Python's finalization, in its order (Py_FinalizeEx), and no more:
    freeing what is shared with the zygote would copy it (0.3 s).
    """
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as multiprocessing's forks do
    atexit._run_exitfuncs()
    for item in (sys.stdout, sys.stderr, *gc.get_objects()):
        if isinstance(item, io.IOBase) and not item.closed:
            item.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
