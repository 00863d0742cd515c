"""The one folder in which the local service keeps everything."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ACCOUNT = "123456789012"


@dataclass(frozen=True)
class Home:
    """Where things lie: objects in s3/, one folder per job, function and endpoint, records in SQLite."""

    root: Path
    region: str = "us-east-1"

    @property
    def s3(self) -> Path:
        return self.root / "s3"

    @property
    def database(self) -> Path:
        return self.root / "records.sqlite"

    def folder(self, kind: str, name: str) -> Path:
        """The folder of one job, function or endpoint, e.g. folder("training-jobs", name); not created."""
        return self.root / kind / name

    def object_path(self, uri: str) -> Path:
        """The file or folder behind s3://bucket/key.

        Raises:
            ValueError: not an S3 URI, or one that would leave the home folder.
        """
        bucket, slash, key = uri.removeprefix("s3://").partition("/")
        if not uri.startswith("s3://") or not bucket:
            raise ValueError(f"{uri!r} is not an S3 URI; expected s3://bucket/key")
        # An empty part would let a key such as "/etc" begin anew at the root of the file system.
        parts = key.removesuffix("/").split("/") if key else []
        if any(part in {"", ".", ".."} for part in (bucket, *parts)):
            raise ValueError(f"{uri!r} has an empty part, '.' or '..', which the local S3 does not keep")
        return self.s3 / bucket / key if slash else self.s3 / bucket

    def arn(self, kind: str, name: str, service: str = "sagemaker") -> str:
        """An ARN as SageMaker writes it, e.g. arn("training-job", "x")."""
        return f"arn:aws:{service}:{self.region}:{ACCOUNT}:{kind}/{name}"
