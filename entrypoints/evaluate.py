"""Predict the test images with the predictor inside model.tar.gz and write how good it is."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from entrypoints import card, digests
from entrypoints.artifact import import_predictor, load, measure_files, predict_files, seen, unpack
from entrypoints.comparison import Answered, Champion, compare
from entrypoints.contract import (
    ACCURACY,
    ANY_IMAGE,
    COMPARISON,
    EVALUATION,
    GATE,
    GATE_METRICS,
    KNOWN_SHARE,
    MEASURED,
    MODEL_ARCHIVE,
    MODEL_CARD,
    NONE,
    PACKAGE_CARD,
    PREDICTIONS,
    SAMPLE_ANSWERS,
    SAMPLES,
    SPLIT_SUMMARY,
    TEST,
    WORST_MISTAKES,
)
from entrypoints.metrics import Labels, multiclass_metrics, one_each, share_interval, worth
from entrypoints.program import Parser, fail, printable, write_bytes, write_json, write_message
from entrypoints.verdict import gate, known_sentence

# A larger test split compares the artifact's engines on this number of pictures, evenly spread.
COMPARED_PICTURES = 1000
SAMPLE_PICTURES = 8
# The endpoint accepts larger bodies; VerifyEndpoint does not need them.
MAX_SAMPLE_BYTES = 4_000_000  # what a serverless endpoint takes


def evaluate(
    artifact: Path,
    test: Path,
    output: Path,
    *,
    summary: Path | None,
    metric: str,
    champion: Champion,
    margin: float,
) -> str:
    """Predict the images in test/<class>/; write predictions, samples, evaluation, gate and card.

    Args:
        summary: the folder with the split's summary, which names groups of similar pictures.
        metric: one of GATE_METRICS.
        champion: the model to compare with.
        margin: how much worse the new model may be (0..1).

    Returns:
        The measurements, in sentences.
    """
    predictor = import_predictor(artifact)
    # It decodes with image.py, so the artifact's package must be loaded first.
    from entrypoints.dataset import read_split, spread
    from entrypoints.folders import DatasetError

    model = load(predictor, artifact)
    try:
        classes, files = read_split(test)
    except DatasetError as error:
        fail(str(error))
    if unknown := sorted(set(classes) - set(model.classes)):
        fail(f"{test} has the class {unknown[0]!r}, which is none of the model's {len(model.classes)}")
    if not files:
        fail(f"{test} holds no images")
    names = [file.relative_to(test.resolve()).as_posix() for file, _ in files]
    labels = np.array([model.classes.index(classes[label]) for _, label in files])
    split = None if summary is None else read_summary(summary)
    groups = one_each(labels) if split is None else read_groups(split, names)
    scores, distances = measure_files(predictor, model, [file for file, _ in files])
    predicted = scores.argmax(axis=1)
    answers = predictor.describe(model, scores)
    predictions = [
        {
            "file": name,
            "label": classes[label],
            "predicted": answer["label"],
            "probabilities": answer["probabilities"],
            "engine": model.engine,
        }
        for name, (_, label), answer in zip(names, files, answers, strict=True)
    ]
    confidence = np.array([answer["probabilities"][answer["label"]] for answer in answers])
    metrics = multiclass_metrics(model.classes, labels, predicted, groups)
    found = worth(model.classes, labels, predicted, confidence, groups)
    if distances is not None:
        found[KNOWN_SHARE] = share_interval(distances <= 1, groups)._asdict()
    answered = Answered(
        model.classes,
        [file for file, _ in files],
        labels,
        predicted,
        groups,
        seen(artifact, [file for file, _ in files]),
    )
    comparison = compare(champion, answered, metric, margin)
    explain_mistakes(predictor, model, [file for file, _ in files], predictions)
    compared = spread(range(len(files)), COMPARED_PICTURES)
    engines = compare_engines(
        predictor, artifact, model, [files[i][0] for i in compared], labels[compared], scores[compared]
    )
    write_json(output / PREDICTIONS, predictions)
    # Predictors of earlier versions have no temperature.
    write_samples(output / SAMPLES, test.resolve(), predictions, getattr(model, "temperature", 1.0))
    write_json(
        output / EVALUATION,
        {
            "multiclass_classification_metrics": metrics,
            "worth": found,
            "champion": comparison,
            "engine": model.engine,
            "engines": engines,
        },
    )
    verdict = gate(metric, found) | comparison
    write_json(output / GATE, verdict)
    said = [text for text in (verdict[MEASURED], known_sentence(found), verdict[COMPARISON]) if text]
    write_json(
        output / PACKAGE_CARD,
        card.parts(
            model_card=json.loads((artifact / MODEL_CARD).read_text(encoding="utf-8")),
            summary=split,
            worth=found,
            confusion=metrics["confusion_matrix"],
            sentences=said,
            test_sha256=digests.sha256([file for file, _ in files]),
        ),
    )
    return ". ".join(said)


def read_summary(folder: Path) -> dict[str, Any]:
    """The split's summary, with its groups' names as strings; earlier versions have no groups."""
    path = folder / SPLIT_SUMMARY
    try:
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        groups = {str(name): str(group) for name, group in summary.get("groups", {}).items()}
    except (OSError, ValueError, AttributeError) as error:
        fail(f"{path} is not the summary of a split; --summary must be its folder: {error}")
    return summary | {"groups": groups}


def read_groups(summary: Mapping[str, Any], names: Sequence[str]) -> Labels:
    """A number for each picture of the test split; pictures that the split found similar share one.

    The split's summary names them as TEST/CLASS/FILE; other pictures are alone.
    """
    alike: Mapping[str, str] = summary["groups"]
    # A lone picture gets its own name with a mark that no group has.
    groups = [alike.get(f"{TEST}/{name}", f"/{name}") for name in names]
    return np.unique(groups, return_inverse=True)[1].astype(np.int64)


def explain_mistakes(
    predictor: ModuleType, model: Any, files: Sequence[Path], predictions: Sequence[dict[str, Any]]
) -> None:
    """Add "map", "score" and "known" to the model's surest wrong predictions."""
    if not hasattr(predictor, "recognize"):  # an earlier version
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
    """Each engine's accuracy, and its agreement with the evaluated one.

    `labels` and `scores` (of the model's engine) have a row per file.
    """
    evaluated = scores.argmax(axis=1)
    compared = {}
    for name in predictor.engines(artifact):
        predicted = evaluated
        if name != model.engine:
            other = load(predictor, artifact, name)
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
    """Copy a few test pictures with their answers: for each class in turn, the surest.

    A sure answer is the same on every processor; a close one may not be.
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
            # Other systems may not accept the name in the test set.
            name = f"{len(answers) + 1}.{image_format(file)}"
            write_bytes(folder / name, file.read_bytes())
            answers.append({**prediction, "file": name, "temperature": temperature})
    write_json(folder / SAMPLE_ANSWERS, answers)


def image_format(file: Path) -> str:
    """The suffix that matches a picture file's content."""
    with Image.open(file) as image:
        return {"MPO": "jpeg"}.get(str(image.format), str(image.format).lower())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = Parser(prog="evaluate", description=__doc__)
    for name in ("model", "test", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="DIR")
    parser.add_argument("--summary", type=Path, metavar="DIR", help="the split's summary")
    parser.add_argument("--metric", choices=GATE_METRICS, default=ACCURACY, help="what the gate looks at")
    parser.add_argument("--champion", type=Path, metavar="DIR", help="holds its model.tar.gz")
    parser.add_argument("--champion-name", default=NONE, metavar="NAME", help=f"{NONE} for no champion")
    parser.add_argument("--champion-reason", default="no champion was given", metavar="TEXT")
    parser.add_argument(
        "--margin", type=float, default=0.03, help="how much worse than the champion it may be"
    )
    parser.add_argument("--message", type=Path, metavar="FILE", help="the job's exit message")
    args = parser.parse_args(arguments)
    if args.champion_name != NONE and args.champion is None:
        parser.error("--champion-name goes with --champion")
    champion = Champion(args.champion_name, args.champion_reason, args.champion or Path())
    with tempfile.TemporaryDirectory() as folder:
        artifact = Path(folder).resolve()
        unpack(args.model / MODEL_ARCHIVE, artifact)
        said = evaluate(
            artifact,
            args.test,
            args.output,
            summary=args.summary,
            metric=args.metric,
            champion=champion,
            margin=args.margin,
        )
    if args.message:
        write_message(args.message, said)
    print(printable(said))


if __name__ == "__main__":
    main()
