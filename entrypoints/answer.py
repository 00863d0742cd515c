"""How clients wait for an endpoint's answer to a picture, and read it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_sagemaker_runtime import SageMakerRuntimeClient

ATTEMPTS = 8  # of one request, in all
BUSY = 503


def _read_map(rows: Any) -> list[list[float]]:
    return [[float(value) for value in row] for row in rows]


# Optional members of an answer, and how to read them.
FURTHER: dict[str, Callable[[Any], Any]] = {
    "known": bool,
    "score": float,
    "map": _read_map,
    "map_side": float,
}


def read_answer(content: bytes) -> dict[str, Any]:
    """{"label": ..., "probabilities": {class: 0..1}} from the JSON that serving/predictor.py encodes.

    "known", "score", "map" and "map_side" are included if the answer holds them; models of earlier versions
    give none.

    Raises:
        ValueError: it has another form, or the label is not one of the classes.
    """
    document = json.loads(content)
    try:
        label = str(document["label"])
        probabilities = {name: float(value) for name, value in document["probabilities"].items()}
        further = {name: read(document[name]) for name, read in FURTHER.items() if name in document}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{error!r}") from error
    if label not in probabilities:
        raise ValueError(f"the label {label} is none of the classes that have a probability")
    return {"label": label, "probabilities": probabilities, **further}


def retry_while_busy(runtime: SageMakerRuntimeClient) -> None:
    """Let a client retry, up to ATTEMPTS times, while the container's queue is full.

    botocore retries a 503 of SageMaker itself; the container's comes inside a ModelError, with status 424.
    """
    events: Any = runtime.meta.events  # its stub lets handlers answer nothing
    events.register("needs-retry.sagemaker-runtime.InvokeEndpoint", _delay)


def _delay(attempts: int, response: tuple[Any, Mapping[str, Any]] | None, **_: Any) -> float | None:
    """Seconds until the next attempt, at random so that clients spread; None leaves it to botocore."""
    if response is None or response[1].get("OriginalStatusCode") != BUSY or attempts >= ATTEMPTS:
        return None
    return random.uniform(0, 0.1 * 2**attempts)
