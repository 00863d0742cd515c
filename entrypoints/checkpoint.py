"""A training's state on disk after each epoch: a killed job resumes there."""

from __future__ import annotations

import hashlib
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
# SageMaker's folder for them if a job's CheckpointConfig has no LocalPath.
DEFAULT_FOLDER = Path("/opt/ml/checkpoints")


class CheckpointError(ValueError):
    """This training cannot resume from a checkpoint; the message is one line."""


def find_file(training: Mapping[str, Any]) -> Path | None:
    """A training's state file, in the folder that SageMaker copies to S3; None without checkpoints.

    Each training has its own file, independent of its job's name. The trials of a tuning job share one
    CheckpointConfig, and so do the attempts of a step, which are jobs with different names. An attempt must
    find the previous attempt's state, and a trial never another trial's.

    Args:
        training: JSON values that identify the training.
    """
    if (folder := _folder()) is None:
        return None
    text = json.dumps(training, sort_keys=True)
    return folder / f"checkpoint-{hashlib.sha256(text.encode()).hexdigest()[:16]}.pt"


def _folder() -> Path | None:
    if CONFIG_VARIABLE not in os.environ:
        return DEFAULT_FOLDER if DEFAULT_FOLDER.is_dir() else None
    config = Path(os.environ[CONFIG_VARIABLE])
    if not config.is_file():
        return None
    # The configuration is in /opt/ml/input/config.
    beside = config.parents[2] / "checkpoints"
    return Path(json.loads(config.read_text(encoding="utf-8")).get("LocalPath", beside))


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Replace the checkpoint by `state`, whole or not at all.

    On a full disk, warn once and keep the last checkpoint: a restart then repeats the epochs since.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    try:
        write_bytes(path, buffer.getvalue())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        print(
            f"warning: no checkpoint of this epoch in {path.parent} ({reason}); the last one stays",
            file=sys.stderr,
            flush=True,
        )


def load(path: Path) -> dict[str, Any] | None:
    """The training's saved state, its tensors on the CPU; None if there is none.

    Raises:
        CheckpointError: the file is damaged, or the disk cannot be read.
    """
    for unfinished in path.parent.glob(f".{path.name}.*"):  # left by a run killed while it wrote
        unfinished.unlink()
    if not path.is_file():
        return None
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except OSError as error:  # the disk's fault, which is no reason to remove a checkpoint
        reason = error.strerror or type(error).__name__
        raise CheckpointError(f"{path} cannot be read ({reason}); start the job again") from error
    except MemoryError:
        raise
    except Exception as error:
        # Pickle and zip readers each raise their own errors.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"{path} is not a checkpoint of this program ({reason}); remove it") from error
