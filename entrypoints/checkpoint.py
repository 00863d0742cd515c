"""A training's state on disk after each epoch: a job that was killed goes on from there."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from entrypoints.program import write_bytes

# smdebug.core.config_constants: CHECKPOINT_CONFIG_FILE_PATH_ENV_VAR.
CONFIG_VARIABLE = "CHECKPOINT_CONFIG_FILE_PATH"
# Where SageMaker puts them when a job's CheckpointConfig has no LocalPath.
DEFAULT_FOLDER = Path("/opt/ml/checkpoints")
FILE = "checkpoint.pt"


class CheckpointError(ValueError):
    """A checkpoint that this training cannot go on from; the message is one line."""


def find_folder() -> Path | None:
    """This job's part of the folder that SageMaker keeps in S3 while it runs; None without checkpoints.

    Each job has a part of its own: the trials of a tuning job share one CheckpointConfig, and a job that
    a spot instance lost keeps its name.
    """
    if (folder := _shared_folder()) is None:
        return None
    part = folder / os.environ.get("TRAINING_JOB_NAME", "")
    part.mkdir(parents=True, exist_ok=True)
    return part


def _shared_folder() -> Path | None:
    if CONFIG_VARIABLE not in os.environ:
        return DEFAULT_FOLDER if DEFAULT_FOLDER.is_dir() else None
    config = Path(os.environ[CONFIG_VARIABLE])
    if not config.is_file():
        return None
    # The configuration lies in /opt/ml/input/config.
    beside = config.parents[2] / "checkpoints"
    return Path(json.loads(config.read_text(encoding="utf-8")).get("LocalPath", beside))


def save(folder: Path, training: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Replace the checkpoint by `state`, whole or not at all.

    `training` tells one training from another. Where the disk is full, that is one warning and the last
    checkpoint stays: it only costs the epochs since.
    """
    buffer = io.BytesIO()
    torch.save({"training": dict(training), "state": dict(state)}, buffer)
    try:
        write_bytes(folder / FILE, buffer.getvalue())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        print(
            f"warning: no checkpoint of this epoch in {folder} ({reason}); the last one stays",
            file=sys.stderr,
            flush=True,
        )


def load(folder: Path, training: Mapping[str, Any]) -> dict[str, Any] | None:
    """The state that the same training saved, its tensors on the CPU; None when it saved none.

    Raises:
        CheckpointError: the file is damaged, or comes from another training.
    """
    path = folder / FILE
    for unfinished in folder.glob(f".{FILE}.*"):  # of a run that was killed while it wrote
        unfinished.unlink()
    if not path.is_file():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        before, state = saved["training"], dict(saved["state"])
    except Exception as error:
        # Pickle and zip readers each raise their own.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path} is no checkpoint of this program ({reason}); remove it") from error
    for name in sorted(before.keys() | training.keys()):
        if before.get(name) != training.get(name):
            raise CheckpointError(
                f"{path} comes from a training with {name} {before.get(name)}, not {training.get(name)}; "
                "remove it or use another folder"
            )
    return state
