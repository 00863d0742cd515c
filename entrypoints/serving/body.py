"""A request's body: its pictures or tensor, in any usual form.

The bytes decide what a body is; the content type matters only if it names one of our forms. This file is
part of the model artifact and needs only NumPy.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from email.parser import BytesHeaderParser
from io import BytesIO
from tokenize import TokenError
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from entrypoints.contract import FORM, JSON, NPY

# Pictures per body.
MAX_IMAGES = 64
# Lists per JSON body: the rows of MAX_IMAGES tensors with a height of 1,000 pixels. This number, and those of
# objects and strings, bound the memory for reading it.
MAX_LISTS = MAX_IMAGES * 3 * 1000
# For a .npy file; NumPy's own headers for such tensors have 118 bytes.
MAX_HEADER_BYTES = 1000
# NumPy's errors on a damaged header, which is Python source.
_HEADER_ERRORS = (ValueError, SyntaxError, TypeError, LookupError, MemoryError, RecursionError, TokenError)
# First bytes of bodies that are recognized whatever their content type.
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG")
_NPY = b"\x93NUMPY"
# Normalized pixels stay far below; raw pixels reach 255.
_LARGE_PIXEL, _LARGEST_PIXEL = 20, 255
_DATA_URL = re.compile(r"\s*data:([^,]{0,200}),", re.IGNORECASE)
_ADDRESS = re.compile(r"\s*(https?|s3|file|gs)://", re.IGNORECASE)
_STANDARD = str.maketrans("-_", "+/", " \t\r\n")  # base64's letters for URLs, and line breaks
# No blanks: they would mean words.
_BASE64 = re.compile(
    rb"\s*(b?[\"'])?(data:[^,]{0,200};base64,)?[a-z0-9+/_-][a-z0-9+/_=\r\n-]{15,}[\"']?\s*\Z", re.IGNORECASE
)
_SAMPLE_BYTES = 512
_JSON_FORMS = (
    'The body must be {"image": BASE64} or {"images": [BASE64, ...]}, {"instances": [...]} of such or of'
    " tensors, or a tensor as nested lists."
)


class InputError(ValueError):
    """A body that cannot be predicted: a code for programs, one sentence for the caller.

    Codes: invalid_image, invalid_tensor, invalid_json, too_many_images.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


class Pictures(NamedTuple):
    """Picture files, their names in messages, and whether the answer is one object, not a list."""

    files: Sequence[bytes]
    names: Sequence[str]
    single: bool


class Tensor(NamedTuple):
    """The network's input, float32 of shape N x 3 x H x W; `single` as in Pictures."""

    inputs: npt.NDArray[np.float32]
    single: bool


def read(body: bytes, content_type: str, image_size: int) -> Pictures | Tensor:
    """A body's content.

    Args:
        content_type: in lower case, without parameters; may be empty.
        image_size: H and W of the model's tensors.

    Raises:
        InputError: neither pictures nor a tensor of that size.
    """
    if content_type == FORM or (body.startswith(b"--") and b"form-data" in body[:_SAMPLE_BYTES]):
        return _read_form(body, image_size)
    if body.startswith((_NPY, *_PICTURES)):
        content_type = ""
    if content_type == JSON:
        return _read_json(body, image_size)
    if content_type == NPY:
        return _read_npy(body, image_size)
    return _read_bytes(body, "The body", image_size)


def _read_bytes(body: bytes, name: str, image_size: int) -> Pictures | Tensor:
    """A body, or a form's file, judged by its bytes."""
    if body.startswith(_NPY):
        return _read_npy(body, image_size)
    sample = body[:_SAMPLE_BYTES]
    if sample.removeprefix(b"\xef\xbb\xbf").lstrip().startswith((b"{", b"[")):
        return _read_json(body, image_size)
    if _BASE64.match(sample):
        raise InputError(
            "invalid_image",
            f"{name} is base64 text, not a picture; send the picture's bytes, or"
            f' {{"image": BASE64}} as {JSON}.',
        )
    return Pictures([body], [name], True)


def _read_form(body: bytes, image_size: int) -> Pictures | Tensor:
    """The files of a form (RFC 7578), as browsers and `requests.post(files=...)` send them.

    Not with email's message parser, which splits pictures into lines like text.
    """
    boundary = body[: body.find(b"\r\n")].rstrip()
    if not boundary.startswith(b"--") or len(boundary) < 3:
        raise InputError("invalid_image", f"The body is not a form ({FORM}); let the client encode it.")
    files, texts = [], []
    for part in (b"\r\n" + body).split(b"\r\n" + boundary)[1:]:
        head, found, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        if part.startswith(b"--") or not found:
            break
        headers = BytesHeaderParser().parsebytes(head)
        if headers.get_filename() is None:
            texts.append(content)
        elif content or headers.get_filename():  # else a form field without a chosen file
            files.append(content)
        if len(files) > MAX_IMAGES:
            raise _too_many()
    if not files and len(texts) == 1:
        files = texts
    if not files:
        raise InputError("invalid_image", "The form holds no file; add one as a field of its own.")
    if len(files) == 1:
        return _read_bytes(files[0], "The form's file", image_size)
    return Pictures(files, [f"File {number} of {len(files)}" for number in range(1, len(files) + 1)], False)


def _read_json(body: bytes, image_size: int) -> Pictures | Tensor:
    if body.count(b"{") > MAX_IMAGES + 1 or body.count(b'"') > 4 * MAX_IMAGES + 2:
        raise _too_many()
    if body.count(b"[") > MAX_LISTS:
        raise InputError("invalid_json", f"The body holds more than {MAX_LISTS:,} lists; send fewer at once.")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputError("invalid_json", f"The body is not JSON ({error}).") from None
    key, found = "", document
    if isinstance(document, dict) and len(document) == 1:
        [(key, found)] = document.items()
    if key == "image" and isinstance(found, str):
        return Pictures([_from_base64(found, "The image")], ["The image"], True)
    if key not in ("", "image", "images", "instances") or not isinstance(found, list) or not found:
        raise InputError("invalid_json", _JSON_FORMS)
    if (shape := _shape(found)) is not None:
        return _from_lists(found, shape, image_size)
    if key == "image":
        raise InputError("invalid_json", _JSON_FORMS)
    if len(found) > MAX_IMAGES:
        raise _too_many()
    names = [f"Image {number} of {len(found)}" for number in range(1, len(found) + 1)]
    return Pictures([_picture(*item) for item in zip(found, names, strict=True)], names, False)


def _picture(item: Any, name: str) -> bytes:
    """One of several pictures: base64, or an object with base64."""
    if isinstance(item, dict) and len(item) == 1:
        item = item.get("b64", item.get("image"))
    if not isinstance(item, str):
        raise InputError("invalid_json", _JSON_FORMS)
    return _from_base64(item, name)


def _from_base64(text: str, name: str) -> bytes:
    """Decode base64 in its usual forms: data URLs, with line breaks, URL-safe, unpadded."""
    if _ADDRESS.match(text):
        raise InputError("invalid_json", f"{name} is an address, which is not fetched; send BASE64.")
    if url := _DATA_URL.match(text):
        if not url[1].lower().endswith("base64"):
            raise InputError("invalid_json", f"{name} is a data URL without base64; send BASE64.")
        text = text[url.end() :]
    letters = text.translate(_STANDARD).rstrip("=")
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except ValueError as error:
        raise InputError("invalid_json", f"{name} is not base64 ({error}).") from None


def _shape(value: Any) -> tuple[int, ...] | None:
    """The shape of nested lists, from their first elements; None if these are not numbers."""
    shape: list[int] = []
    while isinstance(value, list) and value and len(shape) < 8:
        shape.append(len(value))
        value = value[0]
    return tuple(shape) if isinstance(value, int | float) else None


def _from_lists(lists: list[Any], shape: tuple[int, ...], image_size: int) -> Tensor:
    _check_shape(shape, image_size)
    try:
        with np.errstate(over="ignore"):
            array = np.array(lists, np.float32)
    except (ValueError, TypeError, OverflowError):
        raise InputError(
            "invalid_tensor", "The tensor's lists have different lengths, or hold more than numbers."
        ) from None
    return _tensor(array)


def _read_npy(body: bytes, image_size: int) -> Tensor:
    """Read .npy bytes; unlike np.load, allocate nothing because of the header alone."""
    file = BytesIO(body)
    try:
        version = npy.read_magic(file)  # type: ignore[no-untyped-call]
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran_order, dtype = read_header(file, MAX_HEADER_BYTES)  # type: ignore[call-arg, no-untyped-call]
        shape = tuple(map(int, shape))  # True is an integer, too
    except _HEADER_ERRORS:
        raise InputError("invalid_tensor", "The body is not a NumPy .npy file.") from None
    if dtype.kind != "f":
        pixels = "; pixels are sent as a picture" if dtype == np.uint8 else ""
        raise InputError("invalid_tensor", f"The tensor's type must be float32, not {dtype}{pixels}.")
    _check_shape(shape, image_size)
    data = memoryview(body)[file.tell() :]
    expected = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if len(data) != expected:
        raise InputError(
            "invalid_tensor", f"The tensor holds {len(data)} bytes; its shape {shape} needs {expected}."
        )
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if fortran_order else "C")
    with np.errstate(over="ignore"):
        return _tensor(np.ascontiguousarray(array, np.float32))


def _check_shape(shape: tuple[int, ...], size: int) -> None:
    wanted = f"N x 3 x {size} x {size}"
    if len(shape) not in (3, 4) or shape[-3] != 3 or min(shape) < 1:
        first = " (channels come before height and width)" if len(shape) in (3, 4) and shape[-1] == 3 else ""
        raise InputError("invalid_tensor", f"The tensor's shape must be {wanted}, not {shape}{first}.")
    if shape[-2:] != (size, size):
        raise InputError(
            "invalid_tensor",
            f"The tensor's pictures have {shape[-2]} x {shape[-1]} pixels; this model's have {size} x {size}:"
            f" scale them, the shape must be {wanted}.",
        )


def _tensor(array: npt.NDArray[np.float32]) -> Tensor:
    low, high = float(array.min()), float(array.max())
    if not np.isfinite(low) or not np.isfinite(high):
        raise InputError("invalid_tensor", "The tensor holds values that are not finite.")
    if low >= 0 and _LARGE_PIXEL < high <= _LARGEST_PIXEL:
        raise InputError(
            "invalid_tensor",
            f"The tensor holds pixels from {low:g} to {high:g}; normalise them as model.json says:"
            " (pixel / 255 - mean) / std.",
        )
    single = array.ndim == 3
    return Tensor(array[None] if single else array, single)


def _too_many() -> InputError:
    message = f"The body holds more than {MAX_IMAGES} images; send fewer at once."
    return InputError("too_many_images", message)
