"""The datasets that run_local.py knows by name."""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from pathlib import Path

import scripts.command as command
from local.home.files import close_tree_to_others, make_folder
from scripts.download import download

HYMENOPTERA_URL = "https://download.pytorch.org/tutorial/hymenoptera_data.zip"
# Over the names and contents of the tutorial's 398 files, one of them a stray GIF; see `folder_digest`.
# Unlike the archive's own checksum it does not change when the files are packed again.
HYMENOPTERA_SHA256 = "09b2329aa6956906521686a682b4c4793592134e6d718c3e9769e005ec240417"
_DIGITS_PX = 64


def digits(folder: Path) -> Path:
    """scikit-learn's handwritten digits as PNG files, one folder per class; made once.

    1,797 real scans of 10 classes (UCI, "Optical Recognition of Handwritten Digits"), 8 x 8 pixels of 17
    grey levels in the package, here enlarged to 64 x 64.
    """
    if folder.is_dir():
        return folder
    from PIL import Image
    from sklearn.datasets import load_digits

    partial = _fresh(folder.with_name(f".{folder.name}.partial"))
    data = load_digits()
    grey = (data.images * (255 / 16)).round().astype("uint8")
    for index, (pixels, label) in enumerate(zip(grey, data.target, strict=True)):
        path = partial / str(label) / f"{index:04}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).resize((_DIGITS_PX, _DIGITS_PX), Image.Resampling.BICUBIC).save(path)
    close_tree_to_others(partial)
    partial.replace(folder)
    return folder


def hymenoptera(folder: Path, url: str = HYMENOPTERA_URL, sha256: str = HYMENOPTERA_SHA256) -> Path:
    """The ants and bees of the PyTorch transfer-learning tutorial, downloaded once.

    Raises:
        Failure: the archive cannot be downloaded, or does not hold what it should.
    """
    if folder.is_dir():
        return folder
    archive = download(url, folder.with_name("hymenoptera_data.zip"))
    partial = _fresh(folder.with_name(f".{folder.name}.partial"))
    try:
        with zipfile.ZipFile(archive) as files:
            files.extractall(partial)
    except (zipfile.BadZipFile, OSError) as error:
        archive.unlink()
        command.fail(f"{url} is not an archive that can be unpacked ({error}); try again")
    found = partial / "hymenoptera_data"
    if not found.is_dir() or folder_digest(found) != sha256:
        archive.unlink()
        shutil.rmtree(partial)
        command.fail(f"{url} does not hold the pictures of the tutorial; give a folder with --data instead")
    close_tree_to_others(found)
    found.replace(folder)
    shutil.rmtree(partial)
    archive.unlink()
    return folder


def folder_digest(folder: Path) -> str:
    """sha256 over the sorted relative paths and contents of a folder's files, hidden ones left out."""
    digest = hashlib.sha256()
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    for name, path in sorted(files.items()):
        if not path.name.startswith("."):
            digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _fresh(folder: Path) -> Path:
    if folder.exists():
        shutil.rmtree(folder)
    make_folder(folder)
    return folder
