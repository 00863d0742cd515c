"""The folder in which the local service keeps everything."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from local.home.files import close_to_others, make_file, make_folder
from local.home.names import is_bucket_name, symlink_on_the_way, unfit

# The example account of pipeline.toml, of AWS's documentation, and moto's (moto.core.DEFAULT_ACCOUNT_ID).
ACCOUNT = "123456789012"


class UnfitHome(Exception):
    """This folder cannot be the home of a service; the message is one line."""


class OtherRegion(UnfitHome):
    """This home belongs to another region."""


@dataclass(frozen=True)
class Home:
    """Where things are: objects in s3/, one folder per job, function and endpoint, records in SQLite."""

    root: Path
    region: str = "us-east-1"

    @property
    def s3(self) -> Path:
        return self.root / "s3"

    @property
    def database(self) -> Path:
        return self.root / "records.sqlite"

    @property
    def processes(self) -> Path:
        """Where every process that the service starts is recorded (local/processes/start.py)."""
        return self.root / "processes"

    @property
    def invocations(self) -> Path:
        """Where each invocation of a function has a folder while it runs."""
        return self.root / "invocations"

    def check(self) -> None:
        """Refuse a folder in which programs could not find their modules.

        Raises:
            UnfitHome: its path has the separator of PYTHONPATH.
        """
        if os.pathsep in str(self.root):
            raise UnfitHome(
                f"{str(self.root)!r} has a {os.pathsep!r} in its path, which would split PYTHONPATH;"
                " choose another folder with --home"
            )

    def make(self) -> None:
        """Make the folder, for its owner only; an existing one is closed to others.

        Raises:
            UnfitHome: as `check`.
            OSError: it cannot be made, or cannot be closed to others.
        """
        self.check()
        if not self.root.parent.exists():  # folders above the home keep their permissions
            self.root.parent.mkdir(parents=True)
        for folder in (self.root, self.s3):
            make_folder(folder)
            close_to_others(folder)

    def keep_region(self) -> None:
        """Keep the home's first region for good: the ARNs in it contain it.

        Raises:
            OtherRegion: the home belongs to another region.
            OSError: that cannot be read or written.
        """
        file = self.root / "region"
        if not file.exists():
            make_file(file)
            file.write_text(f"{self.region}\n", encoding="utf-8")
        # It is empty if a service was killed while writing it, or the disk was full.
        elif (kept := file.read_text(encoding="utf-8").strip() or self.region) != self.region:
            raise OtherRegion(
                f"{self.root} belongs to region {kept}, not {self.region}; use region {kept} (--region"
                f" {kept}, or the setting `region`), or choose another folder with --home"
            )

    def folder(self, kind: str, name: str) -> Path:
        """The folder of one job, function or endpoint, e.g. folder("training-jobs", name); not created."""
        return self.root / kind / name

    def remains(self) -> str:
        """What is on disk, whatever the records say: "4 training jobs, 1 bucket"; "" if nothing."""
        found = []
        for folder in (
            "training-jobs",
            "processing-jobs",
            "transform-jobs",
            "tuning-jobs",
            "endpoints",
            "s3",
        ):
            path = self.root / folder
            # In s3/, names that begin with a dot are the service's own.
            count = len([entry for entry in path.glob("[!.]*") if entry.is_dir()])
            name = "buckets" if folder == "s3" else folder.replace("-", " ")
            if count:
                found.append(f"{count} {name if count > 1 else name[:-1]}")
        return ", ".join(found)

    def object_path(self, uri: str) -> Path:
        """The file or folder behind s3://bucket/key.

        Raises:
            ValueError: not an S3 URI, one that would leave the home folder, or one that leads through a
                symbolic link.
        """
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        if not uri.startswith("s3://") or not bucket:
            raise ValueError(f"{uri!r} is not an S3 URI; expected s3://bucket/key")
        if not is_bucket_name(bucket):
            raise ValueError(f"{uri!r} is not an S3 URI: {bucket!r} is not a valid bucket name")
        if key and (reason := unfit(key)):
            raise ValueError(f"the local S3 keeps objects as files; the key of {uri!r} {reason}")
        if link := symlink_on_the_way(self.s3, (bucket, *key.split("/"))):
            raise ValueError(
                f"{uri!r} leads through the symbolic link {link}, which the local S3 does not follow;"
                " replace it by what it points to"
            )
        return self.s3 / bucket / key

    def arn(self, kind: str, name: str, service: str = "sagemaker") -> str:
        """An ARN as SageMaker writes it, e.g. arn("training-job", "x")."""
        return f"arn:aws:{service}:{self.region}:{ACCOUNT}:{kind}/{name}"
