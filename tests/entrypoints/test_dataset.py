from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from entrypoints.dataset import READY_MADE, check_dataset, read_split, spread, told
from entrypoints.folders import DatasetError
from entrypoints.layout import CLASSES
from tests.entrypoints.pictures import picture, write_classes


def reasons(folder: Path) -> dict[str, str]:
    return {rejected.file: rejected.reason for rejected in check_dataset(folder).rejected}


def test_classes_and_counts(dataset: Path) -> None:
    found = check_dataset(dataset)
    assert found.layout == CLASSES
    assert found.classes == ("ants", "bees")
    assert found.counts == {"ants": 6, "bees": 6}
    assert found.rejected == ()


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is not a folder"):
        check_dataset(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ([], "no class folders"),
        (["ants", "bees"], "no usable image"),
    ],
)
def test_an_empty_folder_is_refused(tmp_path: Path, folders: list[str], message: str) -> None:
    for name in folders:
        (tmp_path / name).mkdir()
    with pytest.raises(DatasetError, match=message):
        check_dataset(tmp_path)


def test_one_class_is_refused(tmp_path: Path) -> None:
    write_classes(tmp_path, 4, {"ants": (1, 2, 3)})
    with pytest.raises(DatasetError, match="one class, 'ants'"):
        check_dataset(tmp_path)


def test_a_class_with_two_images_is_refused(dataset: Path) -> None:
    for number in range(4):
        (dataset / "bees" / f"{number}.png").unlink()
    with pytest.raises(DatasetError, match=r"'bees' .* has 2 usable images; at least 3"):
        check_dataset(dataset)


def test_rejected_files_do_not_count_and_the_reasons_are_reported(dataset: Path) -> None:
    bees = dataset / "bees"
    (dataset / "ants" / "other.png").write_text("%PDF-1.7")  # another class's
    for number in range(3):
        (bees / f"{number}.png").write_text("<!DOCTYPE html><p>Not found")
    (bees / "3.png").write_bytes(b"")
    (bees / "notes.txt").write_text("version https://git-lfs.github.com/spec/v1\n")
    (bees / "scan.pdf").write_text("%PDF-1.7")
    (bees / "more").mkdir()
    (bees / "more" / "sound").write_text("none of these")
    with pytest.raises(DatasetError) as caught:
        check_dataset(dataset)
    assert str(caught.value) == (
        f"class 'bees' in {dataset} has 2 usable images; at least 3 are needed (left out: is a web page (3 "
        "files), is empty (1 file), is not an image (1 file), and 2 more)"
    )


def test_a_dataset_without_any_picture_tells_the_reasons(dataset: Path) -> None:
    for file in dataset.rglob("*.png"):
        file.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400))
    with pytest.raises(
        DatasetError, match=r"no usable image \(left out: is a damaged HEIC file \(12 files\)\)"
    ):
        check_dataset(dataset)


@pytest.mark.parametrize(("one", "other"), [("Ants", "ants"), ("STRASSE", "straße"), ("ants ", "ants")])
def test_class_names_that_differ_only_by_case_are_refused(tmp_path: Path, one: str, other: str) -> None:
    for name in (one, other):
        write_classes(tmp_path, 3, {name: (9, 9, 9)})
    with pytest.raises(DatasetError, match="differ only by case or blanks"):
        check_dataset(tmp_path)


def test_damaged_and_foreign_files_are_listed(dataset: Path) -> None:
    ants = dataset / "ants"
    whole = (ants / "0.png").read_bytes()
    (ants / "truncated.png").write_bytes(whole[: len(whole) // 2])
    picture(size=(64, 64)).save(ants / "whole.jpg")
    (ants / "truncated.jpg").write_bytes((ants / "whole.jpg").read_bytes()[:-300])
    (ants / "notes.txt").write_text("seen on Monday")
    (ants / "text.jpg").write_text("seen on Monday")
    (ants / "empty.png").touch()
    picture().save(ants / "moving.gif")
    (ants / "renamed.jpg").write_bytes((ants / "moving.gif").read_bytes())
    (ants / "really a png.jpg").write_bytes(whole)
    (dataset / "README.md").write_text("# Ants")
    found = reasons(dataset)
    assert "truncated" in found.pop("ants/truncated.png")
    assert "truncated" in found.pop("ants/truncated.jpg")
    assert found == {
        "ants/notes.txt": "is not an image",
        "ants/text.jpg": "is not an image",
        "ants/empty.png": "is empty",
        "ants/moving.gif": "is a GIF file; accepted are AVIF, BMP, HEIC, JPEG, PNG, TIFF or WebP",
        "ants/renamed.jpg": "is a GIF file; accepted are AVIF, BMP, HEIC, JPEG, PNG, TIFF or WebP",
        "README.md": "lies outside the class folders",
    }
    assert check_dataset(dataset).counts["ants"] == 8  # a PNG file named .jpg is also a picture


def test_a_picture_without_suffix_is_used(dataset: Path) -> None:
    (dataset / "ants" / "0.png").rename(dataset / "ants" / "scan 17")
    assert check_dataset(dataset).counts["ants"] == 6


@pytest.mark.parametrize("image_format", ["BMP", "JPEG", "MPO", "PNG", "TIFF", "WEBP"])
def test_every_format_under_its_usual_name(dataset: Path, image_format: str) -> None:
    suffix = {"JPEG": "jpg", "MPO": "jpg", "TIFF": "tif"}.get(image_format, image_format.lower())
    extra = {"save_all": True, "append_images": [picture(seed=2)]} if image_format == "MPO" else {}
    picture().save(dataset / "ants" / f"new.{suffix}", image_format, **extra)
    assert check_dataset(dataset).counts["ants"] == 7


def test_symlinks_may_not_leave_the_folder(dataset: Path, tmp_path: Path) -> None:
    outside = write_classes(tmp_path / "outside", 3)
    (dataset / "ants" / "leaves.png").symlink_to(outside / "ants" / "0.png")
    (dataset / "ants" / "nowhere.png").symlink_to(dataset / "missing.png")
    (dataset / "ants" / "more").symlink_to(dataset / "bees")
    (dataset / "wasps").symlink_to(outside / "bees")
    (dataset / "ants" / "stays.png").symlink_to(dataset / "bees" / "0.png")
    assert reasons(dataset) == {
        "ants/leaves.png": "is a link that leaves the dataset's folder",
        "ants/nowhere.png": "is a link to nothing",
        "wasps": "is a link that leaves the dataset's folder",
    }
    assert check_dataset(dataset).counts == {"ants": 13, "bees": 6}


def test_links_are_followed_on_the_users_own_machine(dataset: Path, tmp_path: Path) -> None:
    outside = write_classes(tmp_path / "outside", 3)
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "ants").symlink_to(outside / "ants")
    (linked / "bees").mkdir()
    for number in range(4):
        (linked / "bees" / f"{number}.png").symlink_to(dataset / "bees" / f"{number}.png")
    (linked / "bees" / "again").symlink_to(linked)
    found = check_dataset(linked, follow_links=True)
    assert found.counts == {"ants": 3, "bees": 4}
    assert {r.file: r.reason for r in found.rejected} == {
        "bees/again": "is a link to a folder that it lies in"
    }
    with pytest.raises(DatasetError, match="holds no usable image"):
        check_dataset(linked)


def test_a_dataset_behind_a_symlink_is_read(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(dataset)
    assert check_dataset(tmp_path / "link").counts == {"ants": 6, "bees": 6}


def test_litter_is_left_out_and_counted(dataset: Path) -> None:
    for folder in ("__MACOSX/ants", "ants/@eaDir/0.png", "$RECYCLE.BIN", "bees/.ipynb_checkpoints"):
        (dataset / folder).mkdir(parents=True)
    for name in (".DS_Store", "Thumbs.db", "ants/.DS_Store", "ants/._0.png", "ants/THUMBS.DB"):
        (dataset / name).write_text("litter")
    picture().save(dataset / "ants/@eaDir/0.png/SYNOPHOTO_THUMB_XL.png")
    picture().save(dataset / "bees/.ipynb_checkpoints/1-checkpoint.png")
    found = check_dataset(dataset)
    assert found.rejected == ()
    assert found.counts == {"ants": 6, "bees": 6}
    assert told(found)[0] == (
        "left out: 7 files that systems leave behind (@eaDir 1, THUMBS.DB 1, Thumbs.db 1, hidden files 4)"
    )


def test_spaces_and_letters_of_all_kinds(tmp_path: Path) -> None:
    write_classes(tmp_path, 3, {"rote Ameise": (200, 1, 1), "蜜蜂": (1, 1, 200)})
    (tmp_path / "蜜蜂" / "0.png").rename(tmp_path / "蜜蜂" / "Björk's bee (1).png")
    assert check_dataset(tmp_path).counts == {"rote Ameise": 3, "蜜蜂": 3}


@pytest.mark.skipif(os.sys.platform == "darwin", reason="macOS file systems refuse such names")
def test_a_name_that_is_not_utf8_is_left_out(dataset: Path) -> None:
    os.rename(dataset / "ants" / "0.png", os.fsencode(dataset / "ants") + b"/\xff.png")  # noqa: PTH104
    assert reasons(dataset) == {"ants/\\udcff.png": "has a name that is not valid UTF-8"}


def test_pictures_in_subfolders_belong_to_the_class(dataset: Path) -> None:
    nested = dataset / "ants" / "winged"
    nested.mkdir()
    picture().save(nested / "0.png")
    found = check_dataset(dataset)
    assert found.counts["ants"] == 7
    assert found.name_in_class(nested / "0.png") == "winged/0.png"


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "Val"])
def test_ready_made_layout(tmp_path: Path, validation: str) -> None:
    write_classes(tmp_path / "train", 4)
    write_classes(tmp_path / validation, 2)
    write_classes(tmp_path / "test", 1)
    (tmp_path / "extra").mkdir()
    found = check_dataset(tmp_path)
    assert found.layout == READY_MADE
    assert {part: len(classes["ants"]) for part, classes in found.images.items()} == {
        "train": 4,
        "validation": 2,
        "test": 1,
    }
    assert reasons(tmp_path) == {"extra": "lies outside the train, val and test folders"}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    write_classes(tmp_path, 3, {"train": (1, 1, 1), "bullet_train": (9, 9, 9), "bus": (99, 9, 9)})
    assert check_dataset(tmp_path).classes == ("bullet_train", "bus", "train")


def test_two_validation_folders_are_refused(tmp_path: Path) -> None:
    for name in ("train", "val", "validation"):
        write_classes(tmp_path / name, 3)
    with pytest.raises(DatasetError, match="both val and validation"):
        check_dataset(tmp_path)


def test_splits_must_hold_the_same_classes(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", 3)
    write_classes(tmp_path / "val", 3, {"ants": (1, 1, 1)})
    with pytest.raises(DatasetError, match="validation has no class 'bees'"):
        check_dataset(tmp_path)


def test_train_must_leave_something_to_carve(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", 1)
    write_classes(tmp_path / "val", 3)
    with pytest.raises(DatasetError, match=r"'ants' in train of .* has 1 usable images; at least 2"):
        check_dataset(tmp_path)


def test_read_split(dataset: Path) -> None:
    classes, files = read_split(dataset)
    assert classes == ("ants", "bees")
    assert [(file.parent.name, file.name, label) for file, label in files][5:7] == [
        ("ants", "5.png", 0),
        ("bees", "0.png", 1),
    ]
    with pytest.raises(DatasetError, match="no class folders"):
        read_split(dataset / "ants")


@pytest.mark.parametrize(("count", "expected"), [(2, ["a", "c"]), (4, list("abcd")), (9, list("abcd"))])
def test_a_part_is_spread_over_the_whole(count: int, expected: list[str]) -> None:
    assert spread("abcd", count) == expected


def layout(root: Path, *folders: str) -> Path:
    for seed, folder in enumerate(folders):
        (root / folder).mkdir(parents=True)
        for number in range(3):
            picture(seed=10 * seed + number).save(root / folder / f"{number}.png")
    return root


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (
            ("default/ants", "default/bees", "flowers/roses", "flowers/tulips"),
            "{0} holds default and flowers, which have pictures only in subfolders, such as ants and bees in"
            " default: they look like datasets, not like classes; give one of them, such as {0}/default; if",
        ),
        (
            ("x/in/ants", "x/in/bees", "y/in/roses", "y/in/tulips"),
            "ants and bees in x/in: they look like datasets",
        ),
        (
            ("train/x/ants", "train/x/bees", "train/y/a", "train/y/b"),
            "train of {0} holds x and y, which have",
        ),
        (
            ("a", "b", "v2/a", "v2/b"),
            "{0}: v2 holds a and b, which would be one class, 'v2': it looks like a dataset of its own; ",
        ),
        (
            ("a", "b", "c/train/a", "c/train/b", "c/val/a", "c/val/b"),
            "{0}: c holds train and val, which would be one class, 'c': it looks like a dataset of its own;",
        ),
    ],
)
def test_datasets_in_a_dataset_are_refused(tmp_path: Path, folders: tuple[str, ...], message: str) -> None:
    layout(tmp_path, *folders)
    with pytest.raises(DatasetError, match=re.escape(message.format(tmp_path.resolve()))) as caught:
        check_dataset(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "folders",
    [
        ("ants/images", "bees/images"),
        ("ants/burst1", "ants/burst2", "bees"),
        ("ants", "ants/train", "ants/val", "bees"),
        ("ants/p1", "ants/p2", "bees"),
    ],
)
def test_subfolders_of_a_class_are_not_taken_for_datasets(tmp_path: Path, folders: tuple[str, ...]) -> None:
    assert check_dataset(layout(tmp_path, *folders)).classes == ("ants", "bees")


def test_subfolders_may_be_groups_that_the_user_names(tmp_path: Path) -> None:
    layout(tmp_path, "ants/p1", "ants/p2", "bees/p1", "bees/p2")
    assert check_dataset(tmp_path, subfolders_are_groups=True).classes == ("ants", "bees")
    with pytest.raises(DatasetError, match="they look like datasets, not like classes"):
        check_dataset(tmp_path)
