"""Predict the test images with the predictor inside model.tar.gz and write how good it is."""

from __future__ import annotations

import gzip
import importlib
import os
import tarfile
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any
from zlib import error as ZlibError

import numpy as np
import numpy.typing as npt
from PIL import Image

import entrypoints
from entrypoints.contract import (
    ACCURACY,
    ANY_IMAGE,
    ENGINES,
    EVALUATION,
    GATE,
    MODEL_ARCHIVE,
    MODEL_CARD,
    PREDICTIONS,
    SAMPLE_ANSWERS,
    SAMPLES,
    TEST_CLASSES,
    TEST_PICTURES,
    WORST_MISTAKES,
)
from entrypoints.metrics import multiclass_metrics
from entrypoints.program import Parser, fail, write_bytes, write_json

QUEUE = 1000  # files at a time that are given out to threads
# Of a larger test split this number of pictures, spread evenly, tells how the artifact's engines compare.
COMPARED_PICTURES = 1000
SAMPLE_PICTURES = 8
# What tarfile makes of a damaged archive, besides its own errors.
DAMAGE = (EOFError, OSError, ZlibError, LookupError, ValueError, ArithmeticError, RecursionError)
# The endpoint takes larger bodies; a question to it need not be one.
MAX_SAMPLE_BYTES = 5_000_000


def unpack(archive: Path, folder: Path) -> None:
    """Extract model.tar.gz, verified to its end; what would leave the folder is refused ("data" filter)."""
    if not archive.is_file():
        fail(f"{archive} does not exist; --model must be the folder that holds {MODEL_ARCHIVE}")
    try:
        with gzip.open(archive) as stream:
            with tarfile.open(fileobj=stream, mode="r:") as tar:
                tar.extractall(folder, filter="data")
            # At a header that is none, tarfile ends as at the end; and it never comes to gzip's checksum.
            stream.seek(tar.offset)
            if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                raise tarfile.ReadError(f"no header at byte {tar.offset:,} of the tar archive, nor its end")
            while stream.read(1 << 20):
                pass
    except (tarfile.TarError, *DAMAGE) as error:
        reason = f"{type(error).__name__}: {error}"
        hint = "make room if the disk is full, else give a whole .tar.gz archive"
        fail(f"{archive} cannot be unpacked; {hint}: {reason}")
    for name, hint in (
        (MODEL_CARD, "give a model artifact of this pipeline"),
        (ENGINES["fp32"], "train it with engines=1; tuning trials leave the engines out"),
    ):
        if not (folder / name).is_file():
            fail(f"{archive} cannot be evaluated: it has no {name}; {hint}")


def import_predictor(artifact: Path) -> ModuleType:
    """The predictor module of the artifact, in place of the one that lies beside this program.

    What is evaluated is what will serve, even when this program's own code has moved on.
    """
    entrypoints.__path__.insert(0, str(artifact / "entrypoints"))
    predictor = importlib.import_module("entrypoints.serving.predictor")
    for module in (predictor, predictor.image):
        if not Path(str(module.__file__)).is_relative_to(artifact):
            raise RuntimeError(
                f"{module.__name__} came from {module.__file__}, not from the artifact {artifact}"
            )
    return predictor


def predict_files(predictor: ModuleType, model: Any, files: Sequence[Path]) -> npt.NDArray[np.float32]:
    """Scores of shape files x classes: picture by picture, as the endpoint predicts; a thread per core."""

    def predict(file: Path) -> npt.NDArray[np.float32]:
        try:
            scores: npt.NDArray[np.float32] = predictor.predict(
                model, predictor.decode(model, file.read_bytes(), ANY_IMAGE)
            )
        except predictor.InputError as error:
            raise predictor.InputError(error.code, f"{file} cannot be predicted: {error}") from None
        return scores

    parts = (files[start : start + QUEUE] for start in range(0, len(files), QUEUE))
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return np.concatenate([scores for part in parts for scores in pool.map(predict, part)])
    except predictor.InputError as error:
        fail(str(error))


def evaluate(artifact: Path, test: Path, output: Path) -> None:
    """Predict the images below test/<class>/; write predictions, samples, evaluation and gate."""
    predictor = import_predictor(artifact)
    # It decodes with image.py, so it must come after the artifact's package is in place.
    from entrypoints.dataset import DatasetError, read_split, spread

    model = predictor.load(artifact)
    try:
        classes, files = read_split(test)
    except DatasetError as error:
        fail(str(error))
    if unknown := sorted(set(classes) - set(model.classes)):
        fail(f"{test} has the class {unknown[0]!r}, which is none of the model's {len(model.classes)}")
    if not files:
        fail(f"{test} holds no images")
    scores = predict_files(predictor, model, [file for file, _ in files])
    labels = np.array([model.classes.index(classes[label]) for _, label in files])
    metrics = multiclass_metrics(model.classes, labels, scores.argmax(axis=1))
    predictions = [
        {
            "file": file.relative_to(test.resolve()).as_posix(),
            "label": classes[label],
            "predicted": answer["label"],
            "probabilities": answer["probabilities"],
            "engine": model.engine,
        }
        for (file, label), answer in zip(files, predictor.describe(model, scores), strict=True)
    ]
    explain_mistakes(predictor, model, [file for file, _ in files], predictions)
    compared = spread(range(len(files)), COMPARED_PICTURES)
    engines = compare_engines(
        predictor, artifact, model, [files[i][0] for i in compared], labels[compared], scores[compared]
    )
    write_json(output / PREDICTIONS, predictions)
    # A predictor of an earlier version has no temperature.
    write_samples(output / SAMPLES, test.resolve(), predictions, getattr(model, "temperature", 1.0))
    write_json(
        output / EVALUATION,
        {"multiclass_classification_metrics": metrics, "engine": model.engine, "engines": engines},
    )
    write_json(
        output / GATE,
        {
            ACCURACY: metrics["accuracy"]["value"],
            TEST_PICTURES: len(files),
            TEST_CLASSES: len(set(labels.tolist())),
        },
    )
    print(f"accuracy {metrics['accuracy']['value']:.4f} on {len(files)} images, engine {model.engine}")


def explain_mistakes(
    predictor: ModuleType, model: Any, files: Sequence[Path], predictions: Sequence[dict[str, Any]]
) -> None:
    """Add map, score and whether it is known to the wrong predictions that the model was surest of."""
    if not hasattr(predictor, "recognize"):  # of an earlier version
        return
    wrong = [
        (file, prediction)
        for file, prediction in zip(files, predictions, strict=True)
        if prediction["predicted"] != prediction["label"]
    ]
    wrong.sort(key=lambda item: -item[1]["probabilities"][item[1]["predicted"]])
    for file, prediction in wrong[:WORST_MISTAKES]:
        [said] = predictor.recognize(model, predictor.decode(model, file.read_bytes(), ANY_IMAGE), True)
        prediction |= {name: value for name, value in said.items() if name not in ("label", "probabilities")}


def compare_engines(
    predictor: ModuleType,
    artifact: Path,
    model: Any,
    files: Sequence[Path],
    labels: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32],
) -> dict[str, dict[str, float]]:
    """Accuracy of each engine in the artifact, and its agreement with the one that was evaluated.

    `labels` and `scores` (of the model's engine) have a row per file.
    """
    evaluated = scores.argmax(axis=1)
    compared = {}
    for name in predictor.engines(artifact):
        predicted = evaluated
        if name != model.engine:
            other = predictor.load(artifact, name)
            predicted = predict_files(predictor, other, files).argmax(axis=1)
        compared[name] = {
            "accuracy": float(np.mean(predicted == labels)),
            "agreement": float(np.mean(predicted == evaluated)),
            "pictures": len(files),
        }
    return compared


def write_samples(
    folder: Path, test: Path, predictions: Sequence[dict[str, Any]], temperature: float
) -> None:
    """Copy a few test pictures, and what was answered: of each class in turn the one it was surest of.

    A sure answer is the same on every processor; one between two classes need not be.
    """
    seen: Counter[str] = Counter()
    turns = []
    for prediction in sorted(predictions, key=lambda p: -p["probabilities"][p["predicted"]]):
        turns.append((seen[prediction["label"]], prediction))
        seen[prediction["label"]] += 1
    answers: list[dict[str, Any]] = []
    for _, prediction in sorted(turns, key=lambda turn: turn[0]):
        file = test / prediction["file"]
        if len(answers) < SAMPLE_PICTURES and file.stat().st_size <= MAX_SAMPLE_BYTES:
            # The name in the test set may be one that no other system takes.
            name = f"{len(answers) + 1}.{image_format(file)}"
            write_bytes(folder / name, file.read_bytes())
            answers.append({**prediction, "file": name, "temperature": temperature})
    write_json(folder / SAMPLE_ANSWERS, answers)


def image_format(file: Path) -> str:
    """The suffix that tells what a picture's file holds."""
    with Image.open(file) as image:
        return {"MPO": "jpeg"}.get(str(image.format), str(image.format).lower())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser(prog="evaluate", description=__doc__)
    for name in ("model", "test", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="DIR")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        artifact = Path(folder).resolve()
        unpack(args.model / MODEL_ARCHIVE, artifact)
        evaluate(artifact, args.test, args.output)


if __name__ == "__main__":
    main()
