"""Find the copies among a dataset's pictures, in time proportional to their number.

Three kinds: files with the same bytes; pictures with the same pixels (another container, other EXIF); and
near copies: resized, recompressed, mirrored, cropped by about 5 %, or made brighter or darker.

Near copies are found by their perceptual hash, the lowest frequencies of the discrete cosine transform (like
pHash, but kept as numbers, not bits: a crop moves them little, and mirroring only flips signs). A k-d tree
finds the few pictures nearest to each. Pixels then decide, so that similar pictures do not count as copies:
the box of one picture that shows the other is fitted (Lucas and Kanade, 1981), and the remaining difference
must be less than the picture's finest detail, which is all that scaling can lose. Two handwritten digits
differ by more, however similar they are.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from entrypoints.image import decode
from entrypoints.looks import SIDE_PX, Looks

Floats = npt.NDArray[np.floating]

How = Literal["identical bytes", "identical pixels", "near copies"]
BYTES: How = "identical bytes"
PIXELS: How = "identical pixels"
NEAR: How = "near copies"

BLOCK = 1000  # thumbnails at a time
FREQUENCIES = 5  # lowest in each direction: 24 numbers, without the mean
# No two of 398 photographs are nearer than 0.31; 99 % of their copies, cropped by 5 %, are nearer than 0.29.
RADIUS = 0.33
NEAREST = 6  # candidates per picture: keeps the search linear
CONTRAST = 2.0  # grey levels, standard deviation: plainer pictures show too little to recognize copies
# Fitting a box: thumbnails are halved to this side and fitted again at each larger one.
COARSEST_PX = 16
STEPS = {16: 1, 32: 2, 64: 2}
MARGIN = 0.08  # of a side: the most that a crop may remove on one side
SMOOTHING_PX = 0.8
# The allowed difference, as a share of the variance. Relative to the finest detail: copies stay below 0.5,
# two digits of one class reach 5 or more (64 px). SHARE is for pictures without detail: enlarged ones.
OF_DETAIL = 1.0
SHARE = 0.002
# Share of the variance within red, green and blue that may differ, clipped whites included.
COLOURS = 0.4
CURVE = 3  # polynomial degree of a change of tones, which may also clip whites
TONES = 1.7  # a copy's contrast may be this many times higher or lower
PAIRS = 256  # compared at a time


@dataclass(frozen=True)
class Pair:
    """Two copies; `how` names their kind."""

    one: Path
    other: Path
    how: How


def find(files: Sequence[Path], looks: Looks, near: bool = True) -> list[Pair]:
    """Pairs that connect all copies among the files, each picture with an earlier one.

    Args:
        files: in the order that decides which of two copies is `one`
        near: whether to look for near copies, too

    Raises:
        OSError, ImageError: a picture that could be decoded before now cannot.
    """
    pairs: list[Pair] = []
    first: dict[int, Path] = {}
    for file in files:
        before = first.setdefault(looks[file].digest, file)
        if before is not file:
            pairs.append(Pair(before, file, BYTES))
    different = list(_by_pixels(list(first.values()), looks, pairs))
    if near:
        pairs += _near(different, looks)
    return pairs


def _by_pixels(files: Sequence[Path], looks: Looks, pairs: list[Pair]) -> Iterator[Path]:
    """The files whose pixels are new; the others are added to `pairs`.

    Only files with the same size and thumbnail are decoded again.
    """
    alike: dict[tuple[tuple[int, int], bytes], list[Path]] = defaultdict(list)
    for part in _blocks(files):
        for file, thumbnail in zip(part, looks.thumbnails(part), strict=True):
            alike[looks[file].size, hashlib.sha256(thumbnail).digest()].append(file)
    for together in alike.values():
        first: dict[bytes, Path] = {}
        for file in together:
            pixels = hashlib.sha256(decode(file).tobytes()).digest() if len(together) > 1 else b""
            before = first.setdefault(pixels, file)
            if before is file:
                yield file
            else:
                pairs.append(Pair(before, file, PIXELS))


def _near(files: Sequence[Path], looks: Looks) -> list[Pair]:
    hashed = [_perceptual(looks.thumbnails(part)) for part in _blocks(files)]
    if not hashed:
        return []
    hashes = np.concatenate(hashed)
    rows = np.flatnonzero(np.isfinite(hashes[:, 0]))
    hashes = hashes[rows]
    found: list[Pair] = []
    for mirrored in (False, True):

        def confirmed(part: npt.NDArray[np.int64], mirrored: bool = mirrored) -> list[Pair]:
            pictures = [[files[row] for row in column] for column in part.T]
            grey, colours = (
                [thumbnails(column).astype(np.float32) for column in pictures]
                for thumbnails in (looks.thumbnails, looks.colours)
            )
            if mirrored:
                grey[1], colours[1] = grey[1][..., ::-1], colours[1][..., ::-1]
            same = are_copies(grey[0], grey[1], colours[0], colours[1])
            return [Pair(files[a], files[b], NEAR) for a, b in part[same]]

        candidates = rows[_candidates(hashes, mirrored)]
        portions = (candidates[start : start + PAIRS] for start in range(0, len(candidates), PAIRS))
        # NumPy releases the interpreter's lock in its longer loops.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found += [pair for pairs in pool.map(confirmed, portions) for pair in pairs]
    return found


def _blocks(files: Sequence[Path]) -> Iterator[Sequence[Path]]:
    for start in range(0, len(files), BLOCK):
        yield files[start : start + BLOCK]


def _perceptual(thumbnails: npt.NDArray[np.uint8]) -> Floats:
    """Perceptual hashes of shape (pictures, 24); NaN where contrast is too low.

    Brightness and contrast do not change them.
    """
    values = thumbnails.astype(np.float32)
    values -= values.mean((1, 2), keepdims=True)
    contrast = values.std((1, 2), keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.where(contrast < CONTRAST, np.nan, values / (contrast * SIDE_PX))
    low = dctn(values, axes=(1, 2), norm="ortho")[:, :FREQUENCIES, :FREQUENCIES]
    return np.ascontiguousarray(low.reshape(len(values), -1)[:, 1:])


def _candidates(hashes: Floats, mirrored: bool) -> npt.NDArray[np.int64]:
    """Pairs of rows near each other, the smaller first; of shape (pairs, 2), each pair once."""
    if len(hashes) < 2:
        return np.empty((0, 2), np.int64)
    asked = hashes.copy()
    if mirrored:
        asked[:, [n - 1 for n in range(1, FREQUENCIES**2) if n % FREQUENCIES % 2]] *= -1
    count = min(NEAREST + 1, len(hashes))
    _, nearest = cKDTree(hashes).query(asked, k=count, distance_upper_bound=RADIUS, workers=-1)
    pairs = np.stack([np.repeat(np.arange(len(hashes)), count), nearest.ravel()], 1)
    pairs = pairs[(pairs[:, 1] < len(hashes)) & (pairs[:, 0] != pairs[:, 1])]  # len(hashes) means: none
    once: npt.NDArray[np.int64] = np.unique(np.sort(pairs, axis=1), axis=0)
    return once


def are_copies(one: Floats, other: Floats, colours: Floats, other_colours: Floats) -> npt.NDArray[np.bool_]:
    """Whether two pictures show the same: one is a box of the other.

    Args:
        one, other: grey levels of thumbnails, both of shape (pairs, SIDE_PX, SIDE_PX)
        colours, other_colours: the same in colour, both of shape (pairs, 3, COLOUR_PX, COLOUR_PX)

    Returns:
        bool of shape (pairs,)
    """
    same = _shows(one, other, colours, other_colours)
    rest = ~same
    same[rest] = _shows(other[rest], one[rest], other_colours[rest], colours[rest])
    return same


def _shows(whole: Floats, part: Floats, colours: Floats, part_colours: Floats) -> npt.NDArray[np.bool_]:
    """Whether each `part` is a box, nearly all, of its `whole`: coarse to fine, then colours."""
    levels = [(whole, part)]
    while levels[0][0].shape[1] > COARSEST_PX:
        levels.insert(0, (_halved(levels[0][0]), _halved(levels[0][1])))
    left: npt.NDArray[np.int64] = np.arange(len(whole))
    margins: Floats = np.zeros((len(whole), 4), np.float32)
    for coarse, fine in levels:
        a, b = _smoothed(coarse[left]), _smoothed(fine[left])
        detail = np.minimum(_detail(coarse[left], a), _detail(fine[left], b))
        margins, differs = _fitted(a, b, margins, STEPS[a.shape[1]])
        fits = differs < np.maximum(OF_DETAIL * detail, SHARE)
        left, margins = left[fits], margins[fits]
    result = np.zeros(len(whole), bool)
    result[left[_same_colours(colours[left], part_colours[left], margins)]] = True
    return result


def _same_colours(whole: Floats, part: Floats, margins: Floats) -> npt.NDArray[np.bool_]:
    """Whether one change of tone, equal for red, green and blue, turns a box of `whole` into `part`."""
    whole, part = _smoothed(whole), _smoothed(part)
    count, channels, side, _ = whole.shape
    far = ((np.arange(side) + 0.5) / side).astype(np.float32)
    rows, columns = _weights(margins[:, 2:], far), _weights(margins[:, :2], far).transpose(0, 2, 1)
    box = rows[:, None] @ whole @ columns[:, None]
    shape = (count, channels * side * side)
    variance = part.var((1, 2, 3))
    differs = _unexplained(_centred(box.reshape(shape)), _centred(part.reshape(shape)), degree=1)
    # Of the variance within the channels: in colourful pictures, too, the shapes must agree.
    within = part.var((2, 3)).mean(1)
    same: npt.NDArray[np.bool_] = differs * variance < COLOURS * within
    return same


def _halved(pictures: Floats) -> Floats:
    rows = pictures[:, ::2] + pictures[:, 1::2]  # faster than a mean of blocks
    return (rows[:, :, ::2] + rows[:, :, 1::2]) / 4


def _smoothed(pictures: Floats) -> Floats:
    smoothed: Floats = gaussian_filter(pictures, SMOOTHING_PX, mode="nearest", axes=(-2, -1))
    return smoothed


def _detail(pictures: Floats, smoothed: Floats) -> Floats:
    """The share of a picture's variance that smoothing removes; shape (pictures,)."""
    share: Floats = ((pictures - smoothed) ** 2).mean((1, 2)) / np.maximum(pictures.var((1, 2)), 1e-6)
    return share


def _fitted(whole: Floats, part: Floats, margins: Floats, steps: int) -> tuple[Floats, Floats]:
    """Fit the box of each `whole` that is `part`, by Gauss-Newton steps.

    Args:
        margins: the start: cut off left, right, above and below, as shares of the side, of shape (pairs, 4)

    Returns:
        the best margins, and the share of `part`'s variance that the box leaves unexplained, whatever the
        tones.
    """
    count, side, _ = whole.shape
    down, right = np.gradient(whole, axis=1), np.gradient(whole, axis=2)
    far = ((np.arange(side) + 0.5) / side).astype(np.float32)  # from the box's left or top
    near = 1 - far
    wanted = _centred(part.reshape(count, side * side))
    best = margins
    least: Floats = np.full(count, np.inf, np.float32)
    for step in range(steps + 1):
        rows, columns = _weights(margins[:, 2:], far), _weights(margins[:, :2], far).transpose(0, 2, 1)
        box = rows @ whole @ columns
        shown = _centred(box.reshape(count, side * side))
        differs = _unexplained(shown, wanted, CURVE)
        better = differs < least
        best, least = np.where(better[:, None], margins, best), np.where(better, differs, least)
        if step < steps:
            by_x, by_y = rows @ right @ columns * side, rows @ down @ columns * side
            slopes = np.stack(
                [box, by_x * near, by_x * -far, by_y * near[:, None], by_y * -far[:, None]], axis=1
            )
            slopes = _centred(slopes.reshape(count, 5, side * side))
            normal = slopes @ slopes.transpose(0, 2, 1)
            # In a direction without detail, nothing tells how much is cut off.
            normal[:, range(5), range(5)] = normal[:, range(5), range(5)] * 1.001 + 1e-3
            solution = np.linalg.solve(normal, slopes @ wanted[:, :, None])[:, :, 0]
            gain = np.maximum(np.abs(solution[:, :1]), 0.2)
            margins = np.clip(margins + solution[:, 1:] / gain, -0.01, MARGIN).astype(np.float32)
    return best, least


def _weights(margins: Floats, far: Floats) -> Floats:
    """Linear interpolation between two margins, of shape (pairs, pixels of the box, pixels of the whole)."""
    side = len(far)
    start, length = margins[:, :1], 1 - margins.sum(1, keepdims=True)
    places = np.clip((start + length * far) * side - 0.5, 0, side - 1)
    distances = np.abs(places[:, :, None] - np.arange(side, dtype=np.float32))
    weights: Floats = np.maximum(1 - distances, 0).astype(np.float32)
    return weights


def _unexplained(shown: Floats, wanted: Floats, degree: int) -> Floats:
    """1 - R² of `wanted` as a polynomial of `shown`; both centred, of shape (pairs, pixels).

    1 if dark and light are swapped, or if the contrast grows more than TONES times.
    """
    contrast = np.sqrt((wanted**2).sum(1) / np.maximum((shown**2).sum(1), 1e-6))
    scaled = shown / np.maximum(np.abs(shown).max(1, keepdims=True), 1e-6)
    powers = _centred(np.stack([scaled**power for power in range(1, degree + 1)], axis=1))
    normal = powers @ powers.transpose(0, 2, 1)
    normal[:, range(degree), range(degree)] += 1e-3
    moments = powers @ wanted[:, :, None]
    solution = np.linalg.solve(normal, moments)
    explained = (solution * moments).sum((1, 2))
    result = 1 - explained / np.maximum((wanted**2).sum(1), 1e-6)
    return np.where((moments[:, 0, 0] > 0) & (contrast < TONES) & (contrast > 1 / TONES), result, 1)


def _centred(values: Floats) -> Floats:
    centred: Floats = values - values.mean(-1, keepdims=True)
    return centred
