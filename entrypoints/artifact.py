"""A model artifact, unpacked, and what its own code answers.

As a program: the answers of one artifact about pictures, in a process of its own, since the code of another
artifact goes by the same names.
"""

from __future__ import annotations

import importlib
import json
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

import entrypoints
from entrypoints import digests
from entrypoints.archives import DAMAGE, extract
from entrypoints.contract import ANY_IMAGE, ENGINES, MODEL_ARCHIVE, MODEL_CARD, TRAINED_ON
from entrypoints.program import Parser, fail, in_threads, write_json

Floats = npt.NDArray[np.float32]


def unpack(archive: Path, folder: Path) -> None:
    """Extract model.tar.gz and verify all of it; refuse bombs and members that would leave the folder."""
    if not archive.is_file():
        fail(f"{archive} does not exist; --model must be the folder that holds {MODEL_ARCHIVE}")
    try:
        extract(archive, folder)
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
    """The artifact's predictor module, instead of the one beside this program.

    The evaluation then runs the code that will serve, even if this program's code is newer.
    """
    entrypoints.__path__.insert(0, str(artifact / "entrypoints"))
    predictor = importlib.import_module("entrypoints.serving.predictor")
    for module in (predictor, predictor.image):
        if not Path(str(module.__file__)).is_relative_to(artifact):
            raise RuntimeError(
                f"{module.__name__} came from {module.__file__}, not from the artifact {artifact}"
            )
    return predictor


def load(predictor: ModuleType, artifact: Path, engine: str | None = None) -> Any:
    """Load an unpacked artifact's model with its own predictor; end the program if that fails."""
    try:
        return predictor.load(artifact, engine)
    except (FileNotFoundError, ValueError) as error:
        fail(f"the model artifact cannot be evaluated: {error}")


def predict_files(predictor: ModuleType, model: Any, files: Sequence[Path]) -> Floats:
    """Scores of shape files x classes: one picture at a time, like the endpoint; a thread per core."""
    return np.concatenate(_of_files(predictor, model, files, predictor.predict))


def measure_files(predictor: ModuleType, model: Any, files: Sequence[Path]) -> tuple[Floats, Floats | None]:
    """`predict_files`, and each file's distance from the training pictures: above 1 is unknown.

    The second array is None for artifacts without this, such as those of earlier versions.
    """
    if not hasattr(predictor, "measure"):
        return predict_files(predictor, model, files), None
    scores, distances = zip(*_of_files(predictor, model, files, predictor.measure), strict=True)
    return np.concatenate(scores), None if distances[0] is None else np.concatenate(distances)


def _of_files(
    predictor: ModuleType, model: Any, files: Sequence[Path], ask: Callable[[Any, Any], Any]
) -> list[Any]:
    """What the predictor's function answers about each file."""

    def answer(file: Path) -> Any:
        try:
            return ask(model, predictor.decode(model, file.read_bytes(), ANY_IMAGE))
        except predictor.InputError as error:
            raise predictor.InputError(error.code, f"{file} cannot be predicted: {error}") from None

    try:
        return list(in_threads(answer, files))
    except predictor.InputError as error:
        fail(str(error))


def seen(artifact: Path, files: Sequence[Path]) -> list[bool] | None:
    """Whether the model was trained or validated on each file; None if the artifact does not say.

    Artifacts of earlier versions do not.
    """
    path = artifact / TRAINED_ON
    if not path.is_file():
        return None
    try:
        known = digests.from_bytes(path.read_bytes())
    except ValueError as error:
        fail(f"{TRAINED_ON} of the artifact is damaged: {error}")
    return list(map(bool, digests.seen(digests.of_files(files), known)))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser(prog="artifact", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help=f"holds {MODEL_ARCHIVE}")
    parser.add_argument("--files", type=Path, required=True, metavar="FILE", help="a JSON list of pictures")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="the answers, as JSON")
    args = parser.parse_args(arguments)
    files = [Path(name) for name in json.loads(args.files.read_text(encoding="utf-8"))]
    with tempfile.TemporaryDirectory() as folder:
        artifact = Path(folder).resolve()
        unpack(args.model / MODEL_ARCHIVE, artifact)
        # The artifact's modules need their own versions of what this program has loaded.
        for name in [name for name in sys.modules if name.startswith(f"{entrypoints.__name__}.")]:
            del sys.modules[name]
        predictor = import_predictor(artifact)
        model = load(predictor, artifact)
        predicted = predict_files(predictor, model, files).argmax(axis=1)
        answers = {
            "classes": list(model.classes),
            "predicted": [model.classes[place] for place in predicted],
            "seen": seen(artifact, files),
        }
    write_json(args.output, answers)


if __name__ == "__main__":
    main()
