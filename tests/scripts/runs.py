"""Runs of run_local.py on small pictures, as processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("ants", "große Bienen", "wasps")
TESTED = 4  # of make_pictures' 18 are in the test split; their contents decide that
# One trial of one epoch; the result does not matter here, and these pictures cannot be distinguished.
STREAMED = ("--set", "input_mode=FastFile")
SMALL = [
    *("--parameter", "Epochs=1", "--parameter", "ImageSize=32"),
    *(
        "--set",
        "tuning.jobs=1",
        "--set",
        "tuning.parallel_jobs=1",
        "--set",
        "gate.better_than_guessing=false",
    ),
]


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start run_local.py; the caller reads its output."""
    return subprocess.Popen(
        [sys.executable, ROOT / "scripts" / "run_local.py", *map(str, arguments)],
        env=os.environ | {"COLUMNS": "200", "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def make_pictures(folder: Path, per_class: int = 6) -> Path:
    """Noise in every class: they cannot be distinguished, so accuracy is about a third."""
    for place, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            noise = np.random.default_rng([place, number]).integers(0, 255, (24, 24, 3), np.uint8)
            Image.fromarray(noise).save(folder / name / f"{number}.png")
    (folder / CLASSES[0] / "notes.txt").write_text("no picture")
    return folder
