"""How well copies are found: 1,000 copies of eight kinds among 10,000 pictures.

Generated pictures, a third each: scenes, with shapes of every size; signs, with a few shapes on a plain
background; and stripes, which look very much alike. Stripes are not copied, because crops of different ones
look the same. --data uses a dataset's pictures instead. A copy is found if it is grouped with its original. A
false alarm is a picture grouped with an unrelated one.

  python -m benchmarks.copies --json copies.json
  python -m benchmarks.copies --data flowers --copies 200
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance
from rich.console import Console
from rich.table import Table

from entrypoints.dataset import check_dataset
from entrypoints.groups import Rules, group

SIZE = (200, 150)
Random = np.random.Generator


def scene(random: Random) -> Image.Image:
    whole = np.zeros((SIZE[1], SIZE[0], 3))
    for side in (2, 4, 8, 16, 32, 64):
        noise = Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8))
        whole += np.asarray(noise.resize(SIZE, Image.Resampling.BICUBIC), float) / side ** random.uniform(
            0.4, 0.9
        )
    whole -= whole.min()
    return Image.fromarray((whole * (random.uniform(180, 255) / whole.max())).astype(np.uint8))


def sign(random: Random) -> Image.Image:
    picture = Image.new("RGB", SIZE, tuple(random.integers(150, 256, 3).tolist()))
    draw = ImageDraw.Draw(picture)
    for _ in range(random.integers(2, 6)):
        left, top = random.uniform(0, SIZE[0] - 30), random.uniform(0, SIZE[1] - 30)
        box = (left, top, left + random.uniform(15, 90), top + random.uniform(15, 70))
        shape = (draw.ellipse, draw.rectangle)[random.integers(2)]
        shape(box, fill=tuple(random.integers(0, 256, 3).tolist()))
    return picture


def stripes(random: Random) -> Image.Image:
    down, across = np.mgrid[: SIZE[1], : SIZE[0]] / SIZE[1]
    angle = random.uniform(0, math.pi)
    distance = across * math.cos(angle) + down * math.sin(angle)
    wave = np.sin(2 * math.pi * (random.uniform(3, 8) * distance + random.random()))
    pixels = random.uniform(60, 200, 3) + wave[..., None] * random.uniform(-50, 50, 3)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


FAMILIES: tuple[Callable[[Random], Image.Image], ...] = (scene, sign, stripes)


def compressed(picture: Image.Image, quality: int) -> Image.Image:
    stream = BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def cropped(picture: Image.Image, random: Random) -> Image.Image:
    """Cropped by 5 % in width and height, at a random place."""
    width, height = (max(1, round(0.05 * side)) for side in picture.size)
    left, top = int(random.integers(width + 1)), int(random.integers(height + 1))
    return picture.crop((left, top, picture.width - width + left, picture.height - height + top))


def resized(picture: Image.Image, random: Random) -> Image.Image:
    factor = random.uniform(0.4, 0.9)
    return picture.resize((max(1, round(factor * picture.width)), max(1, round(factor * picture.height))))


# The changed picture, and the suffix of its file. None: the unchanged file.
KINDS: dict[str, tuple[Callable[[Image.Image, Random], Image.Image], str] | None] = {
    "same file": None,
    "other container": (lambda picture, _: picture, ".bmp"),
    "resized": (resized, ".png"),
    "compressed again": (lambda picture, random: compressed(picture, int(random.integers(40, 80))), ".png"),
    "mirrored": (lambda picture, _: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), ".png"),
    "cropped": (cropped, ".png"),
    "brighter or darker": (
        lambda picture, random: ImageEnhance.Brightness(picture).enhance(random.choice([0.8, 1.2])),
        ".png",
    ),
    "several at once": (
        lambda picture, random: compressed(
            resized(cropped(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), random), random), 80
        ),
        ".png",
    ),
}


def originals(folder: Path, count: int, data: Path | None, random: Random) -> list[Path]:
    """Write the pictures that are copied into a folder."""
    files = []
    if data is None:
        for number in range(count):
            path = folder / f"{number:06}.jpg"
            FAMILIES[number % len(FAMILIES)](random).save(path, quality=92)
            files.append(path)
        return files
    images = check_dataset(data).images
    for number, file in enumerate(
        [f for part in images.values() for name in part for f in part[name]][:count]
    ):
        path = folder / f"{number:06}{file.suffix}"
        path.write_bytes(file.read_bytes())
        files.append(path)
    return files


def plant(files: Sequence[Path], copies: int, random: Random) -> dict[Path, tuple[Path, str]]:
    """Write copies beside their originals; each with its original and its kind."""
    planted = {}
    chosen = random.choice(len(files), min(copies, len(files)), replace=False)
    for number, index in enumerate(chosen.tolist()):
        file, kind = files[index], list(KINDS)[number % len(KINDS)]
        change = KINDS[kind]
        path = file.with_name(f"{file.stem} copy{change[1] if change else file.suffix}")
        if change:
            with Image.open(file) as picture:
                change[0](picture.convert("RGB"), random).save(path)
        else:
            path.write_bytes(file.read_bytes())
        planted[path] = (file, kind)
    return planted


def measure(count: int, copies: int, data: Path | None) -> dict[str, Any]:
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder = Path(name).resolve()
        for label in ("pictures", "others"):
            (folder / label).mkdir()
        files = originals(folder / "pictures", count, data, random)
        stripy: set[Path] = set() if data else set(files[FAMILIES.index(stripes) :: len(FAMILIES)])
        planted = plant([file for file in files if file not in stripy], copies, random)
        for number in range(3):  # a dataset has two classes
            scene(random).save(folder / "others" / f"{number}.png")
        began = time.perf_counter()
        dataset = check_dataset(folder)
        looked = time.perf_counter()
        found = group(dataset, Rules())
        ended = time.perf_counter()

    total, right, alarms = Counter(kind for _, kind in planted.values()), Counter[str](), Counter[str]()
    original = {file: planted[file][0] if file in planted else file for file in (*files, *planted)}
    wrong = 0
    for together in found.groups:
        _, *others = {original.get(file, file) for file in together.files}
        for file in together.files:
            if file in planted:
                source, kind = planted[file]
                right[kind] += source in together.files
                alarms[kind] += bool(others)
            else:
                wrong += bool(others)
    pictures = len(files) + len(planted)
    return {
        "images": pictures,
        "look_ms_per_image": 1e3 * (looked - began) / pictures,
        "search_ms_per_image": 1e3 * (ended - looked) / pictures,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "kinds": {
            kind: {
                "copies": total[kind],
                "found": right[kind] / total[kind],
                "alarms": alarms[kind] / total[kind],
            }
            for kind in KINDS
            if total[kind]
        },
        "found": right.total() / len(planted),
        "alarms": wrong / len(files),
    }


def table(figures: dict[str, Any]) -> Table:
    result = Table("kind", title=f"{figures['images']:,} pictures")
    for head in ("copies", "found", "in one group with another picture"):
        result.add_column(head, justify="right")
    for kind, row in figures["kinds"].items():
        result.add_row(kind, str(row["copies"]), f"{row['found']:.1%}", f"{row['alarms']:.1%}")
    result.add_row("originals", "", f"{figures['found']:.1%}", f"{figures['alarms']:.2%}")
    return result


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="a dataset; its pictures, not generated ones"
    )
    parser.add_argument("--count", type=int, default=10_000, help="of the pictures that are copied")
    parser.add_argument("--copies", type=int, default=1_000)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    arguments = parser.parse_args(argv)
    figures = measure(arguments.count, arguments.copies, arguments.data)
    console = Console()
    console.print(table(figures))
    look, search = (figures["look_ms_per_image"], figures["search_ms_per_image"])
    console.print(
        f"a picture: {look:.2f} ms to look at it, {search:.2f} ms "
        f"to search for copies; at most {figures['peak_mib']} MiB of memory"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
