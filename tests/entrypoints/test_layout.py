"""Folders as people have them: each is read as it is meant, or refused in one true line."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import pytest

from entrypoints.dataset import Dataset, check_dataset, told
from entrypoints.folders import DatasetError
from entrypoints.splits import split_of
from tests.entrypoints.pictures import picture


def put(root: Path, *files: str) -> Path:
    """Pictures, each different; `a/*` is three in a folder."""
    number = 0
    for file in files:
        for name in [file.replace("*", f"{n}.png") for n in range(3)] if "*" in file else [file]:
            number += 1
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            picture(seed=number).save(root / name, "PNG")
    return root


def table(file: Path, *rows: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return file


def counts(found: Dataset) -> dict[str, dict[str, int]]:
    return {
        part: {name: len(files) for name, files in classes.items()} for part, classes in found.images.items()
    }


def refusal(root: Path, **options: str) -> str:
    with pytest.raises(DatasetError) as caught:
        check_dataset(root, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(root.resolve()), "ROOT")


TWO = {"cat": 3, "dog": 3}


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


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("id,breed", "{stem},{label}"),
        ("image;label", "{stem}.png;{label}"),
        ("filename,width,class", "{stem}.png,24,{label}"),
        ("label\timage_id", "{label}\t{stem}"),
        ("\ufeffFile Name,Class Name", "train/{stem}.png,{label}"),
        (None, "{stem}.png,{label}"),
        ("path,class_id,class_name", r"C:\data\train\{stem}.png,{number},{label}"),
        ("image_id,cat,dog", "{stem},{one},{other}"),
    ],
)  # fmt: skip
def test_tables_of_labels(tmp_path: Path, header: str | None, row: str) -> None:
    put(tmp_path, *(f"train/{number:04}.png" for number in range(6)), "test/0001.png", "test/9999.png")
    rows = [header] if header else []
    for number in range(6):
        label = ("cat", "dog")[number % 2]
        numbers = {"number": number % 2, "one": 1 - number % 2, "other": number % 2}
        rows.append(row.format(stem=f"{number:04}", label=label, **numbers))
    table(tmp_path / "labels.csv", *rows)
    found = check_dataset(tmp_path)
    assert counts(found) == {"train": TWO}
    assert found.images["train"]["dog"][0].name == "0001.png"
    assert found.name_in_class(found.images["train"]["dog"][0]) == "0001.png"
    assert [file.name for file in found.tables] == ["labels.csv"]
    assert any(note.startswith("labels.csv names the classes: ") for note in found.notes)
    assert any(note.startswith("test is set aside") for note in found.notes)
    assert found.rejected == ()


def test_train_and_test_tables(tmp_path: Path) -> None:
    """As the German traffic signs have them: classes in folders for training, a table for the test."""
    put(tmp_path, "Train/0/*", "Train/1/*", *(f"Test/{number:05}.png" for number in range(4)))
    rows = [f"24,Test/{number:05}.png,{number % 2}" for number in range(4)]
    table(tmp_path / "Test.csv", "Width,Path,ClassId", *rows)
    assert counts(check_dataset(tmp_path)) == {"train": {"0": 3, "1": 3}, "test": {"0": 2, "1": 2}}


def test_tables_in_splits(tmp_path: Path) -> None:
    for split, first in (("train", 0), ("valid", 10)):
        names = [f"{number}.png" for number in range(first, first + 6)]
        put(tmp_path, *(f"{split}/{name}" for name in names))
        rows = [f"{name},{int(row < 3)},{int(row >= 3)}" for row, name in enumerate(names)]
        table(tmp_path / split / "_classes.csv", "filename, cat, dog", *rows)
    assert counts(check_dataset(tmp_path)) == {"train": TWO, "validation": TWO}


def test_a_column_of_splits(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(10)]
    put(tmp_path, *(f"images/{name}" for name in names))
    rows = [
        f"images/{name},{'cd'[row % 2]},{'test' if row > 7 else 'train'}" for row, name in enumerate(names)
    ]
    table(tmp_path / "birds.csv", "filepaths,labels,data set", *rows)
    assert counts(check_dataset(tmp_path)) == {"train": {"c": 4, "d": 4}, "test": {"c": 1, "d": 1}}


def test_pictures_in_several_folders_beside_a_table(tmp_path: Path) -> None:
    put(tmp_path, *(f"part_1/{number}.png" for number in range(3)), *(f"part_2/{n}.png" for n in range(3, 6)))
    table(
        tmp_path / "metadata.csv",
        "lesion,image_id,dx",
        *(f"L{n},{n},{'nv' if n % 2 else 'mel'}" for n in range(6)),
    )
    table(tmp_path / "sample_submission.csv", "image_id,dx", "0,nv")
    found = check_dataset(tmp_path)
    assert counts(found) == {"classes": {"mel": 3, "nv": 3}}
    assert [r.file for r in found.rejected] == ["sample_submission.csv"]


def test_json_lines_and_an_augmented_manifest(tmp_path: Path) -> None:
    put(tmp_path / "a", *(f"{number}.png" for number in range(6)))
    lines = [json.dumps({"file_name": f"{n}.png", "label": "cat" if n % 2 else "dog"}) for n in range(6)]
    table(tmp_path / "a" / "metadata.jsonl", *lines)
    assert counts(check_dataset(tmp_path / "a")) == {"classes": TWO}
    put(tmp_path / "b", *(f"images/{number}.png" for number in range(6)))
    lines = [
        json.dumps(
            {
                "source-ref": f"s3://some-bucket/pets/images/{n}.png",
                "animal": n % 2,
                "animal-metadata": {"class-name": "cat" if n % 2 else "dog", "confidence": 0.9},
            }
        )
        for n in range(6)
    ]
    table(tmp_path / "b" / "output.manifest", *lines)
    assert counts(check_dataset(tmp_path / "b")) == {"classes": TWO}


def test_sagemakers_lst(tmp_path: Path) -> None:
    put(tmp_path, *(f"train/{number}.png" for number in range(6)))
    put(tmp_path, *(f"validation/{number}.png" for number in range(2)))
    table(tmp_path / "train_lst/train.lst", *(f"{n}\t{n % 2}\t{n}.png" for n in range(6)))
    table(tmp_path / "validation_lst/validation.lst", *(f"{n}\t{n % 2}\t{n}.png" for n in range(2)))
    assert counts(check_dataset(tmp_path)) == {"train": {"0": 3, "1": 3}, "validation": {"0": 1, "1": 1}}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            ["file,label", "0.png,cat", "0.png,dog"],
            "ROOT/labels.csv gives '0.png' two labels, 'cat' and 'dog'; keep one",
        ),
        (
            ["file,label", "0.png,a/b"],
            "ROOT/labels.csv gives '0.png' the class 'a/b', which cannot be a folder's name; take one of",
        ),
        (
            ["file,label,class", "0.png,a,b", "1.png,a,c"],
            "ROOT/labels.csv: 'label' or 'class' could name the classes; keep one column",
        ),
        (
            ["file,age,weight", "0.png,3,4", "1.png,5,6"],
            "ROOT/labels.csv has the columns 'file', 'age', 'weight'; call the one with the classes 'label'",
        ),
        (["file,cat,dog", "0.png,1,1", "1.png,0,1"], "ROOT/labels.csv gives a picture several classes; each"),
        (
            ["file,label", '"0.png,cat'],
            "ROOT/labels.csv is not a table with ',' between columns (unexpected",
        ),
    ],
)
def test_tables_that_say_no_class(tmp_path: Path, rows: Iterable[str], message: str) -> None:
    put(tmp_path, *(f"{number}.png" for number in range(6)))
    table(tmp_path / "labels.csv", *rows)
    assert refusal(tmp_path).startswith(message)


def test_two_tables_are_refused(tmp_path: Path) -> None:
    put(tmp_path, *(f"{number}.png" for number in range(6)))
    for name in ("a.csv", "b.csv"):
        table(tmp_path / name, "file,label", *(f"{number}.png,{number % 2}" for number in range(6)))
    assert refusal(tmp_path) == "a.csv and b.csv in ROOT both name classes; keep one"


def test_what_a_table_lacks_is_listed(tmp_path: Path) -> None:
    put(tmp_path, *(f"{number}.png" for number in range(8)))
    rows = [f"{number}.png,{'cat' if number % 2 else 'dog'}" for number in range(6)]
    table(tmp_path / "labels.csv", "file,label", *rows, "6.png,", "gone.png,cat")
    found = check_dataset(tmp_path)
    assert {r.file: r.reason for r in found.rejected} == {
        "6.png": "has no label in labels.csv",
        "7.png": "is not in labels.csv",
    }
    assert "labels.csv names 1 pictures that are not there, such as 'gone.png'" in found.notes


def test_a_table_beside_class_folders(tmp_path: Path) -> None:
    put(tmp_path, "cat/*", "dog/*")
    table(tmp_path / "sizes.csv", "file,width", "cat/0.png,24", "dog/0.png,25")
    found = check_dataset(tmp_path)
    assert counts(found) == {"classes": TWO}
    assert [r.file for r in found.rejected] == ["sizes.csv"]
    table(tmp_path / "labels.csv", "file,label", "cat/0.png,cat", "dog/0.png,dog")
    assert counts(check_dataset(tmp_path)) == {"classes": TWO}
    table(tmp_path / "labels.csv", "file,label", "cat/0.png,dog", "dog/0.png,dog")
    assert refusal(tmp_path).startswith("ROOT/labels.csv says 'dog' of cat/0.png, whose folder says another")


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


LABELS = [f"{number},{'cat' if number % 2 else 'dog'}" for number in range(6)]
SIX = tuple(f"{number}.png" for number in range(6))


def in_folder(folder: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}" for name in SIX)


def test_the_column_of_pictures_is_no_index(tmp_path: Path) -> None:
    put(tmp_path / "a", *in_folder("images"))
    shuffled = [3, 1, 5, 0, 4, 2]
    rows = [f"{row},{number},{'cat' if number % 2 else 'dog'}" for row, number in enumerate(shuffled)]
    table(tmp_path / "a/labels.csv", ",id,label", *rows)
    found = check_dataset(tmp_path / "a")
    assert [file.name for file in found.images["classes"]["cat"]] == ["1.png", "3.png", "5.png"]
    put(tmp_path / "b", *in_folder("images"))
    table(tmp_path / "b/labels.csv", "one,two,label", *rows)
    assert "both 'one' and 'two' could name the pictures; keep one" in refusal(tmp_path / "b")
    put(tmp_path / "c", *in_folder("images"))
    rows = [f"{row}\t{number % 2}\t{number}.png" for row, number in enumerate(shuffled)]
    table(tmp_path / "c/train.lst", *rows)
    found = check_dataset(tmp_path / "c")
    assert [file.name for file in found.images["classes"]["1"]] == ["1.png", "3.png", "5.png"]


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


def test_what_tables_call_pictures(tmp_path: Path) -> None:
    """Without a header, with other suffixes' case, as URLs, beside files that are no pictures."""
    put(tmp_path, *(f"images/{number} a.PNG" for number in range(6)))
    for number in range(6):
        table(tmp_path / f"images/{number} a.xml", "<x/>")
    url = "https://example.com/pets/{}%20a.png?w=1"
    table(tmp_path / "labels.csv", *(f"{url.format(n)},{'cat' if n % 2 else 'dog'}" for n in range(6)))
    assert counts(check_dataset(tmp_path)) == {"classes": TWO}
    table(tmp_path / "labels.csv", *(f"{n} a,{'cat' if n % 2 else 'dog'}" for n in range(6)))
    assert counts(check_dataset(tmp_path)) == {"classes": TWO}
    table(tmp_path / "labels.csv", "sep=;", "id;label", *(f"{n} a;{n % 2}.000000" for n in range(6)))
    assert counts(check_dataset(tmp_path)) == {"classes": {"0": 3, "1": 3}}


def test_two_jobs_of_a_manifest_are_refused(tmp_path: Path) -> None:
    put(tmp_path, *in_folder("images"))
    about = {f"{job}-metadata": {"class-name": "x"} for job in ("animal", "quality")}
    line = {"source-ref": "s3://b/images/0.png", "animal": 0, "quality": 1, **about}
    table(tmp_path / "output.manifest", json.dumps(line))
    assert "has the labels of two jobs, 'animal' and 'quality'; keep one" in refusal(tmp_path)


def test_tables_of_splits_share_no_picture(tmp_path: Path) -> None:
    put(tmp_path, *in_folder("images"), "images/6.png", "images/7.png")
    table(tmp_path / "train.csv", "id,label", *LABELS)
    table(tmp_path / "test.csv", "id,label", "6,dog", "7,cat")
    assert counts(check_dataset(tmp_path)) == {"train": TWO, "test": {"cat": 1, "dog": 1}}
    table(tmp_path / "test.csv", "id,label", "5,dog", "7,cat")
    assert refusal(tmp_path) == "two tables of splits in ROOT name images/5.png; leave it to one of them"


def test_a_table_that_nobody_needs_may_be_damaged(tmp_path: Path) -> None:
    put(tmp_path, "cat/*", "dog/*")
    (tmp_path / "notes.csv").write_bytes("Größe,ü".encode("cp1252"))
    table(tmp_path / "notes.manifest", "[" * 100_000)
    table(tmp_path / "classes.csv", "id,class", "0,cat", "1,dog")
    found = check_dataset(tmp_path)
    assert counts(found) == {"classes": TWO}
    assert [r.file for r in found.rejected] == ["classes.csv", "notes.csv", "notes.manifest"]


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
