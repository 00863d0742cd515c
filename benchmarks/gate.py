"""How often the gate promotes a retrained model that is as good as, worse or better than the serving one.

Simulates the answers of two models to the same test pictures; entrypoints/comparison.py decides.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from config.sections import Gate
from entrypoints.comparison import deciding_bound, difference
from entrypoints.contract import ACCURACY
from entrypoints.metrics import one_each

RETRAININGS = 1000
PICTURES = (100, 300, 1000)
POINTS = {"3 points worse": -0.03, "as good": 0.0, "3 points better": 0.03}
ACCURACIES = (0.9, 0.95)  # of the champion
# Assumed: the share of the pictures on which exactly one is right. The more, the wider the interval.
DISAGREEMENT = 0.06


def promoted(
    random: np.random.Generator, pictures: int, accuracy: float, points: float, margin: float
) -> float:
    """The share of RETRAININGS that the gate lets through where the new model is `points` better."""
    better, worse = (DISAGREEMENT + points) / 2, (DISAGREEMENT - points) / 2
    labels = np.zeros(pictures, np.int64)
    passed = 0
    for _ in range(RETRAININGS):
        # Both right, only the new one, only the old one, neither: 0 is the right class.
        shares = [accuracy - worse, better, worse, 1 - accuracy - better]
        case = np.repeat(np.arange(4), random.multinomial(pictures, shares))
        new, old = np.isin(case, (2, 3)).astype(np.int64), np.isin(case, (1, 3)).astype(np.int64)
        bound, _words = deciding_bound(difference(ACCURACY, 2, labels, new, old, one_each(labels)), margin)
        passed += bound >= -margin
    return passed / RETRAININGS


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.gate", description=__doc__)
    parser.add_argument("--margin", type=float, default=Gate.margin, help="gate.margin (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures")
    arguments = parser.parse_args(argv)
    random = np.random.default_rng(0)
    figures = []
    for accuracy in ACCURACIES:
        print(f"champion {accuracy:.0%} accurate, promoted of {RETRAININGS:,} retrainings:")
        print(f"{'test pictures':>16}" + "".join(f"{words:>18}" for words in POINTS))
        for pictures in PICTURES:
            shares = [
                promoted(random, pictures, accuracy, points, arguments.margin) for points in POINTS.values()
            ]
            print(f"{pictures:>16,}" + "".join(f"{share:>18.1%}" for share in shares))
            figures += [
                {"accuracy": accuracy, "pictures": pictures, "points": points, "promoted": share}
                for points, share in zip(POINTS.values(), shares, strict=True)
            ]
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
