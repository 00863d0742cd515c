"""All kinds of label tables: each is read as intended, or refused in one accurate line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from entrypoints.dataset import check_dataset
from tests.entrypoints.folders import LABELS, TWO, counts, in_folder, put, refusal, table


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
    """Like the German traffic signs: folders as classes for training, a table for the test."""
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


def test_what_tables_call_pictures(tmp_path: Path) -> None:
    """Without a header, with suffixes in another case, as URLs, next to files that are not pictures."""
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
