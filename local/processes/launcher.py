"""A process that waits until it is recorded, mounts its own /opt/ml and becomes a program.

A separate program, since a process with threads cannot enter a user namespace; it imports nothing from the
local service. The machine's file system does not change: only this process and its children see the mounts.

    python launcher.py GATE own FOLDER COMMAND ...     FOLDER is the /opt/ml of COMMAND
    python launcher.py GATE guarded FOLDER COMMAND ... COMMAND cannot write into the machine's /opt/ml
    python launcher.py GATE "" "" COMMAND ...          COMMAND needs no /opt/ml

GATE is a descriptor: it delivers a byte once the process is recorded (start.py), and end of file if the
service ended before. With "" there is no wait.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

OPT_ML = "/opt/ml"
# sched.h, sys/mount.h
_NEW_MOUNTS, _NEW_USERS = 0x00020000, 0x10000000
_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 0x40000
# linux/landlock.h, whose system calls have the same numbers on every processor; linux/prctl.h
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
_WRITE_FILE, _REFER, _TRUNCATE = 1 << 1, 1 << 13, 1 << 14
_CHANGE_FOLDER = sum(1 << bit for bit in range(4, 13)) | _REFER  # make, remove, and move between folders
_NO_NEW_PRIVILEGES = 38


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def own(folder: str) -> None:
    """Mount `folder` as this process's /opt/ml; a working directory in it moves along.

    Raises:
        OSError: the kernel, AppArmor or seccomp forbids it.
    """
    here, real = Path.cwd(), Path(folder).resolve()
    _leave_mounts()
    source = os.open(folder, os.O_PATH | os.O_DIRECTORY)  # only now: mounts need the new namespace
    if not Path(OPT_ML).is_dir():
        _make_place(Path(OPT_ML))
    _mount(f"/proc/self/fd/{source}", OPT_ML, _BIND | _RECURSIVE)
    os.close(source)
    if here.is_relative_to(real):
        os.chdir(Path(OPT_ML, here.relative_to(real)))


def _leave_mounts() -> None:
    """Enter a mount namespace; without the right to, also a user namespace with the same user ids."""
    user, group = os.getuid(), os.getgid()
    try:
        _call("unshare", _NEW_MOUNTS)
    except PermissionError:
        _call("unshare", _NEW_MOUNTS | _NEW_USERS)
        # user_namespaces(7): without setgroups a process may map its own group.
        for file, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            descriptor = os.open(f"/proc/self/{file}", os.O_WRONLY)
            os.write(descriptor, text.encode())
            os.close(descriptor)
    _mount("none", "/", _RECURSIVE | _PRIVATE)


def _make_place(folder: Path) -> None:
    """Make the folder /opt/ml, in an /opt with everything that is in the machine's."""
    before = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY)
    there = Path(f"/proc/self/fd/{before}")
    names = [
        path.name for path in there.iterdir() if path.name != folder.name
    ]  # a link would not be a folder
    _mount("tmpfs", str(folder.parent), 0, "tmpfs", "mode=755")
    for old, new in ((there / name, folder.parent / name) for name in names):
        if old.is_symlink():
            new.symlink_to(old.readlink())
            continue
        if old.is_dir():
            new.mkdir()
        else:
            new.touch()
        _mount(str(old), str(new), _BIND | _RECURSIVE)
    os.close(before)
    folder.mkdir()


def guarded(_folder: str) -> None:
    """Forbid this process and its children to change or create the machine's /opt/ml.

    Landlock (https://docs.kernel.org/userspace-api/landlock.html) only has rules that allow: so changes are
    allowed below everything except /opt/ml and its parents.

    Raises:
        OSError: the kernel has no Landlock, or a version that forbids moving files between folders.
    """
    version = _system_call(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)
    if version < 2:
        raise OSError(f"Landlock's version is {version}, which forbids moving files between folders")
    file = _WRITE_FILE | (_TRUNCATE if version > 2 else 0)
    handled = ctypes.c_uint64(file | _CHANGE_FOLDER)
    rules = _system_call(_CREATE_RULESET, ctypes.byref(handled), ctypes.c_size_t(8), 0)
    path = Path(OPT_ML).resolve()
    for folder, towards in zip(path.parents, (path, *path.parents), strict=False):
        for beside in folder.iterdir() if folder.is_dir() else ():
            if beside != towards and not beside.is_symlink():
                descriptor = os.open(beside, os.O_PATH)
                beneath = _Beneath(file | _CHANGE_FOLDER if beside.is_dir() else file, descriptor)
                _system_call(_ADD_RULE, rules, _PATH_BENEATH, ctypes.byref(beneath), 0)
                os.close(descriptor)
    _call("prctl", _NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    _system_call(_RESTRICT_SELF, rules, 0)
    os.close(rules)


def _mount(source: str, target: str, flags: int, kind: str | None = None, options: str | None = None) -> None:
    words = [word.encode() if word else None for word in (source, target, kind, options)]
    _call("mount", words[0], words[1], words[2], ctypes.c_ulong(flags), words[3])


def _call(name: str, *arguments: object) -> int:
    """A function of the C library.

    Raises:
        OSError: it fails, or the system does not have it.
    """
    function = getattr(ctypes.CDLL(None, use_errno=True), name, None)
    if function is None:
        raise OSError(f"this system has no {name}")
    result: int = function(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


def _system_call(*arguments: object) -> int:
    return _call("syscall", *arguments)


def main(gate: str, way: str, folder: str, *command: str) -> None:
    if gate:
        if not os.read(int(gate), 1):
            sys.exit("the service ended before this process was recorded")
        os.close(int(gate))
    try:
        if way:
            {"own": own, "guarded": guarded}[way](folder)
    except OSError as error:
        sys.exit(error.strerror or str(error))
    for number in (
        signal.SIGPIPE,
        signal.SIGXFSZ,
    ):  # Python ignores these signals, and the program would inherit that
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127)  # the exit status of shells and Docker


if __name__ == "__main__":
    main(*sys.argv[1:])
