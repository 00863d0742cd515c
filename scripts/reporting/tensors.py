"""The training loss that Debugger recorded, read by smdebug's own trial."""

from __future__ import annotations

import json
import os
import re
import struct
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from scripts.reporting.parts import Losses
from scripts.reporting.store import Store, Unavailable, parallel, spread

# If a plot has no room for all steps, some are left out.
MAX_STEPS = 400
# smdebug.core.access_layer.utils.END_OF_JOB_FILENAME
END_OF_JOB = "training_job_end.ts"
# Errors of smdebug's readers on damaged tensors, besides SMDebugError.
DAMAGE = (ArithmeticError, LookupError, NameError, TypeError, ValueError, struct.error)


@contextmanager
def light_smdebug() -> Iterator[None]:
    """Import smdebug without torch (half a gigabyte, seconds) and without its log, which goes to stdout."""
    os.environ.setdefault("SMDEBUG_LOG_LEVEL", "critical")
    absent = "torch" not in sys.modules
    if absent:
        sys.modules["torch"] = None  # type: ignore[assignment]  # an import then raises ImportError
    try:
        yield
    finally:
        if absent:
            del sys.modules["torch"]


def read(store: Store, prefix: str, status: str) -> Losses:
    """The losses below `prefix`, a job's debug-output.

    Raises:
        Unavailable: nothing is recorded there (yet), or it cannot be read.
    """
    with light_smdebug():
        from smdebug.exceptions import SMDebugError

    sizes = dict(store.list(prefix))
    collections = sorted(uri for uri in sizes if uri.endswith("_collections.json"))
    index = sorted(uri for uri in sizes if "/index/" in uri)
    if not collections or not index:
        reason = (
            "the training is still running" if status == "InProgress" else "the hook may have failed to start"
        )
        raise Unavailable(f"Debugger recorded nothing below {prefix}; {reason}.")
    with tempfile.TemporaryDirectory() as folder:
        try:
            copy(store, prefix, collections, thinned(index, MAX_STEPS), sizes, Path(folder))
            return losses(Path(folder))
        except (SMDebugError, *DAMAGE) as error:
            raise Unavailable(f"What Debugger recorded below {prefix} cannot be read ({error!r}).") from error


def thinned(index: list[str], count: int) -> list[str]:
    """The index files of at most `count` steps; a complete step has one from each worker."""

    def step(uri: str) -> str:
        return uri.rpartition("/")[2].partition("_")[0]

    chosen = set(spread(sorted(set(map(step, index))), count))
    return [uri for uri in index if step(uri) in chosen]


def copy(
    store: Store,
    prefix: str,
    collections: list[str],
    index: list[str],
    sizes: Mapping[str, int],
    folder: Path,
) -> None:
    """Copy only the losses: the files are sparse, with S3's offsets."""
    losses = store.read_json(collections[0])["collections"]["losses"]
    wanted = re.compile("|".join([*losses["include_regex"], *map(re.escape, losses["tensor_names"])]))
    for uri in collections:
        _write(folder, uri.removeprefix(prefix), 0, store.read(uri))
    # Tells smdebug that nothing more will come; otherwise it would wait.
    _write(folder, END_OF_JOB, 0, b"")

    def fetch(uri: str) -> None:
        record = store.read_json(uri)
        event = f"{prefix}/{record['meta']['event_file_name']}"
        if event not in sizes:  # a half-uploaded step
            return
        record["tensor_payload"] = [
            tensor for tensor in record.get("tensor_payload", []) if wanted.match(tensor["tensorname"])
        ]
        for tensor in record["tensor_payload"]:
            start, length = int(tensor["start_idx"]), int(tensor["length"])
            _write(folder, event.removeprefix(prefix), start, store.read(event, start, length))
        if record["tensor_payload"]:
            _write(folder, uri.removeprefix(prefix), 0, json.dumps(record).encode())

    parallel(fetch, index)


def losses(folder: Path) -> Losses:
    """The training losses of a local debug-output.

    Raises:
        Unavailable: there are no losses.
    """
    with light_smdebug():
        from smdebug.core.modes import ModeKeys
        from smdebug.trials import create_trial

    if not any((folder / "index").glob("*/*")):
        raise Unavailable("Debugger recorded steps, but no loss among them.")
    trial: Any = create_trial(str(folder))
    trial.dynamic_refresh = False
    found: dict[int, float] = {}
    for name in trial.tensor_names(collection="losses"):
        values = trial.tensor(name).values(mode=ModeKeys.TRAIN)
        found |= {int(step): float(np.mean(value)) for step, value in values.items()}
    if not found:
        raise Unavailable("Debugger recorded no training loss.")
    steps = sorted(found)
    recorded = trial.steps()
    trained = [
        step + 1 if mode == ModeKeys.TRAIN else total - step
        for total in recorded
        for mode, step in [trial.mode_modestep(total)]
    ]
    return Losses(
        np.array(steps) + 1,
        np.array([found[step] for step in steps]),
        np.array(recorded),
        np.array(trained),
    )


def _write(folder: Path, name: str, start: int, content: bytes) -> None:
    path = folder / name.lstrip("/")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise Unavailable(f"Debugger's index names {name}, which lies outside its own folder.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("r+b" if path.exists() else "wb") as file:
        file.seek(start)
        file.write(content)
