from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest

from entrypoints import digests


def test_pictures_of_an_artifact_are_known_again(tmp_path) -> None:
    files = [tmp_path / str(n) for n in range(5)]
    for n, file in enumerate(files):
        file.write_bytes(b"picture %d" % (n % 4))
    made = digests.of_files(files)
    assert made[0] == made[4] == int(hashlib.sha256(b"picture 0").hexdigest()[:16], 16)
    kept = digests.from_bytes(digests.to_bytes(made[1:]))
    assert len(kept) == 4
    assert np.all(np.diff(kept.astype(object)) > 0)
    other = np.array([digests.digest(b"another")], np.uint64)
    assert digests.seen(np.concatenate([made, other]), kept).tolist() == [True] * 5 + [False]
    assert digests.seen(made, kept[:0]).tolist() == [False] * 5
    assert digests.of_files([]).shape == (0,)


def test_the_order_of_files_leaves_the_same_bytes() -> None:
    made = np.array([3, 2**64 - 1, 7], np.uint64)
    assert digests.to_bytes(made) == digests.to_bytes(made[::-1])


@pytest.mark.parametrize("array", [np.zeros(3), np.zeros((2, 2), np.uint64), np.array(7, np.uint64)])
def test_other_files_are_no_digests(array) -> None:
    stream = io.BytesIO()
    np.save(stream, array)
    with pytest.raises(ValueError, match="not a list of digests"):
        digests.from_bytes(stream.getvalue())
    with pytest.raises(ValueError):
        digests.from_bytes(b"no npy")
