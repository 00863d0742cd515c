"""A model artifact, unpacked, and what its own code answers.

As a program: the answers of one artifact about pictures, in a process of its own, since the code of another
artifact goes by the same names.
"""

from __future__ import annotations

import gzip
import importlib
import json
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from zlib import error as ZlibError

import numpy as np
import numpy.typing as npt

import entrypoints
from entrypoints import digests
from entrypoints.contract import ANY_IMAGE, ENGINES, MODEL_ARCHIVE, MODEL_CARD, TRAINED_ON
from entrypoints.program import Parser, fail, in_threads, write_json

# What tarfile makes of a damaged archive, besides its own errors.
DAMAGE = (EOFError, OSError, ZlibError, LookupError, ValueError, ArithmeticError, RecursionError)


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

    try:
        return np.concatenate(list(in_threads(predict, files)))
    except predictor.InputError as error:
        fail(str(error))


def seen(artifact: Path, files: Sequence[Path]) -> list[bool] | None:
    """Whether the model was trained or validated on each of the files; None if it does not say.

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
        # What this program has loaded is not what the artifact's modules were written for.
        for name in [name for name in sys.modules if name.startswith(f"{entrypoints.__name__}.")]:
            del sys.modules[name]
        predictor = import_predictor(artifact)
        model = predictor.load(artifact)
        predicted = predict_files(predictor, model, files).argmax(axis=1)
        answers = {
            "classes": list(model.classes),
            "predicted": [model.classes[place] for place in predicted],
            "seen": seen(artifact, files),
        }
    write_json(args.output, answers)


if __name__ == "__main__":
    main()
