"""`python -m local` runs the local service until Ctrl-C; with --prune it frees disk space in its home."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import threading
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from local import prune
from local.endpoints.model_server import SERVERS, UVICORN, LaunchError
from local.home.disk import disk_fault
from local.home.home import Home, UnfitHome
from local.home.lock import HomeInUse, lock
from local.home.names import BUCKET_CHARACTERS, is_bucket_name
from local.home.store import Store
from local.processes.ending import end_at_once, end_soon
from local.service import LocalService

SETTINGS = Path(__file__).resolve().parents[1] / "pipeline.toml"
KEEP = 3  # one that serves, one to go back to, one to compare with
_AGE_S = {"h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}


class _Refusal(Exception):
    """Why nothing is served or pruned; the message is one line."""


def main() -> int:
    """Serve one home folder, or free disk space in it.

    Exit code 2 if the home is in use or unfit, the port is taken or no terminal can be asked; 1 for a "no".
    """
    parser = argparse.ArgumentParser(prog="python -m local", description=__doc__)
    parser.add_argument(
        "--home", type=Path, default=Path(".local-sagemaker"),
        help="where everything lies (.local-sagemaker); a fresh one gets the bucket that pipeline.toml names",
    )  # fmt: skip
    parser.add_argument("--port", type=_port, default=4566, help="0: any free port (default: 4566)")
    parser.add_argument("--region", default="us-east-1", help="the region in ARNs (default: us-east-1)")
    parser.add_argument("--server", choices=SERVERS, default=UVICORN, help="what serves endpoints (uvicorn)")
    room = parser.add_argument_group(
        "room on the disk",
        "--prune removes executions that have ended: their jobs' records and logs, what these left in S3, and"
        " their reports. It keeps what runs or can resume, registered and deployed models, and what the"
        " remaining executions read or reuse. It lists what it would remove, and asks.",
    )
    room.add_argument(
        "--prune", action="store_true", help="free disk space and exit; not while a service runs"
    )
    room.add_argument(
        "--keep", type=_number, metavar="N",
        help=f"keep the N newest executions of each pipeline (default: {KEEP}, or 0 with --older-than)",
    )  # fmt: skip
    room.add_argument(
        "--older-than", type=_age, metavar="AGE", help="keep what changed within this time: 12h, 7d or 4w"
    )
    room.add_argument("--yes", action="store_true", help="do not ask")
    arguments = parser.parse_args()
    if not arguments.prune:
        for name in ("keep", "older_than", "yes"):
            if getattr(arguments, name) not in (None, False):
                parser.error(f"--{name.replace('_', '-')} needs --prune; add --prune, or leave it out")
    try:
        return _prune(arguments) if arguments.prune else _serve(arguments)
    except (HomeInUse, UnfitHome, LaunchError, OSError, _Refusal) as error:
        print(f"local: {_in_words(error, arguments.home)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _serve(arguments: argparse.Namespace) -> int:
    ended = threading.Event()

    def end(number: int, _: object) -> None:
        if ended.is_set():
            end_soon(number)
            raise KeyboardInterrupt  # the second time: LocalService.stop waits no longer
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    fresh = not Home(arguments.home.resolve()).database.exists()
    bucket = _named_bucket(SETTINGS, os.environ) if fresh else ""
    service = LocalService(
        arguments.home,
        arguments.region,
        arguments.port,
        arguments.server,
        when_gone=lambda reason: end_at_once(f"local: {reason}"),
    )
    with service:
        if bucket:
            service.client("s3").create_bucket(Bucket=bucket)
        print(f"{service.url} serves {service.home.root}, also to a browser; stop it with Ctrl-C", flush=True)
        for note in service.notes:
            print(f"local: {note}", file=sys.stderr, flush=True)
        for arn in service.resumed:
            print(f"goes on with {arn}", flush=True)
        for page in service.pages():
            print(f"in a browser: {page}", flush=True)
        ended.wait()
        print("stopping", flush=True)
        for arn in service.running:
            print(f"the next service on this home goes on with {arn}", flush=True)
    return 0


def _named_bucket(settings: Path, environ: Mapping[str, str]) -> str:
    """The bucket that the project's settings name, "" for none: config/ reads them, which nothing here knows.

    Raises:
        _Refusal: the file is not TOML, or the name is none that S3 takes.
    """
    try:
        named = environ.get("PIPELINE_BUCKET") or tomllib.loads(settings.read_text("utf-8")).get("bucket", "")
    except FileNotFoundError:
        return ""
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _Refusal(f"{settings} is not TOML ({error}); mend it, then start again") from None
    if not isinstance(named, str) or not (named == "" or _can_be_made(named)):
        raise _Refusal(f"bucket = {named!r} in {settings} is no name of a bucket; mend it, then start again")
    return named


def _can_be_made(bucket: str) -> bool:
    return len(bucket) in BUCKET_CHARACTERS and is_bucket_name(bucket)


def _prune(arguments: argparse.Namespace) -> int:
    """Show what would be freed, ask, and remove it."""
    home = Home(arguments.home.resolve())
    if not home.database.is_file():
        raise _Refusal(f"{home.root} is not the home of a local service; name one with --home")
    if not (arguments.yes or sys.stdin.isatty()):
        raise _Refusal("--prune asks before it removes, and there is no terminal; add --yes")
    keep = arguments.keep
    if keep is None:
        keep = 0 if arguments.older_than else KEEP
    kept_open, _ = lock(home.root)
    with kept_open:
        store = Store(home.database)
        try:
            return _pruned(home, store, keep, arguments.older_than or 0, arguments.yes)
        finally:
            store.close()


def _pruned(home: Home, store: Store, keep: int, older_than_s: float, yes: bool) -> int:
    if store.damaged is not None:
        raise _Refusal(
            f"{home.database} was damaged and is set aside as {store.damaged.name}: what belongs to which"
            " execution is no longer known, so nothing was removed"
        )
    try:
        plan = prune.plan(home, store, prune.older(store, keep, older_than_s))
    except ValueError as error:
        raise _Refusal(
            f"a record of {home.root} is damaged ({error}); start python -m local on it once, which sets it"
            " aside, then prune again"
        ) from None
    console = Console(highlight=False, markup=False, emoji=False)
    console.print(
        f"of each pipeline the {keep} newest executions stay"
        + (f", and what changed in the last {older_than_s / 3600:g} hours" if older_than_s else "")
    )
    for reason, number in plan.kept.items():
        if number:
            console.print(f"also kept: {number} {reason}", soft_wrap=True)
    if not plan.prunings:
        console.print("nothing to remove")
        return 0
    console.print(_executions(plan.prunings), _kinds(plan.prunings))
    if not yes and input("Remove this? [y/N] ").strip().lower() not in ("y", "yes"):
        console.print("nothing is removed")
        return 1
    prune.carry_out(home, store, plan.prunings)
    console.print("removed")
    return 0


def _executions(prunings: Sequence[prune.Pruning]) -> Table:
    table = Table("pipeline", "execution", "MB")
    for pruning in prunings:
        pipeline, _, execution = pruning.arn.rpartition(":pipeline/")[2].partition("/execution/")
        table.add_row(_shown(pipeline), _shown(execution), _mb(sum(pruning.sizes.values())))
    return table


def _kinds(prunings: Sequence[prune.Pruning]) -> Table:
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for pruning in prunings:
        counts.update(pruning.counts)
        sizes.update(pruning.sizes)
    table = Table("what", "number", "MB", show_footer=True)
    for kind, number in counts.items():
        if number:
            table.add_row(kind, str(number), _mb(sizes[kind]))
    table.columns[0].footer, table.columns[2].footer = "in all", _mb(sum(sizes.values()))
    return table


def _shown(text: str) -> str:
    """A name with terminal control characters escaped."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _mb(size: int) -> str:
    return f"{size / 1e6:,.1f}"


def _in_words(error: Exception, home: Path) -> str:
    """One line, without the errno that Python puts before a system error."""
    if fault := disk_fault(error, home):
        return fault
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}; choose another folder with --home"
    return str(error)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port; choose one of 0 to 65535")
    return port


def _number(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of executions; expected 0 or more")
    return int(text)


def _age(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,5}[hdw]", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an age; expected hours, days or weeks, such as 12h, 7d, 4w"
        )
    return int(text[:-1]) * _AGE_S[text[-1]]


if __name__ == "__main__":
    sys.exit(main())
