from __future__ import annotations

import gzip
import json
import os
import shutil
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from PIL import Image

from entrypoints import digests
from entrypoints.comparison import Champion
from entrypoints.evaluate import MAX_SAMPLE_BYTES, evaluate, main
from tests.entrypoints.archives import UNSAFE
from tests.entrypoints.conftest import Run, change_in_the_middle
from tests.entrypoints.pictures import write_classes

PROPERTY_FILE_BYTES = 2 * 1024 * 1024
RESULTS = ("evaluation.json", "predictions.json", "samples/answers.json", "gate.json", "card.json")
MODEL_CARD = {
    "architecture": "resnet18",
    "weights": "random",
    "hyperparameters": {"epochs": 4},
    "metrics": {"validation_accuracy": 0.9},
    "versions": {"torch": "2.14.1"},
}


def evaluation(folder: Path) -> dict[str, dict[str, object]]:
    return json.loads((folder / "evaluation.json").read_text())["multiclass_classification_metrics"]


def test_as_a_program(archive: Path, tmp_path: Path, run: Run) -> None:
    test = write_classes(tmp_path / "test set", 3)
    # A blue picture among the red ones.
    shutil.copy(test / "bees" / "0.png", test / "ants" / "blue ö.png")
    result = run("evaluate", "--model", archive, "--test", test, "--output", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    metrics = evaluation(tmp_path / "out")
    assert metrics["accuracy"]["value"] == pytest.approx(6 / 7)
    assert metrics["accuracy"]["standard_deviation"] > 0
    assert metrics["confusion_matrix"] == {"ants": {"ants": 3, "bees": 1}, "bees": {"ants": 0, "bees": 3}}
    predictions = json.loads((tmp_path / "out" / "predictions.json").read_text())
    wrong = [entry for entry in predictions if entry["label"] != entry["predicted"]]
    assert [entry["file"] for entry in wrong] == ["ants/blue ö.png"]
    assert sum(wrong[0]["probabilities"].values()) == pytest.approx(1)
    assert wrong[0]["probabilities"]["bees"] > 0.5
    document = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert np.array(wrong[0]["map"]).shape == (1, 1) and wrong[0]["known"] in (True, False)
    assert not any("map" in entry for entry in predictions if entry not in wrong)
    assert {entry["engine"] for entry in predictions} == {document["engine"]}
    same = {"accuracy": pytest.approx(6 / 7), "agreement": 1.0, "pictures": 7}
    assert document["engines"] == {"int8": same, "fp32": same}
    gate = json.loads((tmp_path / "out" / "gate.json").read_text())
    assert (gate["metric"], gate["value"]) == ("accuracy", metrics["accuracy"]["value"])
    said = "Test accuracy 0.8571 (95 % interval 0.4868 to 0.9743) on 7 pictures of 2 classes"
    assert gate["measured"] == f"{said} (fewer than 30 say little)"
    # Of pictures like those of the training: one colour each.
    assert document["worth"]["known"] == {"value": 1.0, "low": pytest.approx(0.646, abs=1e-3), "high": 1.0}
    known = "100 % of them are known to it (95 % interval 64.56 % to 100 %)"
    assert result.stdout == f"{gate['measured']}. {known}. Not compared: no champion was given\n"
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert f"{json.loads(card['evaluation_observation'])}\n" == result.stdout
    measured = json.loads(card["metric_groups"])[0]["metric_data"]
    found = {metric["name"]: metric["value"] for metric in measured}
    assert (found["accuracy"], found["known"], found["pictures"]) == (pytest.approx(6 / 7), 1.0, 7)


def test_a_thousand_classes_leave_a_small_file_for_the_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number:04} a species of butterflies" for number in range(1050)]
    test = write_classes(tmp_path / "test", 1, {names[0]: (200, 30, 30)})
    for name in names[1:]:
        (test / name).mkdir()
        os.link(test / names[0] / "0.png", test / name / "0.png")
    scores = iter(np.eye(len(names), dtype=np.float32)[:, None])
    predictor = SimpleNamespace(
        InputError=ValueError,
        load=lambda *_: SimpleNamespace(classes=names, engine="fp32"),
        decode=lambda *_: None,
        predict=lambda *_: next(scores),
        describe=lambda _, rows: [
            {"label": names[row.argmax()], "probabilities": dict(zip(names, row.tolist(), strict=True))}
            for row in rows
        ],
        engines=lambda _: ["fp32"],
    )
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "model.json").write_text(json.dumps(MODEL_CARD))
    monkeypatch.setattr("entrypoints.evaluate.import_predictor", lambda _: predictor)
    monkeypatch.setattr("entrypoints.program.os.cpu_count", lambda: 1)
    monkeypatch.setattr("entrypoints.metrics.RESAMPLES", 2)
    evaluate(
        *(tmp_path / "artifact", test, tmp_path / "out"),
        summary=None,
        metric="accuracy",
        champion=Champion("-", "there is none", tmp_path),
        margin=0.03,
    )
    gate, report, card = (tmp_path / "out" / f"{name}.json" for name in ("gate", "evaluation", "card"))
    assert card.stat().st_size < 10_000
    assert json.loads(gate.read_text())["value"] == 1.0
    assert gate.stat().st_size < 1000
    # One number and one name a cell, no line of its own.
    assert PROPERTY_FILE_BYTES < report.stat().st_size < 1050**2 * (len(names[0]) + len('"":0,') + 2)
    assert all((tmp_path / "out" / name).read_text().count("\n") == 1 for name in RESULTS)


def test_samples_are_test_pictures_of_every_class_with_their_answers(
    artifact: Path, archive: Path, tmp_path: Path, run: Run
) -> None:
    test = write_classes(tmp_path / "test", 7)
    for number in range(1, 7):
        (test / "ants" / f"{number}.png").unlink()
    (test / "ants" / "0.png").rename(test / "ants" / "ä b.png")
    with Image.open(test / "bees" / "0.png") as image:
        image.save(test / "bees" / "0.jpg")
    (test / "bees" / "0.png").unlink()
    with (test / "bees" / "1.png").open("ab") as file:
        file.truncate(MAX_SAMPLE_BYTES + 1)
    result = run("evaluate", "--model", archive, "--test", test, "--output", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    samples = tmp_path / "out/samples"
    answers = json.loads((samples / "answers.json").read_text())
    labels = [answer["label"] for answer in answers]
    assert (sorted(labels[:2]), labels[2:]) == (["ants", "bees"], 5 * ["bees"])
    names = {answer["file"] for answer in answers}
    assert names == {path.name for path in samples.iterdir()} - {"answers.json"}
    assert {Path(name).suffix for name in names} == {".png", ".jpeg"}
    originals = {path.read_bytes(): path for path in test.rglob("*.*g")}
    predictions = json.loads((tmp_path / "out/predictions.json").read_text())
    temperature = json.loads((artifact / "model.json").read_text())["temperature"]
    expected = {entry["file"]: {**entry, "file": "", "temperature": temperature} for entry in predictions}
    for answer in answers:
        original = originals[(samples / answer["file"]).read_bytes()]
        assert {**answer, "file": ""} == expected[original.relative_to(test).as_posix()]


@pytest.mark.parametrize(
    ("module", "line", "other"),
    [
        (
            "serving/predictor.py",
            "    return scores, distances",
            "    return -scores, distances",
        ),
        ("image.py", "    return inputs", "    return inputs[::-1].copy()"),  # blue for red
    ],
)
def test_the_artifact_s_own_code_predicts(
    artifact: Path, tmp_path: Path, run: Run, module: str, line: str, other: str
) -> None:
    copied = tmp_path / "artifact"
    shutil.copytree(artifact, copied)
    code = copied / "entrypoints" / module
    before = code.read_text()
    code.write_text(before.replace(f"\n{line}\n", f"\n{other}\n"))
    assert code.read_text() != before
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz", compresslevel=0) as tar:
        tar.add(copied, ".")
    test = write_classes(tmp_path / "test", 2)
    result = run("evaluate", "--model", tmp_path, "--test", test, "--output", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert evaluation(tmp_path / "out")["accuracy"]["value"] == 0


def test_the_champion_answers_by_its_own_code(artifact: Path, tmp_path: Path, run: Run) -> None:
    """A model that is always wrong, compared with one that is always right and was trained on one picture."""
    test = write_classes(tmp_path / "test", 6)
    wrong, champion = tmp_path / "wrong", tmp_path / "champion"
    for folder in (wrong, champion):
        shutil.copytree(artifact, folder / "code")
    code = wrong / "code/entrypoints/serving/predictor.py"
    right = "    return scores, distances"
    assert right in code.read_text()
    code.write_text(code.read_text().replace(right, right.replace("return ", "return -", 1)))
    known = digests.of_files([test / "ants/0.png"])
    (champion / "code/trained_on.npy").write_bytes(digests.to_bytes(known))
    for folder in (wrong, champion):
        with tarfile.open(folder / "model.tar.gz", "w:gz", compresslevel=0) as tar:
            tar.add(folder / "code", ".")
    summary = tmp_path / "summary"
    summary.mkdir()
    alike = {f"test/bees/{number}.png": "group 1" for number in (1, 2)}
    (summary / "summary.json").write_text(json.dumps({"groups": alike}))
    options = ["--model", wrong, "--test", test, "--output", tmp_path / "out", "--summary", summary]
    options += ["--champion", champion, "--champion-name", "insects/7", "--champion-reason", "which serves"]
    result = run("evaluate", *options, "--message", tmp_path / "message")
    assert result.returncode == 0, result.stderr
    gate = json.loads((tmp_path / "out/gate.json").read_text())
    assert gate["compared"] == "true"
    assert gate["difference"]["value"] == -1
    assert (gate["pictures"], gate["left_out"]) == (11, 1)
    # These few pictures cannot show that a model is as good, but they show that this one is not.
    assert gate["difference_bound"] == gate["difference"]["high"] < -0.4
    said = "Compared with insects/7, which serves, on 11 test pictures (1 left out: "
    assert gate["comparison"].startswith(said)
    assert "accuracy 0 against 1, difference -1 (95 % interval -1 to " in gate["comparison"]
    assert (tmp_path / "message").read_text() == result.stdout.strip()
    worth = json.loads((tmp_path / "out/evaluation.json").read_text())["worth"]
    assert (worth["pictures"], worth["groups"]) == (12, 11)


def test_a_test_set_with_some_of_the_classes(archive: Path, tmp_path: Path, run: Run) -> None:
    test = write_classes(tmp_path / "test", 2, {"bees": (30, 30, 200)})
    result = run("evaluate", "--model", archive, "--test", test, "--output", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert evaluation(tmp_path / "out")["confusion_matrix"]["bees"] == {"ants": 0, "bees": 2}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("other class", "the class 'wasps', which is none of the model's 2"),
        ("broken picture", "broken.png cannot be predicted: The body is not an image"),
    ],
)
def test_a_bad_test_set_is_one_line(
    archive: Path, tmp_path: Path, run: Run, damage: str, message: str
) -> None:
    test = write_classes(tmp_path / "test", 1)
    if damage == "other class":
        write_classes(test, 1, {"wasps": (9, 9, 9)})
    else:
        (test / "ants" / "broken.png").write_text("no picture")
    result = run("evaluate", "--model", archive, "--test", test, "--output", tmp_path / "out")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1, result.stderr
    assert message in result.stderr
    assert not (tmp_path / "out").exists()


def test_weights_that_are_no_numbers_are_one_line(artifact: Path, tmp_path: Path, run: Run) -> None:
    """In the engine that serves here; onnxruntime would load it, and a maximum may hide its effect."""
    copied = shutil.copytree(artifact, tmp_path / "artifact")
    for path in copied.glob("*.onnx"):
        model = onnx.load(path)
        weights = [tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
        array = onnx.numpy_helper.to_array(weights[-1]).copy()
        array.flat[-1] = np.nan
        weights[-1].CopyFrom(onnx.numpy_helper.from_array(array, weights[-1].name))
        onnx.save(model, path)
    with tarfile.open(tmp_path / "model.tar.gz", "w:gz", compresslevel=0) as tar:
        tar.add(copied, ".")
    test = write_classes(tmp_path / "test", 1)
    output, message = tmp_path / "out", tmp_path / "message"
    result = run("evaluate", "--model", tmp_path, "--test", test, "--output", output, "--message", message)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1, result.stderr
    assert "the model artifact cannot be evaluated: model." in result.stderr
    assert "has weights that are NaN or infinite" in result.stderr
    assert not output.exists() and not message.exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("no archive", "does not exist"),
        ("no artifact", "it has no model.json"),
        ("no engines", "it has no model.onnx; train it with engines=1"),
        ("leaves the folder", "cannot be unpacked"),
        ("truncated archive", "cannot be unpacked"),
        ("damaged archive", "else give a whole .tar.gz archive: BadGzipFile: CRC check failed"),
        ("deep archive", "RecursionError"),
        ("a bomb", "UnsafeArchive: a bomb: "),
        ("a large file", "UnsafeArchive: a bomb: "),
        ("a negative size", "cannot be unpacked"),
        ("no end", "ReadError: no header at byte 1,024 of the tar archive, nor its end"),
    ],
)
def test_a_bad_archive_is_one_line(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str, message: str
) -> None:
    packed = archive / "model.tar.gz"
    if damage == "no archive":
        packed.unlink()
    elif damage == "truncated archive":
        packed.write_bytes(packed.read_bytes()[:20_000])
    elif damage == "damaged archive":
        change_in_the_middle(packed)
    elif damage == "deep archive":
        with tarfile.open(packed, "w:gz") as tar:
            tar.addfile(tarfile.TarInfo("/".join("d" * 1500)))
    elif damage in UNSAFE:
        packed.write_bytes(UNSAFE[damage][0]("model.json"))
    elif damage == "no end":
        with tarfile.open(packed, "w:gz") as tar:
            tar.addfile(tarfile.TarInfo("model.json"))
            tar.addfile(tarfile.TarInfo("model.onnx"))
        packed.write_bytes(gzip.compress(gzip.decompress(packed.read_bytes())[:1024]))
    else:
        (tmp_path / "file").write_text("x")
        member = {"no artifact": "file", "no engines": "model.json", "leaves the folder": "../file"}[damage]
        with tarfile.open(packed, "w:gz") as tar:
            tar.add(tmp_path / "file", member)
    with pytest.raises(SystemExit) as stopped:
        main(["--model", str(archive), "--test", str(tmp_path), "--output", str(tmp_path / "out")])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "out").exists()
