from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from entrypoints.dataset import DatasetError, check_dataset
from entrypoints.groups import Grouped, Rules, group
from tests.entrypoints.pictures import photograph, picture, write_classes


def grouped(folder: Path, **rules: object) -> Grouped:
    return group(check_dataset(folder), Rules(**rules))  # type: ignore[arg-type]


def several(found: Grouped) -> dict[tuple[str, ...], tuple[str, ...]]:
    """Groups of more than one picture, and their reasons."""
    root = found.dataset.root
    return {
        tuple(file.relative_to(root).as_posix() for file in together.files): together.why
        for together in found.groups
        if len(together.files) > 1
    }


def test_every_picture_is_in_one_group(dataset: Path) -> None:
    found = grouped(dataset)
    files = [file for together in found.groups for file in together.files]
    assert sorted(files) == sorted(dataset.resolve().rglob("*.png"))
    assert len(found.groups) == len(files)
    assert all(0 <= together.place < 1 for together in found.groups)
    assert (found.copies, found.conflicts, found.unnamed) == ({}, (), ())


def test_copies_of_copies_are_one_group(dataset: Path) -> None:
    photograph(1).save(dataset / "ants" / "a.png")
    photograph(1).save(dataset / "ants" / "b.bmp")
    photograph(1).resize((80, 60)).save(dataset / "ants" / "c.png")
    (dataset / "ants" / "d.png").write_bytes((dataset / "ants" / "c.png").read_bytes())
    found = grouped(dataset)
    assert several(found) == {
        ("ants/a.png", "ants/b.bmp", "ants/c.png", "ants/d.png"): (
            "identical bytes", "identical pixels", "near copies",
        )
    }  # fmt: skip
    assert found.copies == {"identical bytes": 2, "identical pixels": 2, "near copies": 2}


def places(folder: Path, **rules: object) -> dict[str, float]:
    found = grouped(folder, **rules)
    return {t.files[0].relative_to(found.dataset.root).as_posix(): t.place for t in found.groups}


def test_the_place_comes_from_the_content(dataset: Path) -> None:
    before = places(dataset)
    (dataset / "ants" / "0.png").rename(dataset / "ants" / "another name.png")
    renamed = places(dataset)
    assert renamed["ants/another name.png"] == before["ants/0.png"]
    assert set(places(dataset, seed=1).values()).isdisjoint(renamed.values())


def test_a_group_that_grows_goes_to_no_larger_place(dataset: Path) -> None:
    photograph(1).save(dataset / "ants" / "a.png")
    reached = []
    for size in ((140, 110), (130, 90), (120, 100), (90, 90)):
        photograph(1).resize(size).save(dataset / "ants" / f"a {size[0]}.png")
        [place] = [together.place for together in grouped(dataset).groups if len(together.files) > 1]
        reached.append(place)
    assert reached == sorted(reached, reverse=True)


@pytest.mark.parametrize(
    "rules", [{"group_pattern": r"^p(\d+)_"}, {"group_pattern": r"^p\d+"}, {"group_level": 1}]
)
def test_groups_that_the_user_names(tmp_path: Path, rules: dict[str, object]) -> None:
    levels = "group_level" in rules
    for number in range(8):
        name = f"p{number // 2}{'/' if levels else '_'}{number}.png"
        for seed, label in enumerate(("ants", "bees")):
            file = tmp_path / label / name
            file.parent.mkdir(parents=True, exist_ok=True)
            picture(seed=10 * number + seed).save(file)
    picture(seed=99).save(tmp_path / "bees" / "x.png")
    found = grouped(tmp_path, **rules)
    sep = "/" if levels else "_"
    together = [
        tuple(f"{label}/p{n}{sep}{number}.png" for label in ("ants", "bees") for number in (2 * n, 2 * n + 1))
        for n in range(4)
    ]
    assert several(found) == dict.fromkeys(together, ("named group",))
    assert [file.name for file in found.unnamed] == ["x.png"]


def test_a_named_group_keeps_its_place(tmp_path: Path) -> None:
    write_classes(tmp_path, 4)
    picture(seed=50).save(tmp_path / "ants" / "p1_a.png")
    rules = {"group_pattern": "^p[0-9]+_"}
    [before] = [t.place for t in grouped(tmp_path, **rules).groups if t.files[0].name == "p1_a.png"]
    picture(seed=51).save(tmp_path / "ants" / "p1_b.png")
    [after] = [t.place for t in grouped(tmp_path, **rules).groups if t.files[0].name == "p1_a.png"]
    assert before == after


def test_groups_that_nothing_names_are_refused(dataset: Path) -> None:
    with pytest.raises(DatasetError, match=r"split.group_pattern = '\^p' matches no name: .* '0.png'"):
        grouped(dataset, group_pattern="^p")
    with pytest.raises(DatasetError, match=r"split.group_level = 1 names no folder"):
        grouped(dataset, group_level=1)


def test_one_file_under_two_classes_is_refused_or_left_out(dataset: Path) -> None:
    for name in ("a", "b"):
        (dataset / "bees" / f"{name}.png").write_bytes((dataset / "ants" / "0.png").read_bytes())
    (dataset / "bees" / "c.png").write_bytes((dataset / "ants" / "1.png").read_bytes())
    with pytest.raises(DatasetError) as refused:
        grouped(dataset)
    message = str(refused.value)
    assert "'ants/0.png' and 'bees/a.png' are the same file under two classes, and 1 more" in message
    assert "split.conflicting_labels" in message and "\n" not in message
    found = grouped(dataset, conflicting_labels="leave_out")
    assert {r.file: r.reason for r in found.dataset.rejected} == {
        "ants/0.png": "is the same picture as 'bees/a.png', of another class",
        "ants/1.png": "is the same picture as 'bees/c.png', of another class",
        "bees/a.png": "is the same picture as 'ants/0.png', of another class",
        "bees/b.png": "is the same picture as 'ants/0.png', of another class",
        "bees/c.png": "is the same picture as 'ants/1.png', of another class",
    }
    assert found.dataset.counts == {"ants": 4, "bees": 6}
    assert len(found.groups) == 10
    assert len(found.conflicts) == 2


def test_other_copies_under_two_classes_are_reported(dataset: Path) -> None:
    """The pixels are nearly equal, which may happen to damaged pictures by chance: not refused."""
    with Image.open(dataset / "ants" / "0.png") as opened:
        opened.save(dataset / "bees" / "a.bmp")
    photograph(1).save(dataset / "ants" / "p.png")
    photograph(1).resize((80, 60)).save(dataset / "bees" / "p.png")
    found = grouped(dataset)
    root = found.dataset.root
    assert [
        (why, [file.relative_to(root).as_posix() for file in files]) for why, files in found.conflicts
    ] == [
        ("identical pixels", ["ants/0.png", "bees/a.bmp"]),
        ("near copies", ["ants/p.png", "bees/p.png"]),
    ]
    assert len(several(found)) == 2
    rejected = grouped(dataset, conflicting_labels="leave_out").dataset.rejected
    assert [r.file for r in rejected] == ["ants/0.png", "bees/a.bmp"]
