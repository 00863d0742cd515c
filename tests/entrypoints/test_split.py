from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from entrypoints.contract import TEST, TRAIN, VALIDATION
from entrypoints.dataset import DatasetError, check_dataset
from entrypoints.groups import Group, Rules, group
from entrypoints.split import copy, main, place, plan
from tests.entrypoints.conftest import Run
from tests.entrypoints.pictures import COLORS, picture, write_classes

FRACTIONS = (0.2, 0.2)


def arguments(folder: Path, out: Path, *more: object) -> list[str]:
    targets = ["train", "validation", "test", "summary"]
    paths = [part for name in targets for part in (f"--{name}", str(out / name))]
    return ["--input", str(folder), *paths, *map(str, more)]


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def names(folder: Path, **rules: object) -> dict[str, dict[str, list[str]]]:
    """{split: {class: paths below the dataset's folder}}"""
    found, splits = plan(group(check_dataset(folder), Rules(**rules)), *FRACTIONS)  # type: ignore[arg-type]
    return {
        split: {
            name: [file.relative_to(found.dataset.root).as_posix() for file in chosen]
            for name, chosen in classes.items()
        }
        for split, classes in splits.items()
    }


def counts(folder: Path, name: str = "ants") -> dict[str, int]:
    return {split: len(classes[name]) for split, classes in names(folder).items()}


def split_of(folder: Path, **rules: object) -> dict[str, str]:
    """The split of each picture, by its path."""
    chosen = names(folder, **rules)
    return {file: split for split, classes in chosen.items() for files in classes.values() for file in files}


def test_as_a_program(dataset: Path, tmp_path: Path, run: Run) -> None:
    (dataset / "ants" / "notes.txt").write_text("seen on Monday")
    result = run("split", *arguments(dataset, tmp_path / "out", "--seed", 7))
    assert result.returncode == 0, result.stderr
    assert "left out: ants/notes.txt: is not an image" in result.stdout
    summary = json.loads((tmp_path / "out" / "summary" / "summary.json").read_text())
    assert summary == {
        "classes": ["ants", "bees"],
        "counts": {
            split: {name: len(list((tmp_path / "out" / split / name).iterdir())) for name in ("ants", "bees")}
            for split in ("train", "validation", "test")
        },
        "layout": "classes",
        "notes": [],
        "rejected": [{"file": "ants/notes.txt", "reason": "is not an image"}],
        "seed": 7,
        "copies": {},
        "groups": {},
        "largest_groups": [],
        "conflicts": [],
    }
    assert all(count >= 1 for classes in summary["counts"].values() for count in classes.values())
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
    assert counts(tmp_path) == {"train": 1, "validation": 1, "test": 1}


def test_the_order_of_files_on_disk_does_not_matter(tmp_path: Path) -> None:
    one = write_classes(tmp_path / "one", 9)
    other = tmp_path / "other"
    for path in sorted(one.rglob("*.png"), reverse=True):
        target = other / path.relative_to(one)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    assert names(one) == names(other)
    assert names(one) != names(one, seed=3)


def test_once_in_test_never_in_train(tmp_path: Path) -> None:
    write_classes(tmp_path, 20)
    before = split_of(tmp_path)
    for added in range(1, 5):
        for number in range(added * added):
            picture(seed=1000 * added + number).save(tmp_path / "ants" / f"{added} {number}.png")
        after = split_of(tmp_path)
        assert {file: split for file, split in after.items() if file in before} == before
        before = after


def test_a_group_that_grows_stays_out_of_train(tmp_path: Path) -> None:
    write_classes(tmp_path, 20)
    before = split_of(tmp_path)
    tested = [file for file, split in before.items() if split == TEST]
    for file in tested:
        with Image.open(tmp_path / file) as opened:
            opened.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / file.replace(".png", " m.png"))
    after = split_of(tmp_path)
    assert {after[file] for file in tested} == {TEST}
    assert {after[file.replace(".png", " m.png")] for file in tested} == {TEST}


def test_the_fractions_are_kept_on_average(tmp_path: Path) -> None:
    groups = [Group((tmp_path / str(n),), (n * 0.618034) % 1, ()) for n in range(1000)]
    intervals = {TEST: (0.0, 0.2), VALIDATION: (0.2, 0.36), TRAIN: (0.36, 1.0)}
    chosen = place(groups, {together.files[0]: "ants" for together in groups}, intervals)
    assert [round(chosen.count(split), -1) for split in intervals] == [200, 160, 640]


def test_every_class_is_in_every_split() -> None:
    """For any position of the groups, including one with two classes."""
    class_of = {Path(f"{name}{n}"): name for name in ("ants", "bees") for n in range(4)}
    both = (Path("ants3"), Path("bees3"))
    intervals = {TEST: (0.0, 0.2), VALIDATION: (0.2, 0.36), TRAIN: (0.36, 1.0)}
    for low, high in ((0.0, 0.1), (0.21, 0.3), (0.5, 0.9), (0.0, 0.9)):
        files = [(file,) for file in class_of if file not in both] + [both]
        step = (high - low) / len(files)
        groups = [Group(own, low + step * number, ()) for number, own in enumerate(files)]
        chosen = place(groups, class_of, intervals)
        for name in ("ants", "bees"):
            own = {s for s, g in zip(chosen, groups, strict=True) if name in {class_of[f] for f in g.files}}
            assert own == set(intervals)


def test_published_validation_becomes_test(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", 10)
    write_published(tmp_path / "val", 4, seed=5)
    splits = names(tmp_path)
    assert len(splits["test"]["bees"]) == 4
    assert {file.partition("/")[0] for file in splits["test"]["bees"]} == {"val"}
    carved = splits["train"]["bees"] + splits["validation"]["bees"]
    assert sorted(carved) == [f"train/bees/{number}.png" for number in range(10)]
    assert splits["validation"]["bees"] and splits["train"]["bees"]


def test_all_three_published_are_kept(tmp_path: Path) -> None:
    for seed, (name, count) in enumerate((("train", 5), ("val", 2), ("test", 3))):
        write_published(tmp_path / name, count, seed)
    assert counts(tmp_path) == {"train": 5, "validation": 2, "test": 3}


def test_published_train_and_test_or_train_alone(tmp_path: Path) -> None:
    write_published(tmp_path / "train", 30, seed=1)
    alone = counts(tmp_path)
    assert sum(alone.values()) == 30 and all(alone.values())
    write_published(tmp_path / "test", 3, seed=2)
    both = counts(tmp_path)
    assert both["test"] == 3 and both["train"] + both["validation"] == 30


def write_published(folder: Path, count: int, seed: int) -> None:
    """Pictures that differ from those of other seeds."""
    for index, (name, color) in enumerate(COLORS.items()):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            own = 10_000 * seed + 1000 * index + number
            picture(color, seed=own).save(folder / name / f"{number}.png")


def test_copies_of_published_test_pictures_leave_train(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed, (name, count) in enumerate((("train", 5), ("val", 3), ("test", 3))):
        write_published(tmp_path / "in" / name, count, seed)
    ants = tmp_path / "in" / "train" / "ants"
    (ants / "same.png").write_bytes((tmp_path / "in" / "test" / "ants" / "0.png").read_bytes())
    (ants / "held.png").write_bytes((tmp_path / "in" / "val" / "ants" / "1.png").read_bytes())
    twice = tmp_path / "in" / "val" / "ants" / "twice.png"
    twice.write_bytes((tmp_path / "in" / "test" / "ants" / "2.png").read_bytes())
    main(arguments(tmp_path / "in", tmp_path / "out"))
    summary = json.loads((tmp_path / "out" / "summary" / "summary.json").read_text())
    assert summary["counts"]["train"]["ants"] == 5
    assert summary["counts"]["validation"]["ants"] == 3
    assert summary["counts"]["test"]["ants"] == 3
    assert {entry["file"]: entry["reason"] for entry in summary["rejected"]} == {
        "train/ants/same.png": "is a copy of 'test/ants/0.png'",
        "train/ants/held.png": "is a copy of 'val/ants/1.png'",
        "val/ants/twice.png": "is a copy of 'test/ants/2.png'",
    }
    assert "left out: train/ants/same.png: is a copy of 'test/ants/0.png'" in capsys.readouterr().out


def test_published_splits_that_are_the_same_pictures_are_refused(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", 5)
    write_classes(tmp_path / "val", 3)
    write_classes(tmp_path / "test", 3)
    with pytest.raises(
        DatasetError, match=r"'ants' has no picture left in validation: .* is a copy of 'test"
    ):
        names(tmp_path)


def test_three_copies_of_each_picture(tmp_path: Path) -> None:
    """100 pictures, each in three files: all 44 test pictures used to be in train or validation, too."""
    write_classes(tmp_path, 50)
    for file in sorted(tmp_path.rglob("*.png")):
        for copy_name in ("b", "c"):
            file.with_stem(f"{file.stem}{copy_name}").write_bytes(file.read_bytes())
    of_bytes: dict[bytes, set[str]] = {}
    for file, split in split_of(tmp_path).items():
        of_bytes.setdefault((tmp_path / file).read_bytes(), set()).add(split)
    assert len(of_bytes) == 100
    assert all(len(splits) == 1 for splits in of_bytes.values())


def test_too_few_different_pictures_are_refused(tmp_path: Path) -> None:
    folder = write_classes(tmp_path, 4)
    for number in (1, 2):
        (folder / "ants" / f"{number}.png").write_bytes((folder / "ants" / "0.png").read_bytes())
    with pytest.raises(DatasetError, match=r"'ants' has no picture for .*: its 4 pictures are 2 groups"):
        names(folder)


def test_the_summary_tells_the_groups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_classes(tmp_path / "in", 6)
    for name in ("ants/0", "bees/2"):
        (folder / f"{name} copy.png").write_bytes((folder / f"{name}.png").read_bytes())
    main(arguments(folder, tmp_path / "out"))
    summary = json.loads((tmp_path / "out" / "summary" / "summary.json").read_text())
    assert summary["copies"] == {"identical bytes": 4}
    assert {file.partition("/")[2]: name for file, name in summary["groups"].items()} == {
        "ants/0.png": "ants/0 copy.png",
        "ants/0 copy.png": "ants/0 copy.png",
        "bees/2.png": "bees/2 copy.png",
        "bees/2 copy.png": "bees/2 copy.png",
    }
    assert all((tmp_path / "out" / file).is_file() for file in summary["groups"])
    assert summary["largest_groups"][0]["pictures"] == 2
    assert summary["largest_groups"][0]["why"] == ["identical bytes"]
    printed = capsys.readouterr().out
    assert "4 pictures have copies (identical bytes)" in printed
    assert "4 pictures are in 2 groups that go into one split each" in printed


def test_the_settings_reach_the_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_classes(tmp_path / "in", 6)
    one = folder / "bees" / "an ant.png"
    one.write_bytes((folder / "ants" / "0.png").read_bytes())
    with pytest.raises(SystemExit) as stopped:
        main(arguments(folder, tmp_path / "out"))
    assert stopped.value.code == 2
    assert "'ants/0.png' and 'bees/an ant.png' are the same file under two classes" in capsys.readouterr().err
    main(arguments(folder, tmp_path / "out", "--conflicting-labels", "leave_out", "--group-pattern=^([0-2])"))
    summary = json.loads((tmp_path / "out" / "summary" / "summary.json").read_text())
    assert {entry["file"] for entry in summary["rejected"]} == {"ants/0.png", "bees/an ant.png"}
    assert summary["conflicts"] == [{"why": "identical bytes", "files": ["ants/0.png", "bees/an ant.png"]}]
    assert sorted(set(summary["groups"].values())) == ["ants/1.png", "ants/2.png"]
    with pytest.raises(SystemExit):
        main(arguments(folder, tmp_path / "other", "--group-pattern=("))
    assert "is not a regular expression" in capsys.readouterr().err


def test_names_that_some_file_systems_cannot_tell_apart(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "in", 3)
    for name in ("Photo.png", "photo.png", "caf\u00e9.png", "cafe\u0301.png"):
        Image.new("RGB", (4, 4)).save(folder / "ants" / name)
    dataset = check_dataset(folder)
    files = list(dataset.images["classes"]["ants"])
    told = dict(copy(dataset, files, tmp_path / "out"))
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
    assert {(tmp_path / "out" / name).read_bytes() for name in told.values()} == {
        file.read_bytes() for file in files
    }
    assert set(told.values()) == copied


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
