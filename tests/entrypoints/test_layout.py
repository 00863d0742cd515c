"""All kinds of folders: each is read as intended, or refused in one accurate line."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import pytest

from entrypoints.dataset import check_dataset, told
from entrypoints.splits import split_of
from tests.entrypoints.folders import LABELS, TWO, counts, in_folder, put, refusal, table
from tests.entrypoints.pictures import picture


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Training", ("train", "")),
        ("seg_train", ("train", "seg")),
        ("train-images", ("train", "images")),
        ("TRAIN SET", ("train", "set")),
        ("dev", ("validation", "")),
        ("x_valid", ("validation", "x")),
        ("Testing", ("test", "")),
        ("trainer", None),
        ("big train station", None),
        ("train_test", None),
    ],
)
def test_names_of_splits(name: str, expected: tuple[str, str] | None) -> None:
    assert split_of(name) == expected


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("Training", None, "Testing"),
        ("train", "dev", "test"),
        ("TRAIN", "Valid", "TEST"),
        ("seg_train/seg_train", None, "seg_test/seg_test"),
        ("data/images/train", "data/images/val", None),
        ("training_set", None, "test_set"),
        ("train-images", "val-images", "test-images"),
    ],
)
def test_splits_in_their_usual_forms(tmp_path: Path, train: str, val: str | None, test: str | None) -> None:
    for folder in filter(None, (train, val, test)):
        put(tmp_path, f"{folder}/cat/*", f"{folder}/dog/*")
    parts = {"train": train, "validation": val, "test": test}
    assert counts(check_dataset(tmp_path)) == {part: TWO for part, folder in parts.items() if folder}


def test_two_sets_of_splits_are_refused(tmp_path: Path) -> None:
    put(tmp_path, *(f"{animal}_{split}/x/*" for animal in ("cat", "dog") for split in ("train", "test")))
    assert refusal(tmp_path) == "ROOT holds both cat_train and dog_train; keep one of them"


def test_a_split_or_a_class(tmp_path: Path) -> None:
    put(tmp_path, "train/wagon/*", "train/engine/*", "bus/*")
    assert refusal(tmp_path).startswith("ROOT: train holds folders as a split does, bus beside it hold")


def test_wrapper_folders_are_said(tmp_path: Path) -> None:
    put(tmp_path, "archive/pets/cat/*", "archive/pets/dog/*")
    table(tmp_path / "README.txt", "pets")
    found = check_dataset(tmp_path)
    assert counts(found) == {"classes": TWO}
    assert told(found)[:3] == [
        f"reading archive, the only folder in {tmp_path.resolve()}",
        f"reading archive/pets, the only folder in {tmp_path.resolve() / 'archive'}",
        "6 pictures of 2 classes: cat (3), dog (3)",
    ]
    assert [r.file for r in found.rejected] == ["README.txt"]


@pytest.mark.parametrize("where", ["test", "test/test", "test/unknown", "test/images"])
def test_a_test_split_without_labels_is_set_aside(tmp_path: Path, where: str) -> None:
    put(tmp_path, "train/cat/*", "train/dog/*", f"{where}/*")
    found = check_dataset(tmp_path)
    assert counts(found) == {"train": TWO}
    assert f"{where} is set aside: nothing labels its 3 files" in found.notes


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("train/*", "test/*"), "ROOT/train holds 3 files, but no class folders; give each class its own"),
        (("valid/*", "test/*"), "ROOT holds test and valid, which look like splits without folders of"),
        (("valid/cat/*", "test/cat/*"), "ROOT holds test and valid and no train; call the folder to learn"),
        (("bus/*", "train/*", "test/*"), "ROOT holds bus, test and train, which look like splits without"),
        (("v1/*", "v2/*"), "ROOT holds v1 and v2, which look like versions or parts of a dataset, not like"),
        (("2024-01-31/*", "2024-02-29/*"), "ROOT holds 2024-01-31 and 2024-02-29, which look like versions"),
        (
            ("fold_1/*", "fold_2/*", "fold_3/*"),
            "ROOT holds fold_1, fold_2 and fold_3, which look like versions",
        ),
        (
            ("*",),
            "ROOT holds 3 files, but no class folders; give each class its own folder, or add labels",
        ),
    ],
)
def test_what_names_no_class_is_refused(tmp_path: Path, folders: tuple[str, ...], message: str) -> None:
    assert refusal(put(tmp_path, *folders)).startswith(message)


def test_names_like_versions_can_be_classes_if_the_user_says_so(tmp_path: Path) -> None:
    put(tmp_path, "v1/*", "v2/*")
    assert "use --label-regex '^([^/]+)/'" in refusal(tmp_path)
    assert check_dataset(tmp_path, label_regex="^([^/]+)/").classes == ("v1", "v2")


def test_one_level_too_deep(tmp_path: Path) -> None:
    put(tmp_path, "images/ants/*", "images/bees/*")
    table(tmp_path / "annotations/ants.xml", "<x/>")
    assert refusal(tmp_path) == "images/ holds ants and bees; did you mean that? give ROOT/images"


def test_names_that_carry_the_class(tmp_path: Path) -> None:
    put(tmp_path, *(f"train/{name}.{n}.png" for name in ("cat", "dog") for n in range(3)), "train/x9.png")
    put(tmp_path, "test/1.png", "test/2.png")
    assert "use --label-regex '^([a-z]+)'" in refusal(tmp_path)
    found = check_dataset(tmp_path, label_regex=r"^([a-z]+)\.")
    assert counts(found) == {"train": TWO}
    assert {r.file: r.reason for r in found.rejected} == {
        "train/x9.png": "has a name in which split.label_regex finds no class"
    }
    assert "test is set aside: split.label_regex finds no class in its names" in found.notes
    assert "finds no class in any name in ROOT/train, such as 'cat.0.png'" in refusal(
        tmp_path, label_regex="^Z"
    )


def test_two_unicode_forms_of_a_name_are_one_class(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))
    for number, name in enumerate((composed, decomposed, "dog")):
        (tmp_path / name).mkdir(exist_ok=True)
        for file in range(3):
            picture(seed=10 * number + file).save(tmp_path / name / f"{number}{file}.png")
    if len(os.listdir(tmp_path)) < 3:  # noqa: PTH208
        pytest.skip("this file system knows one form only")
    assert check_dataset(tmp_path).counts == {composed: 6, "dog": 3}


def test_long_lists_are_cut(tmp_path: Path) -> None:
    put(tmp_path, "cat/*", "dog/*")
    for number in range(30):
        table(tmp_path / "cat" / f"{number:02}.txt", "note")
    lines = told(check_dataset(tmp_path))
    assert sum(line.startswith("left out: cat/") for line in lines) == 10
    assert "left out: 20 more: is not an image" in lines


@pytest.mark.parametrize(
    ("pictures", "rows", "message"),
    [
        (
            (*in_folder("images"), *in_folder("annotations")),
            ["id,label", *LABELS],
            "the names in labels.csv fit the pictures in annotations and in images; write paths into it, or",
        ),
        (
            (*in_folder("images"), "images/0.jpg"),
            ["id,label", *LABELS],
            "'0' in labels.csv is the name of images/0.jpg and images/0.png; write paths",
        ),
        (
            (*in_folder("cat"), *in_folder("dog")),
            ["file,category", *(f"{name},indoor" for name in (*in_folder("cat"), *in_folder("dog")))],
            "ROOT/labels.csv says 'indoor' of cat/0.png, whose folder says another class;",
        ),
        (
            (*in_folder("part_1"), "part_2/6.png"),
            ["file,label", "x1.png,cat", "x2.png,dog"],
            "ROOT/labels.csv names none of the files: they have names like '0.png', its first row is",
        ),
        (in_folder("images"), ["id,label"], "ROOT/labels.csv has no rows"),
        (in_folder("images"), ["id,fold", *LABELS], "ROOT/labels.csv has the columns 'id', 'fold'; call the"),
        (
            (*in_folder("images"), *in_folder("masks")),
            ["x"],
            "ROOT holds images and masks, whose names say",
        ),
        (
            ("asl_train/A/*", "asl_train/B/*", "asl_pred/*"),
            ["x"],
            "asl_train/ holds A and B; did you mean that? give ROOT/asl_train, or call the",
        ),
    ],
)
def test_two_readings_are_refused(
    tmp_path: Path, pictures: tuple[str, ...], rows: Iterable[str], message: str
) -> None:
    put(tmp_path, *pictures)
    table(tmp_path / "labels.csv", *rows)
    assert refusal(tmp_path).startswith(message)


def test_folders_without_pictures_are_no_classes(tmp_path: Path) -> None:
    put(tmp_path, "cat/*", "dog/*")
    table(tmp_path / "docs" / "paper.txt", "text")
    found = check_dataset(tmp_path)
    assert counts(found) == {"classes": TWO}
    assert [(r.file, r.reason) for r in found.rejected] == [
        ("docs", "holds 1 files and none with the name of a picture")
    ]


def test_kaggles_test1_and_a_readme(tmp_path: Path) -> None:
    put(
        tmp_path,
        *(f"pets/train/{name}.{n}.png" for name in ("cat", "dog") for n in range(3)),
        "pets/test1/1.png",
    )
    table(tmp_path / "README", "pets")
    table(tmp_path / "pets" / "sampleSubmission.csv", "id,label")
    found = check_dataset(tmp_path, label_regex="^([a-z]+)")
    assert counts(found) == {"train": TWO}
    assert "pets/test1 is set aside: split.label_regex finds no class in its names" in found.notes


def test_links_in_a_circle(tmp_path: Path) -> None:
    put(tmp_path, "cat/*", "dog/*")
    (tmp_path / "cat/self.png").symlink_to("self.png")
    (tmp_path / "cat/d").symlink_to("../dog")
    (tmp_path / "dog/c").symlink_to("../cat")
    found = check_dataset(tmp_path, follow_links=True)
    assert {r.file: r.reason for r in found.rejected} == {
        "cat/self.png": "is a link to nothing",
        "cat/d/c": "is a link to a folder that it lies in",
        "dog/c/d": "is a link to a folder that it lies in",
        "dog/c/self.png": "is a link to nothing",
    }


def test_a_bad_regular_expression(tmp_path: Path) -> None:
    put(tmp_path, "*")
    assert "split.label_regex is not a regular expression" in refusal(tmp_path, label_regex="(")
