"""Pack entrypoints/ for the containers, in bundles whose S3 key is the digest of their files.

The same bytes always have the same key, so building a definition computes addresses without any request, and
`upload` sends only missing bundles. Needs no SageMaker SDK.
"""

import ast
import gzip
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any, Literal

from botocore.exceptions import ClientError

from config.settings import Settings
from entrypoints.contract import NO_CHAMPION, RANDOM_WEIGHTS
from steps import wheels
from steps.wheels import Lock

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "entrypoints"
TRAINING_PROGRAM = f"{PACKAGE}/train.py"
LAUNCHER = "run.sh"
FUNCTION_HANDLER = f"{PACKAGE}.deploy.handler"

# Bundle -> its program, its form in S3, and the requirements that its image lacks.
_PROGRAMS: dict[str, tuple[str, Literal["tar", "files", "zip"], tuple[str, ...]]] = {
    "split": ("split", "files", ("split.txt",)),
    "tune": ("train", "tar", ("tune.txt",)),
    "train": ("train", "tar", ("train.txt",)),
    "train_debugged": ("train", "tar", ("train.txt", "debugger.txt")),
    "evaluate": ("evaluate", "files", ("evaluate.txt",)),
    "deploy": ("deploy", "zip", ()),
    "verify": ("verify", "files", ()),
}


@dataclass(frozen=True)
class Bundle:
    """Files by their paths in the container, and their form in S3.

    `locks` are the added wheels, by folder. The files include each lock's text, so the digest also covers the
    wheels.
    """

    name: str
    form: Literal["tar", "files", "zip"]
    files: Mapping[str, bytes]
    locks: Mapping[str, Lock] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """sha256 over sorted paths and bytes, not over an archive, whose bytes depend on the compressor."""
        digest = hashlib.sha256()
        for path, content in sorted(self.files.items()):
            for part in (path.encode(), content):
                digest.update(len(part).to_bytes(8, "big") + part)
        return digest.hexdigest()

    def contents(self) -> dict[str, bytes]:
        """The files and the wheels (from the package index, once; WheelsError if it fails)."""
        files = dict(self.files)
        for folder, lock in self.locks.items():
            files |= {f"{folder}/{name}": data for name, data in wheels.fetch(lock).items()}
        return files

    def archive(self) -> bytes:
        """The contents as one .tar.gz or .zip, members without time, owner and mode."""
        return _tar(self.contents()) if self.form == "tar" else _zip(self.contents())


def bundles(root: Path = ROOT, *, package_source: str = "index") -> dict[str, Bundle]:
    """All bundles by name: the programs', and the markers random_weights and no_champion.

    `package_source` is the setting: bundles include the packages that the images lack ("bundle"), or jobs
    install them from the package index. Raises FileNotFoundError if a program or a requirements file is
    missing under `root`.
    """
    made = {}
    for name, (program, form, requirements) in _PROGRAMS.items():
        paths = {f"{PACKAGE}/{program}.py"}
        if form == "tar":
            paths |= _serving_files(root)
        files = {path: (root / path).read_bytes() for path in sorted(_with_imports(root, paths))}
        if requirements:
            folder = root / PACKAGE / "requirements"
            files["requirements.txt"] = b"".join((folder / name).read_bytes() for name in requirements)
        if form == "files":
            files[LAUNCHER] = (root / PACKAGE / LAUNCHER).read_bytes()
        made[name] = Bundle(name, form, files)
        if requirements and package_source == "bundle":
            made[name] = _with_wheels(made[name], root)
    markers = {
        "random_weights": {RANDOM_WEIGHTS: b"Training starts from random weights.\n"},
        "no_champion": {NO_CHAMPION: b"There is no model to compare with.\n"},
    }
    return made | {name: Bundle(name, "files", files) for name, files in markers.items()}


def _with_wheels(bundle: Bundle, root: Path) -> Bundle:
    """The bundle with the packages that its image lacks; TrainModel's also has those for the artifact.

    Trials' artifacts are never served.
    """
    locks = {"wheels": wheels.locked(bundle.name, root)}
    offline = {"requirements.txt": wheels.offline(bundle.files["requirements.txt"])}
    if bundle.name.startswith("train"):
        locks[f"{PACKAGE}/requirements/wheels"] = wheels.locked("serving", root)
        serving = f"{PACKAGE}/requirements/serving.txt"
        offline[serving] = wheels.offline(bundle.files[serving])
    texts = {f"{folder}.txt": lock.text for folder, lock in locks.items()}
    return Bundle(bundle.name, bundle.form, {**bundle.files, **offline, **texts}, locks)


def digests(all_bundles: Mapping[str, Bundle]) -> dict[str, str]:
    """The digest of each bundle, by name: the only trace of the code in the definition."""
    return {name: bundle.digest for name, bundle in all_bundles.items()}


def url(settings: Settings, name: str, digest: str) -> str:
    """The bundle's S3 URI: the archive of a training bundle, the prefix of another one's files."""
    prefix = f"s3://{settings.bucket}/{settings.name}/code/{name}/{digest}/"
    return f"{prefix}sourcedir.tar.gz" if name in ("tune", "train", "train_debugged") else prefix


def upload(s3_client: Any, settings: Settings, all_bundles: Iterable[Bundle]) -> list[str]:
    """Upload the bundles that the settings' bucket lacks; return the URIs of the new objects.

    `s3_client` is boto3's. The deploying function's zip is left out: Lambda takes it directly. Raises
    botocore's ClientError if the bucket is missing or may not be used, and WheelsError if the package index
    lacks a wheel of a bundle.
    """
    uploaded = []

    def put(uri: str, content: Callable[[], bytes]) -> None:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        if not _exists(s3_client, bucket, key):
            s3_client.put_object(Bucket=bucket, Key=key, Body=content())
            uploaded.append(uri)

    for bundle in all_bundles:
        address = url(settings, bundle.name, bundle.digest)
        if bundle.form == "tar":
            put(address, bundle.archive)
        elif bundle.form == "files":
            for path, content in bundle.contents().items():
                put(f"{address}{path}", partial(bytes, content))
    return uploaded


def _exists(s3_client: Any, bucket: str, key: str) -> bool:
    try:
        s3_client.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
            return False
        raise
    return True


def _serving_files(root: Path) -> set[str]:
    """The files that training copies into the artifact, without strays such as an editor's backups."""
    names = {
        path.name
        for path in (root / PACKAGE / "serving").iterdir()
        if path.suffix in {".py", ".html", ".yaml"} and not path.name.startswith(".")
    }
    return {f"{PACKAGE}/requirements/serving.txt", *(f"{PACKAGE}/serving/{name}" for name in names)}


def _with_imports(root: Path, paths: set[str]) -> set[str]:
    """`paths` and the package's modules that they import, directly or not, each with its packages."""
    done: set[str] = set()
    todo = set(paths)
    while todo:
        path = todo.pop()
        done.add(path)
        needed = {f"{folder.as_posix()}/__init__.py" for folder in Path(path).parents if folder != Path()}
        if path.endswith(".py"):
            needed |= _imports((root / path).read_bytes())
        todo |= {item for item in needed if (root / item).is_file()} - done
    return done


@cache  # cached: most modules are in most bundles
def _imports(module: bytes) -> frozenset[str]:
    """Possible files of the package's modules that a module imports, anywhere in its code."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    bases = {name.replace(".", "/") for name in names if name.split(".")[0] == PACKAGE}
    return frozenset(f"{base}{end}" for base in bases for end in (".py", "/__init__.py"))


def _tar(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(filename="", fileobj=buffer, mode="wb", mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path, content in sorted(files.items()):
            member = tarfile.TarInfo(path)  # time, owner and group are 0, the mode is 0o644
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _zip(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in sorted(files.items()):
            member = zipfile.ZipInfo(path)  # the time is 1980-01-01
            member.external_attr = 0o644 << 16
            archive.writestr(member, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
