"""Four functions between a request's bytes and an answer's bytes: load, decode, predict, encode.

This file travels inside the model artifact. It runs with the torch of the serving image, which is older
than the one that trained, hence weights in safetensors and everything else in JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib import format as npy
from safetensors.torch import load_file
from torchvision.models import resnet18

from entrypoints.contract import JSON, MODEL_CARD, MODEL_WEIGHTS, NPY
from entrypoints.serving import image

# A ResNet18 halves the sides five times.
MIN_TENSOR_PX = 32

# What NumPy raises on a damaged header, which is Python source.
_HEADER_ERRORS = (ValueError, SyntaxError, TypeError, RecursionError, TokenError)

Scores = npt.NDArray[np.float32]


class InputError(ValueError):
    """A body that cannot be predicted; the message is one sentence for the caller."""


@dataclass(frozen=True)
class Model:
    """A trained network and what its model.json says about using it."""

    network: torch.nn.Module
    classes: tuple[str, ...]
    image_size: int
    resize: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def load(folder: Path) -> Model:
    """Read an unpacked model artifact, for inference on the CPU.

    Raises:
        FileNotFoundError: model.json or model.safetensors is missing.
    """
    card: dict[str, Any] = json.loads((folder / MODEL_CARD).read_text(encoding="utf-8"))
    network = resnet18(weights=None, num_classes=len(card["classes"]))
    network.load_state_dict(load_file(folder / MODEL_WEIGHTS))
    network.eval().to(memory_format=torch.channels_last)
    how = card["preprocessing"]
    return Model(
        network=network,
        classes=tuple(card["classes"]),
        image_size=how["image_size"],
        resize=how["resize"],
        mean=tuple(how["mean"]),
        std=tuple(how["std"]),
    )


def decode(model: Model, body: bytes, content_type: str) -> torch.Tensor:
    """Turn a request body into the network's input, float32 of shape N x 3 x H x W.

    A picture gives N = 1. A tensor (application/x-npy) was transformed by the caller and is taken as it is.

    Raises:
        InputError: not a picture, or not a float32 tensor of that shape with finite values.
    """
    if content_type == NPY:
        return _read_tensor(body)
    try:
        picture = image.decode(body)
    except image.ImageError as error:
        raise InputError(f"The body {error}.") from None
    pixels = torch.from_numpy(image.preprocess(picture, model.image_size, model.resize))
    return normalize(pixels.unsqueeze(0), model.mean, model.std)


def predict(model: Model, batch: torch.Tensor) -> Scores:
    """Scores (logits) of shape N x classes for float32 input of shape N x 3 x H x W."""
    with torch.inference_mode():
        scores: Scores = model.network(batch.contiguous(memory_format=torch.channels_last)).numpy()
    return scores


def encode(model: Model, scores: Scores, accept: str, single: bool) -> bytes:
    """Write the answer.

    application/json: {"label": ..., "probabilities": {class: 0..1}}, in a list unless `single`.
    application/x-npy: the scores, float32 of shape N x classes.
    """
    if accept == JSON:
        answers = describe(model, scores)
        return json.dumps(answers[0] if single else answers, ensure_ascii=False).encode()
    file = BytesIO()
    np.save(file, scores.astype(np.float32), allow_pickle=False)
    return file.getvalue()


def describe(model: Model, scores: Scores) -> list[dict[str, Any]]:
    """Label and probability per class for each row of scores."""
    probabilities = torch.from_numpy(scores).double().softmax(dim=1).tolist()
    return [
        {
            "label": model.classes[row.index(max(row))],
            "probabilities": dict(zip(model.classes, row, strict=True)),
        }
        for row in probabilities
    ]


def normalize(pixels: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """uint8 pixels of shape N x 3 x H x W to float32: (pixel / 255 - mean) / std per channel.

    The result is in channels_last.
    """
    count, _, height, width = pixels.shape
    # Row by row with its channels side by side: processors are slow where only three numbers lie together.
    scale, shift = (torch.tensor(v, device=pixels.device).mul(255).repeat(width) for v in (std, mean))
    rows = pixels.permute(0, 2, 3, 1).reshape(count, height, width * 3).float()
    return rows.sub_(shift).div_(scale).view(count, height, width, 3).permute(0, 3, 1, 2)


def _read_tensor(body: bytes) -> torch.Tensor:
    """Read .npy bytes; unlike np.load, allocates nothing on the word of the header alone."""
    file = BytesIO(body)
    try:
        version = npy.read_magic(file)  # type: ignore[no-untyped-call]
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran_order, dtype = read_header(file)  # type: ignore[no-untyped-call]
    except _HEADER_ERRORS:
        raise InputError("The body is not a NumPy .npy file.") from None
    if dtype != np.float32:
        raise InputError(f"The tensor's type must be float32, not {dtype}.")
    if len(shape) != 4 or shape[1] != 3 or shape[0] < 1 or min(shape[2:]) < MIN_TENSOR_PX:
        raise InputError(
            f"The tensor's shape must be N x 3 x H x W with H and W of at least {MIN_TENSOR_PX}, not {shape}."
        )
    data = body[file.tell() :]
    expected = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if len(data) != expected:
        raise InputError(f"The tensor holds {len(data)} bytes; its shape {shape} needs {expected}.")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")
    if not np.isfinite(array).all():
        raise InputError("The tensor holds values that are not finite.")
    return torch.from_numpy(array.astype(np.float32, order="C"))
