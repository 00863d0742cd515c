"""From a request's bytes to an answer's: load, decode, predict or recognize; `answer` does all.

This file is part of the model artifact. It needs onnxruntime, NumPy and Pillow, but not torch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from entrypoints import depth, image
from entrypoints.contract import ENGINES, EXPLAINED_JSON, MODEL_CARD, NPY
from entrypoints.serving import body, known, weights
from entrypoints.serving.body import InputError, Tensor
from entrypoints.serving.known import Known

# Names of the engines' only input and of their outputs; earlier versions return only scores.
INPUT = "input"
SCORES = "scores"
FEATURES = "features"
MAPS = "maps"
# Inputs per prediction: larger batches are not faster on one thread and take more memory.
BATCH = 8

Inputs = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float32]
Features = npt.NDArray[np.float32]
Maps = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Model:
    """An engine, ready to predict, and its settings from model.json."""

    session: onnxruntime.InferenceSession
    engine: str
    classes: tuple[str, ...]
    image_size: int
    resize: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    max_value: int = depth.MAX_VALUE  # the full scale of 16-bit values
    least_side: int = 0  # for image.decode; 0: decode in full
    temperature: float = 1.0  # divides scores before they become probabilities
    known: Known | None = None  # recognizes pictures unlike the training's, if the artifact can


def load(folder: Path, engine: str | None = None) -> Model:
    """Read an unpacked model artifact, for inference on one CPU thread.

    Without `engine`, take the best: int8 if the artifact has it, unless it needs VNNI and the processor has
    none; else fp32.

    Raises:
        FileNotFoundError: model.json or the engine is missing; the message is one line.
        ValueError: one of its numbers is NaN or infinite; the message is one line.
    """
    model_card: dict[str, Any] = json.loads((folder / MODEL_CARD).read_text(encoding="utf-8"))
    kept = engines(folder)
    if engine is None and kept:
        int8_fits = "int8" in kept and (model_card["engines"]["int8"]["reduce_range"] or has_vnni())
        engine = "int8" if int8_fits else "fp32"
    if engine not in kept:
        raise FileNotFoundError(
            f"the model artifact {folder} holds no {engine or 'inference'} engine, only {', '.join(kept)}"
            if kept
            else f"the model artifact {folder} holds no {ENGINES['fp32']}: it was trained with engines=0, as "
            "tuning trials are, and cannot be served; train it with engines=1"
        )
    how = model_card["preprocessing"]
    temperature = model_card.get("temperature", 1.0)  # artifacts of earlier versions have none
    if not np.isfinite([*how["mean"], *how["std"], temperature]).all():
        raise ValueError(f"{MODEL_CARD} holds a number that is NaN or infinite; train the model again")
    session = open_session(folder / ENGINES[engine])
    weights.check(folder / ENGINES[engine])
    return Model(
        session=session,
        engine=engine,
        classes=tuple(model_card["classes"]),
        image_size=how["image_size"],
        resize=how["resize"],
        mean=tuple(how["mean"]),
        std=tuple(how["std"]),
        max_value=depth.of(how),
        least_side=image.least_side(how),
        temperature=temperature,
        known=known.load(folder, model_card, engine),
    )


def engines(folder: Path) -> tuple[str, ...]:
    """The names of an unpacked artifact's engines, best first."""
    return tuple(name for name, file in ENGINES.items() if (folder / file).is_file())


def has_vnni() -> bool:
    """Whether the processor sums products of u8 and s8 in 32 bits at once.

    Others (AVX2, AVX-512) saturate sums of two products at 16 bits, unless weights have 7 bits: reduce_range.
    https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html, "When to use reduce-range"
    """
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text().split() if cpuinfo.is_file() else []
    return "avx512_vnni" in flags or "avx_vnni" in flags


def open_session(file: Path, threads: int = 1) -> onnxruntime.InferenceSession:
    """An engine on this number of threads, which do not spin while waiting: others share the cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def answer(model: Model, body: bytes, content_type: str, accept: str) -> bytes:
    """The answer to a request: decode, predict and encode in one.

    application/json has `recognize`'s answers, application/x-npy the scores, float32 of shape N x classes.
    The answer to one picture is one object; to a list of pictures or a tensor, a list. EXPLAINED_JSON adds
    maps.

    Raises:
        InputError: like `decode` and `predict`.
    """
    inputs, single = _read(model, body, content_type)
    if accept == NPY:
        file = BytesIO()
        np.save(file, predict(model, inputs), allow_pickle=False)
        return file.getvalue()
    answers = recognize(model, inputs, explain=accept == EXPLAINED_JSON)
    return json.dumps(answers[0] if single else answers, ensure_ascii=False).encode()


def decode(model: Model, body: bytes, content_type: str) -> Inputs:
    """Turn a request body into the network's input, float32 of shape N x 3 x H x W.

    A picture gives N = 1, in any of image.FORMATS: its bytes decide, not the declared content type. JSON is
    {"image": BASE64} or {"images": [BASE64, ...]} with at most MAX_IMAGES pictures. A tensor
    (application/x-npy) was transformed by the caller and is used unchanged.

    Raises:
        InputError: not a picture, not such JSON, or not a float32 tensor of that shape with finite values.
    """
    return _read(model, body, content_type)[0]


def predict(model: Model, inputs: Inputs) -> Scores:
    """Scores (logits), float32 of shape N x classes, for float32 input of shape N x 3 x H x W.

    Raises:
        InputError: the input's values are so large that scores are not finite.
    """
    return _outputs(model, inputs, SCORES)[0]


def measure(model: Model, inputs: Inputs) -> tuple[Scores, Scores | None]:
    """Scores like `predict`, and each input's distance from the training pictures.

    The second array (N) is `recognize`'s "score"; None if the artifact cannot tell.

    Raises:
        InputError: as `predict`.
    """
    if model.known is None:
        return predict(model, inputs), None
    scores, features = _outputs(model, inputs, SCORES, FEATURES)
    distances = model.known.scores(features)
    _check(distances)
    return scores, distances


def recognize(model: Model, inputs: Inputs, explain: bool = False) -> list[dict[str, Any]]:
    """The answer for each input: label, probabilities, and whether it is like the training pictures.

    "score" is its distance from them, and "known" whether that is at most 1. `explain` adds a "map", row by
    row: each place's evidence for the label, its score there minus the mean of all classes' scores there. It
    covers the picture's centre: a square whose side is "map_side" (0..1) of the shorter side.

    Raises:
        InputError: as `predict`.
    """
    wanted = [SCORES, *([FEATURES] if model.known else []), *([MAPS] if explain else [])]
    found = dict(zip(wanted, _outputs(model, inputs, *wanted), strict=True))
    answers = describe(model, found[SCORES])
    if model.known:
        distances = model.known.scores(found[FEATURES])
        _check(distances)
        for said, score in zip(answers, distances.tolist(), strict=True):
            said |= {"known": score <= 1, "score": score}
    if explain:
        for said, scores, maps in zip(answers, found[SCORES], found[MAPS], strict=True):
            speaks = maps[..., scores.argmax()] - maps.mean(axis=-1)
            said |= {"map": speaks.tolist(), "map_side": model.image_size / model.resize}
    return answers


def run(session: onnxruntime.InferenceSession, wanted: Sequence[str], inputs: Inputs) -> list[Scores]:
    """Some of an engine's outputs.

    The others are computed, too, in no measurable time. Leaving them out, with onnxruntime's
    only_execute_path_to_fetches, took up to twice as long.
    """
    outputs: list[Scores] = session.run(wanted, {INPUT: inputs})
    return outputs


def _outputs(model: Model, inputs: Inputs, *wanted: str) -> list[Scores]:
    """Outputs of the model's engine, each with a row per input.

    Raises:
        InputError: they are not all finite.
    """
    starts = range(0, len(inputs), BATCH)
    parts = [run(model.session, wanted, inputs[start : start + BATCH]) for start in starts]
    outputs = [np.concatenate(rows) for rows in zip(*parts, strict=True)]
    for rows in outputs:
        _check(rows)
    return outputs


def _check(outputs: Scores) -> None:
    if not np.isfinite(outputs).all():
        raise InputError("invalid_tensor", "The tensor's values are too large: its scores are not finite.")


def describe(model: Model, scores: Scores) -> list[dict[str, Any]]:
    """Each row's label and probability per class (softmax of the scores at the model's temperature)."""
    shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    powers = np.exp(shifted / model.temperature)
    probabilities = (powers / powers.sum(axis=1, keepdims=True)).tolist()
    return [
        {
            "label": model.classes[row.index(max(row))],
            "probabilities": dict(zip(model.classes, row, strict=True)),
        }
        for row in probabilities
    ]


def _read(model: Model, content: bytes, content_type: str) -> tuple[Inputs, bool]:
    """The network's input, and whether the answer is one object, not a list."""
    found = body.read(content, content_type, model.image_size)
    if isinstance(found, Tensor):
        return found
    pictures = zip(found.files, found.names, strict=True)
    return np.stack([_read_picture(model, *item) for item in pictures]), found.single


def _read_picture(model: Model, content: bytes, name: str) -> Inputs:
    try:
        picture = image.decode(content, model.max_value, model.least_side)
    except image.ImageError as error:
        raise InputError("invalid_image", f"{name} {error}.") from None
    return image.normalize(image.preprocess(picture, model.image_size, model.resize), model.mean, model.std)
