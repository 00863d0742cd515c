"""The code of a Lambda function: a zip archive and its files, stored under their digest."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import shutil
import uuid
from pathlib import Path

from entrypoints.archives import UnsafeArchive
from local.home.archives import unzip
from local.home.files import close_tree_to_others, make_file, make_folder
from local.home.home import Home
from local.home.store import Record
from local.wire.errors import ServiceError
from local.wire.operations import Request

PARTIAL_CODE = "*.partial"  # the folders in which archives are being unpacked, beside the code


def invalid_parameter(message: str) -> ServiceError:
    """Lambda's answer to a request that it cannot accept."""
    return ServiceError("InvalidParameterValueException", message)


def code_folder(folder: Path, record: Record) -> Path:
    """The folder of the unpacked files with a record's CodeSha256; the archive is beside it as .zip."""
    return folder / base64.b64decode(record["CodeSha256"]).hex()


def kept_code(home: Home, folder: Path, code: Request) -> Record:
    """Unpack a function's code (ZipFile, or S3Bucket and S3Key) under its `folder`.

    Returns:
        CodeSha256 (base64, as Lambda gives it) and CodeSize in bytes.

    Raises:
        ServiceError: no code is given, or it is not a zip archive.
    """
    data = _archive(home, code)
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    record = {"CodeSha256": digest, "CodeSize": len(data)}
    target = code_folder(folder, record)
    if target.exists():
        return record
    partial = target.with_name(PARTIAL_CODE.replace("*", f"{target.name}.{uuid.uuid4()}"))
    make_folder(partial)
    try:
        unzip(io.BytesIO(data), partial)
        close_tree_to_others(partial)
        make_file(target.with_suffix(".zip"))
        target.with_suffix(".zip").write_bytes(data)
        partial.rename(target)
    except UnsafeArchive as error:
        message = "Could not unzip uploaded file. Please check your file, then try to upload again."
        raise invalid_parameter(f"{message} ({error})") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return record


def _archive(home: Home, code: Request) -> bytes:
    if "ZipFile" in code:
        try:
            return base64.b64decode(code["ZipFile"], validate=True)
        except binascii.Error:
            raise invalid_parameter("ZipFile is not base64.") from None
    if "S3Bucket" not in code or "S3Key" not in code:
        raise invalid_parameter("Please provide a source for function code.")
    try:
        return home.object_path(f"s3://{code['S3Bucket']}/{code['S3Key']}").read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
        message = "Error occurred while GetObject. S3 Error Code: NoSuchKey."
        raise invalid_parameter(
            f"{message} s3://{code['S3Bucket']}/{code['S3Key']} does not exist."
        ) from None
