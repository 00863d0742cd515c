from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from entrypoints.dataset import check_dataset
from entrypoints.split import copy, main, plan
from tests.entrypoints.conftest import Run
from tests.entrypoints.pictures import picture, write_classes

FRACTIONS = (0.2, 0.2)


def arguments(folder: Path, out: Path, *more: object) -> list[str]:
    targets = ["train", "validation", "test", "summary"]
    paths = [part for name in targets for part in (f"--{name}", str(out / name))]
    return ["--input", str(folder), *paths, *map(str, more)]


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def names(folder: Path, seed: int = 0) -> dict[str, dict[str, list[str]]]:
    dataset = check_dataset(folder)
    return {
        split: {name: [file.name for file in chosen] for name, chosen in classes.items()}
        for split, classes in plan(dataset, *FRACTIONS, seed).items()
    }


def test_as_a_program(dataset: Path, tmp_path: Path, run: Run) -> None:
    (dataset / "ants" / "notes.txt").write_text("seen on Monday")
    result = run("split", *arguments(dataset, tmp_path / "out", "--seed", 7))
    assert result.returncode == 0, result.stderr
    assert "left out: 'ants/notes.txt' is not an image" in result.stdout
    summary = json.loads((tmp_path / "out" / "summary" / "summary.json").read_text())
    assert summary == {
        "classes": ["ants", "bees"],
        "counts": {
            "train": {"ants": 4, "bees": 4},
            "validation": {"ants": 1, "bees": 1},
            "test": {"ants": 1, "bees": 1},
        },
        "layout": "classes",
        "rejected": [{"file": "ants/notes.txt", "reason": "is not an image"}],
        "seed": 7,
    }
    copied: dict[str, bytes] = {}
    for split in ("train", "validation", "test"):
        part = files(tmp_path / "out" / split)
        assert not part.keys() & copied.keys()
        copied |= part
    assert copied == {name: data for name, data in files(dataset).items() if name.endswith(".png")}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--test-fraction", "1.5"], "--test-fraction"),
        (["--validation-fraction", "nan"], "--validation-fraction"),
        (["--validation-fraction", "0.6", "--test-fraction", "0.6"], "leave nothing to train on"),
        (["--seed", "first"], "--seed"),
        (["--speed", "1"], "--speed"),
    ],
)
def test_bad_arguments_are_one_line(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments(dataset, tmp_path / "out", *more))
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "out").exists()


def test_an_untrainable_dataset_is_one_line(tmp_path: Path, run: Run) -> None:
    result = run("split", *arguments(tmp_path / "missing", tmp_path / "out"))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "is not a folder" in result.stderr
    assert not (tmp_path / "out").exists()


def test_old_files_in_the_way_are_refused(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_classes(tmp_path / "out" / "train", 1)
    with pytest.raises(SystemExit) as stopped:
        main(arguments(dataset, tmp_path / "out"))
    assert stopped.value.code == 2
    assert "is not empty" in capsys.readouterr().err


def test_three_images_go_one_to_each_split(tmp_path: Path) -> None:
    write_classes(tmp_path, 3)
    assert {split: len(classes["ants"]) for split, classes in names(tmp_path).items()} == {
        "train": 1,
        "validation": 1,
        "test": 1,
    }


def test_the_order_of_files_on_disk_does_not_matter(tmp_path: Path) -> None:
    one = write_classes(tmp_path / "one", 9)
    other = tmp_path / "other"
    for path in sorted(one.rglob("*.png"), reverse=True):
        target = other / path.relative_to(one)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    assert names(one) == names(other)
    assert names(one) != names(one, seed=1)


def test_a_new_picture_moves_few_others(tmp_path: Path) -> None:
    write_classes(tmp_path, 20)
    before = names(tmp_path)
    picture(seed=99).save(tmp_path / "ants" / "new.png")
    after = names(tmp_path)
    assert after["train"]["bees"] == before["train"]["bees"]
    assert len(set(before["train"]["ants"]) - set(after["train"]["ants"])) <= 2


def test_published_validation_becomes_test(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", 10)
    write_classes(tmp_path / "val", 4)
    splits = plan(check_dataset(tmp_path), *FRACTIONS, seed=0)
    counts = {split: len(classes["bees"]) for split, classes in splits.items()}
    assert counts == {"train": 8, "validation": 2, "test": 4}
    assert {file.parts[-3] for file in splits["test"]["bees"]} == {"val"}
    assert {file.parts[-3] for file in splits["validation"]["bees"]} == {"train"}


def test_all_three_published_are_kept(tmp_path: Path) -> None:
    for name, count in (("train", 5), ("val", 2), ("test", 3)):
        write_classes(tmp_path / name, count)
    splits = plan(check_dataset(tmp_path), *FRACTIONS, seed=0)
    assert {split: len(classes["ants"]) for split, classes in splits.items()} == {
        "train": 5,
        "validation": 2,
        "test": 3,
    }


def test_published_train_and_test_or_train_alone(tmp_path: Path) -> None:
    write_classes(tmp_path / "a" / "train", 10)
    assert {s: len(c["ants"]) for s, c in names(tmp_path / "a").items()} == {
        "train": 6,
        "validation": 2,
        "test": 2,
    }
    write_classes(tmp_path / "a" / "test", 3)
    assert {s: len(c["ants"]) for s, c in names(tmp_path / "a").items()} == {
        "train": 8,
        "validation": 2,
        "test": 3,
    }


def test_names_that_some_file_systems_cannot_tell_apart(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "in", 3)
    for name in ("Photo.png", "photo.png", "caf\u00e9.png", "cafe\u0301.png"):
        Image.new("RGB", (4, 4)).save(folder / "ants" / name)
    dataset = check_dataset(folder)
    copy(dataset, dataset.images["classes"]["ants"], tmp_path / "out")
    copied = {path.name for path in (tmp_path / "out").iterdir()}
    assert copied == {
        "0.png",
        "1.png",
        "2.png",
        "Photo.png",
        "photo-2.png",
        "caf\u00e9.png",
        "caf\u00e9-2.png",
    }


def test_every_kind_of_picture_is_used(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "in", 3)
    ants = folder / "ants"
    picture().convert("CMYK").save(ants / "cmyk.jpg")
    Image.new("I;16", (4, 4), 40_000).save(ants / "deep.png")
    picture().convert("L").save(ants / "gray.png")
    picture().convert("P").save(ants / "palette.png", transparency=0)
    Image.new("RGB", (1, 1)).save(ants / "one pixel.png")
    assert check_dataset(folder).counts["ants"] == 8
    assert check_dataset(folder).rejected == ()
