"""Parts of an answer's work without HTTP, one thread in its own process; serving.py starts these.

  alone.py answers ARTIFACT SECONDS PICTURES  from the bytes of pictures to those of answers
  alone.py model ARTIFACT SECONDS             the model on an input of 224 px
  alone.py floor SECONDS                      torch's int8 matrix product

Each prints "ready" after its warm-up, starts at a line of standard input, and prints a figure: answers per
second, milliseconds, and milliseconds that the model would take at the speed of the product.
"""

import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

# Multiply-adds of ResNet18 for a picture of 224 px.
RESNET18_MACS = 1.814e9
# M, K, N of products as large as ResNet18's convolutions, and larger; the fastest one counts.
PRODUCTS = ((784, 2304, 256), (3136, 576, 64), (1024, 1024, 1024), (2048, 2048, 2048))


def repeat(seconds: float, work: Callable[[], Any]) -> list[float]:
    """The seconds of each run of `work`, after a warm-up, as often as time allows."""
    for _ in range(5):
        work()
    print("ready", flush=True)
    sys.stdin.readline()
    end = time.perf_counter() + seconds
    times = []
    while (began := time.perf_counter()) < end:
        work()
        times.append(time.perf_counter() - began)
    return times


def answers(artifact: str, seconds: str, pictures: str) -> float:
    from entrypoints.serving import predictor

    model = predictor.load(Path(artifact))
    bodies = itertools.cycle([path.read_bytes() for path in sorted(Path(pictures).iterdir())])
    times = repeat(
        float(seconds), lambda: predictor.answer(model, next(bodies), "image/jpeg", "application/json")
    )
    return len(times) / sum(times)


def model(artifact: str, seconds: str) -> float:
    import numpy as np

    from entrypoints.serving import predictor

    loaded = predictor.load(Path(artifact))
    batch = np.random.default_rng(0).normal(size=(1, 3, 224, 224)).astype(np.float32)
    return 1e3 * median(repeat(float(seconds), lambda: predictor.predict(loaded, batch)))


def floor(seconds: str) -> float:
    import torch

    def random(*shape: int) -> torch.Tensor:
        return torch.randint(-128, 128, shape, dtype=torch.int8)

    pairs = [(random(m, k), random(k, n)) for m, k, n in PRODUCTS]
    speeds = [0.0] * len(pairs)

    def multiply() -> None:
        for index, (left, right) in enumerate(pairs):
            began = time.perf_counter()
            torch._int_mm(left, right)
            macs = left.shape[0] * left.shape[1] * right.shape[1]
            speeds[index] = max(speeds[index], macs / (time.perf_counter() - began))

    repeat(float(seconds), multiply)
    return 1e3 * RESNET18_MACS / max(speeds)


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    measures: dict[str, Callable[..., float]] = {"answers": answers, "model": model, "floor": floor}
    print(measures[what](*arguments))
