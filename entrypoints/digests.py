"""Digests of the pictures that a model has seen, in the artifact, so that no later test uses these pictures.

A digest is the first 8 bytes of SHA-256 over the file's bytes: 800 KB for 100,000 pictures. Two of 10 million
different pictures share one with a probability of 3 in a million.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from entrypoints.program import in_threads

Digests = npt.NDArray[np.uint64]


def digest(data: bytes) -> int:
    """The digest of one file's bytes."""
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big")


def of_files(files: Sequence[Path]) -> Digests:
    """The digests of files, in their order; of shape (files,)."""
    return np.array(list(in_threads(lambda file: digest(file.read_bytes()), files)), dtype=np.uint64)


def sha256(files: Sequence[Path]) -> str:
    """One digest of all files: that of `to_bytes`, the same for the same pictures in any order."""
    return hashlib.sha256(to_bytes(of_files(files))).hexdigest()


def to_bytes(digests: Digests) -> bytes:
    """The artifact's .npy file: the sorted digests, each once."""
    stream = io.BytesIO()
    np.save(stream, np.unique(digests.astype("<u8")), allow_pickle=False)
    return stream.getvalue()


def from_bytes(data: bytes) -> Digests:
    """The sorted digests written by `to_bytes`.

    Raises:
        ValueError: the bytes are something else.
    """
    digests = np.load(io.BytesIO(data), allow_pickle=False)
    if not isinstance(digests, np.ndarray) or digests.dtype != np.uint64 or digests.ndim != 1:
        raise ValueError("not a list of digests, which is an .npy file of uint64 in one dimension")
    return digests


def seen(digests: Digests, known: Digests) -> npt.NDArray[np.bool_]:
    """Whether each of `digests` is among `known`; same shape as `digests`."""
    return np.isin(digests, known)
