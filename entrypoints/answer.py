"""An endpoint's answer to a picture, as its client reads it."""

from __future__ import annotations

import json
from typing import Any


def read_answer(content: bytes) -> dict[str, Any]:
    """{"label": ..., "probabilities": {class: 0..1}} from the JSON that serving/predictor.py encodes.

    Raises:
        ValueError: it is not of this form, or the label is none of the classes.
    """
    document = json.loads(content)
    try:
        label = str(document["label"])
        probabilities = {name: float(value) for name, value in document["probabilities"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{error!r}") from error
    if label not in probabilities:
        raise ValueError(f"the label {label} is none of the classes that have a probability")
    return {"label": label, "probabilities": probabilities}
