"""A training's own measurements: losses, learning rate, accuracies, and the time of each phase."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from entrypoints.contract import EPOCH_COLUMNS, STEP_COLUMNS, TRAINING_EPOCHS, TRAINING_STEPS
from entrypoints.program import write_bytes

MAX_STEP_ROWS = 2000
PHASES = tuple(column for column in STEP_COLUMNS if column.endswith("_s"))


class Journal:
    """Rows of STEP_COLUMNS, at most MAX_STEP_ROWS and one for each epoch, and of EPOCH_COLUMNS.

    A GPU works asynchronously: there, a phase's time is the time that it waits.
    """

    def __init__(self, steps: int) -> None:
        """A journal for a training of `steps` steps."""
        self.steps: list[dict[str, float]] = []
        self.epochs: list[dict[str, float]] = []
        self._every = -(-steps // MAX_STEP_ROWS)
        self._last: dict[str, float] = {}
        self._losses: list[float] = []
        self._seconds = dict.fromkeys(PHASES, 0.0)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a part of the current step: data, forward, backward or optimizer."""
        began = time.perf_counter()
        yield
        self._seconds[f"{name}_s"] += time.perf_counter() - began

    def step(self, step: int, epoch: int, loss: float, learning_rate: float) -> None:
        """End a step (from 1, over the whole training)."""
        self._losses.append(loss)
        self._last = {"step": step, "epoch": epoch, "learning_rate": learning_rate}
        if step % self._every == 0:
            self._end_row()

    def epoch(self, row: dict[str, float]) -> None:
        """End an epoch with its row of EPOCH_COLUMNS."""
        if self._losses:
            self._end_row()
        self.epochs.append(row)

    def last_is_best(self, images: int) -> bool:
        """Whether the last epoch's accuracy on `images` images is within one standard error of the highest.

        The last such epoch is the best: the highest of many noisy accuracies is partly luck, and the learning
        rate falls until the end (the one-standard-error rule of Breiman et al., Classification and Regression
        Trees, 1984). The error is binomial, with one hit and one miss added (Laplace).
        """
        accuracies = [row["validation_accuracy"] for row in self.epochs]
        smoothed = (max(accuracies) * images + 1) / (images + 2)
        return accuracies[-1] >= max(accuracies) - math.sqrt(smoothed * (1 - smoothed) / images)

    def epochs_since_highest(self) -> int:
        """The number of epochs since the highest accuracy; among equal ones, since the lowest loss."""
        ranks = [(-row["validation_accuracy"], row["validation_loss"]) for row in self.epochs]
        return len(ranks) - 1 - ranks.index(min(ranks)) if ranks else 0

    def _end_row(self) -> None:
        self.steps.append({**self._last, "loss": sum(self._losses) / len(self._losses), **self._seconds})
        self._losses = []
        self._seconds = dict.fromkeys(PHASES, 0.0)

    def write(self, folder: Path) -> None:
        """Write both files, each whole or not at all."""
        for name, columns, rows in (
            (TRAINING_STEPS, STEP_COLUMNS, self.steps),
            (TRAINING_EPOCHS, EPOCH_COLUMNS, self.epochs),
        ):
            write_bytes(folder / name, table(columns, rows).encode())

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint, taken between epochs."""
        return {"steps": self.steps, "epochs": self.epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with a checkpoint's rows."""
        self.steps, self.epochs = list(state["steps"]), list(state["epochs"])


def table(columns: Sequence[str], rows: Sequence[dict[str, float]]) -> str:
    """CSV with a header line; numbers with nine significant digits.

    Raises:
        ValueError: a row has a column outside `columns`.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {name: f"{value:.9g}" if isinstance(value, float) else value for name, value in row.items()}
        )
    return text.getvalue()
