from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from entrypoints.contract import JPEG, JSON, NPY, PNG
from entrypoints.serving import predictor
from tests.entrypoints.pictures import COLORS, picture


@pytest.fixture(scope="module")
def model(artifact: Path) -> predictor.Model:
    return predictor.load(artifact)


def saved(array: object, version: tuple[int, int] | None = None) -> bytes:
    file = BytesIO()
    np.lib.format.write_array(file, np.asarray(array), version)
    return file.getvalue()


def test_a_picture_from_bytes_to_answer(model: predictor.Model) -> None:
    file = BytesIO()
    picture(COLORS["bees"]).save(file, "JPEG")
    batch = predictor.decode(model, file.getvalue(), JPEG)
    assert batch.shape == (1, 3, 32, 32)
    assert batch.dtype == np.float32
    scores = predictor.predict(model, batch)
    assert scores.shape == (1, 2)
    answer = json.loads(predictor.encode(model, scores, JSON, single=True))
    assert answer["label"] == "bees"
    assert answer["probabilities"]["bees"] > 0.5
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert json.loads(predictor.encode(model, scores, JSON, single=False)) == [answer]
    assert np.array_equal(np.load(BytesIO(predictor.encode(model, scores, NPY, single=True))), scores)


def test_training_and_serving_normalize_alike() -> None:
    """Over every value of a pixel in every channel, in torchvision's terms too."""
    import torch
    from torchvision.transforms import v2

    from entrypoints.model import MEAN, STD, normalize

    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 48), np.uint8)
    pixels.reshape(3, -1)[:, :256] = np.arange(256)
    ours = predictor.normalize(pixels, MEAN, STD)
    assert np.array_equal(ours, normalize(torch.from_numpy(pixels)[None], MEAN, STD)[0].numpy())
    theirs = v2.Normalize(MEAN, STD)(torch.from_numpy(pixels).float() / 255)
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_tensors_are_taken_as_they_are(model: predictor.Model, order: str, version: tuple[int, int]) -> None:
    array = np.random.default_rng(0).normal(size=(2, 3, 40, 36)).astype(np.float32)
    batch = predictor.decode(model, saved(np.asarray(array, order=order), version), NPY)
    assert np.array_equal(batch, array)
    assert predictor.predict(model, batch).shape == (2, 2)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not a NumPy"),
        (b"\x93NUMPY", "not a NumPy"),
        (saved(np.zeros((1, 3, 32, 32))), "must be float32, not float64"),
        (saved(np.zeros((1, 3, 32, 32), np.uint8)), "must be float32, not uint8"),
        (saved(np.zeros((3, 32, 32), np.float32)), r"N x 3 x H x W.* not \(3, 32, 32\)"),
        (saved(np.zeros((1, 1, 32, 32), np.float32)), "N x 3"),
        (saved(np.zeros((0, 3, 32, 32), np.float32)), "N x 3"),
        (saved(np.zeros((1, 3, 32, 31), np.float32)), "at least 32"),
        (saved(np.full((1, 3, 32, 32), np.nan, np.float32)), "not finite"),
        (saved(np.zeros((1, 3, 32, 32), np.float32))[:-4], "its shape .* needs 12288"),
        (
            saved(np.zeros((1, 3, 32, 32), np.float32)).replace(b"(1, 3, 32, 32)", b"(9999999, 3, 32"),
            "not a NumPy",
        ),
    ],
)
def test_bad_tensors_are_explained(model: predictor.Model, body: bytes, message: str) -> None:
    with pytest.raises(predictor.InputError, match=message):
        predictor.decode(model, body, NPY)


def test_a_header_that_promises_too_much_allocates_nothing(model: predictor.Model) -> None:
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (900000000, 3, 224, 224), }"
    body = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + header.ljust(117).encode() + b"\n"
    with pytest.raises(predictor.InputError, match="holds 0 bytes"):
        predictor.decode(model, body, NPY)


def test_objects_in_a_tensor_are_refused(model: predictor.Model) -> None:
    file = BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(predictor.InputError, match="must be float32, not object"):
        predictor.decode(model, file.getvalue(), NPY)


def test_bytes_that_are_no_picture(model: predictor.Model) -> None:
    with pytest.raises(predictor.InputError, match="The body is not an image"):
        predictor.decode(model, b"text", PNG)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        predictor.load(tmp_path)
