"""Predict the test images with the predictor inside model.tar.gz and write how good it is."""

from __future__ import annotations

import importlib
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import entrypoints
from entrypoints.contract import EVALUATION, JPEG, MODEL_ARCHIVE, MODEL_CARD, MODEL_WEIGHTS, PREDICTIONS
from entrypoints.metrics import multiclass_metrics
from entrypoints.program import Parser, fail, write_json

BATCH = 32


def unpack(archive: Path, folder: Path) -> None:
    """Extract model.tar.gz; members that would leave the folder are refused (tarfile's "data" filter)."""
    if not archive.is_file():
        fail(f"{archive} does not exist; --model must be the folder that holds {MODEL_ARCHIVE}")
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError, OSError) as error:
        fail(f"{archive} cannot be unpacked: {error}")
    for name in (MODEL_CARD, MODEL_WEIGHTS):
        if not (folder / name).is_file():
            fail(f"{archive} is not a model artifact of this pipeline: it has no {name}")


def import_predictor(artifact: Path) -> ModuleType:
    """The predictor module of the artifact, in place of the one that lies beside this program.

    What is evaluated is what will serve, even when this program's own code has moved on.
    """
    entrypoints.__path__.insert(0, str(artifact / "entrypoints"))
    predictor = importlib.import_module("entrypoints.serving.predictor")
    if not Path(str(predictor.__file__)).is_relative_to(artifact):
        raise RuntimeError(f"the predictor came from {predictor.__file__}, not from the artifact {artifact}")
    return predictor


def predict_files(predictor: ModuleType, model: Any, files: Sequence[Path]) -> npt.NDArray[np.float32]:
    """Scores of shape files x classes, by way of the same functions as a request to the endpoint."""
    rows = []
    for start in range(0, len(files), BATCH):
        inputs = []
        for file in files[start : start + BATCH]:
            try:
                inputs.append(predictor.decode(model, file.read_bytes(), JPEG))
            except predictor.InputError as error:
                fail(f"{file} cannot be predicted: {error}")
        rows.append(predictor.predict(model, torch.cat(inputs)))
    return np.concatenate(rows)


def evaluate(artifact: Path, test: Path, output: Path) -> None:
    """Predict every image below test/<class>/ and write evaluation.json and predictions.json."""
    predictor = import_predictor(artifact)
    # It decodes with serving/image.py, so it must come after the artifact's package is in place.
    from entrypoints.dataset import DatasetError, read_split

    model = predictor.load(artifact)
    try:
        classes, files = read_split(test)
    except DatasetError as error:
        fail(str(error))
    if unknown := sorted(set(classes) - set(model.classes)):
        fail(f"{test} has the class {unknown[0]!r}; the model knows {', '.join(model.classes)}")
    if not files:
        fail(f"{test} holds no images")
    scores = predict_files(predictor, model, [file for file, _ in files])
    answers = predictor.describe(model, scores)
    labels = np.array([model.classes.index(classes[label]) for _, label in files])
    metrics = multiclass_metrics(model.classes, labels, scores.argmax(axis=1))
    write_json(
        output / PREDICTIONS,
        [
            {
                "file": file.relative_to(test.resolve()).as_posix(),
                "label": classes[label],
                "predicted": answer["label"],
                "probabilities": answer["probabilities"],
            }
            for (file, label), answer in zip(files, answers, strict=True)
        ],
    )
    write_json(output / EVALUATION, {"multiclass_classification_metrics": metrics})
    print(f"accuracy {metrics['accuracy']['value']:.4f} on {len(files)} images")


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
