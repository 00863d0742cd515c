"""Check a file of pretrained weights as a training job would, before you start or upload anything.

  weights.py resnet18-f37072fd.pth

Exit codes: 0 you can give it to run_local.py --weights, or upload it and name it with PretrainedWeightsUrl; 2
you cannot, and one line says why.
"""

from __future__ import annotations

if not __package__:
    import root  # noqa: F401

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

import scripts.command as command
from config.parameters import WEIGHTS
from config.settings import Settings
from entrypoints import contract
from entrypoints.backbones import BACKBONES
from scripts import aws_errors
from scripts.download import download

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_s3.client import S3Client

NONE, IMAGENET = "none", "imagenet"
BACKBONE = BACKBONES[contract.BACKBONE]
SUFFIXES = ", ".join(contract.WEIGHTS_SUFFIXES)
GIVE = f"give the state dict of a {BACKBONE.name} ({SUFFIXES}), {IMAGENET} or {NONE}"
# A header of safetensors is at most 100 MB long (its format's README).
_MAX_HEADER_BYTES = 100_000_000
_HEAD_BYTES = 256
_ZIP = "a zip archive"


def find_weights(named: str, home: Path) -> Path | None:
    """The file that --weights names, checked; None for random weights.

    "imagenet" is torchvision's file, from the home or torch's own cache, else downloaded into the home.

    Raises:
        Failure: there is no such file, it cannot be downloaded, or a training could not start from it.
    """
    if named == NONE:
        return None
    if named == IMAGENET:
        name = Path(BACKBONE.weights_url).name
        file = home / "weights" / name
        if not file.exists() and (cached := _cached(name)):
            command.console.print(f"weights: {cached}, which torch has downloaded before", soft_wrap=True)
            return cached
        return download(
            BACKBONE.weights_url,
            file,
            BACKBONE.weights_sha256,
            f"fetch the file on another machine and give it with --weights {name}; --weights {NONE} needs no "
            "network, but a few hundred pictures are too few for it",
        )
    path = Path(named)
    check_file(path)
    with command.status(f"checking the weights in {path}"):
        _check_network(path)
    return path


def put_weights(session: boto3.Session, settings: Settings, weights: Path) -> str:
    """Upload a weights file under its digest and return its prefix."""
    prefix = f"{settings.name}/weights/{_digest(weights)}/"
    session.client("s3").upload_file(str(weights), settings.bucket, f"{prefix}{weights.name}")
    return f"s3://{settings.bucket}/{prefix}"


def check_file(path: Path) -> None:
    """Refuse what cannot be a file of weights, by its name and first bytes; does not import torch.

    Raises:
        Failure: there is no such file, or training jobs cannot read its content.
    """
    name = command.shown(str(path))
    if path.is_dir():
        command.fail(f"--weights {name} is a folder; name the file in it")
    if not path.is_file():
        command.fail(f"--weights {name}: there is no such file; {GIVE}")
    suffix = path.suffix.lower()
    if suffix not in contract.WEIGHTS_SUFFIXES:
        command.fail(
            f"--weights {name}: its name must end in one of {SUFFIXES}, by which jobs find it; {GIVE}"
        )
    content = _content(path)
    wanted = "safetensors" if suffix == ".safetensors" else "torch"
    if content in ("safetensors", "torch") and content != wanted:
        right = ".safetensors" if content == "safetensors" else ".pth"
        command.fail(f"--weights {name} holds {content} weights; rename it to {path.stem}{right}")
    if content != wanted:
        way_on = "" if ";" in content else f"; {GIVE}"
        command.fail(f"--weights {name} holds no weights: it is {content}{way_on}")


def check_url(s3: S3Client, url: str) -> None:
    """Refuse a PretrainedWeightsUrl that every trial would refuse; reads only a file's first bytes.

    If these credentials lack the permission, the jobs' role may have it: then the trials will tell.

    Raises:
        Failure: it holds no weights, several files of them, or something else under their name.
        ClientError: S3 refused, and not because a permission is missing.
    """
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    try:
        listed = s3.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])
        folder = prefix[: prefix.rfind("/") + 1]  # a job reads its files, not its subfolders
        keys = {item["Key"].removeprefix(folder): item["Key"] for item in listed}
        names = {name: key for name, key in keys.items() if "/" not in name and not name.startswith(".")}
        found = [name for name in names if name.lower().endswith(contract.WEIGHTS_SUFFIXES)]
        found += [name for name in names if name == contract.RANDOM_WEIGHTS]
        if len(found) != 1:
            holds = ", ".join(map(command.shown, sorted(names)[:5])) or "nothing"
            command.fail(
                f"{WEIGHTS} {url} must hold exactly one weights file ({SUFFIXES}) or one named "
                f"{contract.RANDOM_WEIGHTS}; it holds {holds}"
            )
        if found == [contract.RANDOM_WEIGHTS]:
            return
        key = names[found[0]]
        head = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes=0-{_HEAD_BYTES - 1}")["Body"].read()
    except ClientError as error:
        if aws_errors.is_denied(error):
            return
        if error.response["Error"]["Code"] == "InvalidRange":  # an empty file has no first byte
            head = b""
        else:
            raise
    content = _kind(head)
    if content not in ("torch", "safetensors", _ZIP):
        command.fail(
            f"s3://{bucket}/{key} holds no weights: it is {content}; upload a state dict in its place"
        )


def _content(path: Path) -> str:
    """What a file holds: "torch", "safetensors", or a description of something else."""
    with path.open("rb") as file:
        kind = _kind(file.read(_HEAD_BYTES))
    if kind != _ZIP:
        return kind
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return "a zip archive that is cut off or damaged; fetch it again"
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return "torch"
    return f"a zip archive of other files, such as {command.shown(', '.join(names[:1]))}"


def _kind(head: bytes) -> str:
    """What a file that begins so holds: _ZIP, which torch.save and others write, or as for `_content`."""
    if not head:
        return "empty"
    if head.startswith(b"PK\x03\x04"):
        return _ZIP
    if head.startswith(b"\x80"):  # a pickle: torch.save before torch 1.6
        return "torch"
    if head.startswith(b"\x1f\x8b"):
        return f"a gzip archive; unpack it and give the weights in it, such as {contract.MODEL_WEIGHTS}"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _MAX_HEADER_BYTES:
        return "safetensors"
    if head.startswith(b"version https://git-lfs"):
        return "the pointer of Git LFS; run git lfs pull"
    try:
        text = head.decode()
    except UnicodeDecodeError as error:  # the last letter may be cut in two
        text = head[: error.start].decode() if error.start > len(head) - 4 else ""
    if text and all(character.isprintable() or character.isspace() for character in text):
        return f"text that begins {json.dumps(text.strip()[:40], ensure_ascii=False)}"
    return "neither a file of torch.save nor safetensors"


def _check_network(path: Path) -> None:
    """Load the file into the network as a job does, in its own process: torch takes 200 MiB and seconds.

    Raises:
        Failure: it cannot be read, belongs to another network, or holds NaN.
    """
    done = subprocess.run(
        [sys.executable, __file__, str(path)], capture_output=True, text=True, check=False, errors="replace"
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"the check ended with {done.returncode}"]
        command.fail(lines[-1].removeprefix(f"{Path(__file__).name}: "))


def _cached(name: str) -> Path | None:
    """torchvision's file among torch.hub's downloads, if complete; else None.

    Source: torch.hub.get_dir, as documented in torch.hub's reference.
    """
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = Path(os.environ.get("TORCH_HOME") or Path(cache) / "torch").expanduser()
    path = home / "hub" / "checkpoints" / name
    return path if path.is_file() and _digest(path).startswith(BACKBONE.weights_sha256) else None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(argv: Sequence[str] | None = None) -> int:
    parser = command.plain_parser(__doc__ or "")
    parser.add_argument("file", metavar="FILE", type=Path, help=f"a state dict of {BACKBONE.name}")
    path: Path = parser.parse_args(argv).file
    check_file(path)
    from entrypoints.model import WeightsError, build  # torch

    try:
        build(BACKBONE, 2, path)
    except WeightsError as error:
        command.fail(f"{error}; {GIVE}")
    command.output.print(f"{command.shown(str(path))} fits {BACKBONE.name}", soft_wrap=True)
    return 0


if __name__ == "__main__":
    command.run(main)
