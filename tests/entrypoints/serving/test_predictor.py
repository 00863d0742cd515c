from __future__ import annotations

import base64
import json
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from entrypoints.contract import ANY_IMAGE, ENGINES, EXPLAINED_JSON, JPEG, JSON, KNOWN, NPY, PNG, WEBP
from entrypoints.serving import predictor
from tests.entrypoints.conftest import ROOT
from tests.entrypoints.pictures import COLORS, picture


@pytest.fixture(scope="module")
def model(artifact: Path) -> predictor.Model:
    return predictor.load(artifact)


def saved(array: object, version: tuple[int, int] | None = None) -> bytes:
    file = BytesIO()
    np.lib.format.write_array(file, np.asarray(array), version)
    return file.getvalue()


def encoded(color: str = "bees", image_format: str = "PNG") -> bytes:
    file = BytesIO()
    picture(COLORS[color]).save(file, image_format)
    return file.getvalue()


def in_json(key: str, *pictures: bytes) -> bytes:
    texts = [base64.b64encode(content).decode() for content in pictures]
    return json.dumps({key: texts[0] if key == "image" else texts}).encode()


def test_a_picture_from_bytes_to_answer(model: predictor.Model) -> None:
    file = BytesIO()
    picture(COLORS["bees"]).save(file, "JPEG")
    batch = predictor.decode(model, file.getvalue(), JPEG)
    assert batch.shape == (1, 3, 32, 32)
    assert batch.dtype == np.float32
    scores = predictor.predict(model, batch)
    assert scores.shape == (1, 2)
    [answer] = predictor.recognize(model, batch)
    assert answer["label"] == "bees"
    assert answer["probabilities"]["bees"] > 0.5
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert json.loads(predictor.answer(model, file.getvalue(), JPEG, JSON)) == answer
    assert np.array_equal(np.load(BytesIO(predictor.answer(model, file.getvalue(), JPEG, NPY))), scores)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_tensors_are_taken_as_they_are(model: predictor.Model, order: str, version: tuple[int, int]) -> None:
    array = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    batch = predictor.decode(model, saved(np.asarray(array, order=order), version), NPY)
    assert np.array_equal(batch, array)
    assert predictor.predict(model, batch).shape == (2, 2)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not a NumPy"),
        (b"\x93NUMPY", "not a NumPy"),
        (saved(np.zeros((1, 3, 32, 32), np.int64)), "must be float32, not int64"),
        (saved(np.zeros((1, 3, 32, 32), np.uint8)), "must be float32, not uint8; pixels are sent as a pict"),
        (saved(np.zeros((32, 32), np.float32)), r"must be N x 3 x 32 x 32, not \(32, 32\)"),
        (saved(np.zeros((1, 32, 32, 3), np.float32)), r"not \(1, 32, 32, 3\) \(channels come before"),
        (saved(np.zeros((1, 1, 32, 32), np.float32)), "N x 3"),
        (saved(np.zeros((0, 3, 32, 32), np.float32)), "N x 3"),
        (saved(np.zeros((1, 3, 32, 31), np.float32)), "have 32 x 31 pixels; this model's have 32 x 32"),
        (saved(np.full((1, 3, 32, 32), 200.0)), r"pixels from 200 to 200; normalise them"),
        (saved(np.full((1, 3, 32, 32), 1e300)), "not finite"),
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


def headed(header: str) -> bytes:
    """A .npy file with only a header."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()


def test_a_header_that_promises_too_much_allocates_nothing(model: predictor.Model) -> None:
    body = headed("{'descr': '<f4', 'fortran_order': False, 'shape': (900000000, 3, 32, 32), }")
    with pytest.raises(predictor.InputError, match="holds 0 bytes"):
        predictor.decode(model, body, NPY)


@pytest.mark.parametrize("descr", ["()", "('<f4',)", "[('', ())]", "('<f4', (-1,))", "None", "{}", "'O'"])
def test_odd_types_in_a_header_are_explained(model: predictor.Model, descr: str) -> None:
    body = headed(f"{{'descr': {descr}, 'fortran_order': False, 'shape': (1, 3, 32, 32), }}")
    with pytest.raises(predictor.InputError, match=r"not a NumPy|must be float32"):
        predictor.decode(model, body, NPY)


@pytest.mark.parametrize(
    "header",
    [
        # A product with more digits than Python prints, and nesting that exhausts the parser's stack.
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'9' * 2500}, 3, {'9' * 2500}, 32), }}",
        "~" * 9000 + "1",
        "(" * 9000,
        "1" + "+1" * 3000,
    ],
)
def test_long_headers_are_not_read(model: predictor.Model, header: str) -> None:
    with pytest.raises(predictor.InputError, match="not a NumPy"):
        predictor.decode(model, headed(header), NPY)


def test_a_shape_of_true_is_a_shape_of_1(model: predictor.Model) -> None:
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 3, 32, 32), }"
    assert predictor.decode(model, headed(header) + bytes(12288), NPY).shape == (1, 3, 32, 32)


def test_objects_in_a_tensor_are_refused(model: predictor.Model) -> None:
    file = BytesIO()
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(predictor.InputError, match="must be float32, not object"):
        predictor.decode(model, file.getvalue(), NPY)


def test_bytes_that_are_not_a_picture(model: predictor.Model) -> None:
    with pytest.raises(predictor.InputError, match="The body is not an image"):
        predictor.decode(model, b"text", PNG)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("content_type", [JPEG, PNG, WEBP, ANY_IMAGE])
def test_the_bytes_of_a_picture_decide_what_it_is(
    model: predictor.Model, image_format: str, content_type: str
) -> None:
    scores = predictor.predict(model, predictor.decode(model, encoded("ants", image_format), content_type))
    assert predictor.describe(model, scores)[0]["label"] == "ants"


def test_pictures_in_json(model: predictor.Model) -> None:
    pictures = [encoded("ants"), encoded("bees"), encoded("bees", "JPEG")]
    batch = predictor.decode(model, in_json("images", *pictures), JSON)
    alone = [predictor.decode(model, content, ANY_IMAGE) for content in pictures]
    assert np.array_equal(batch, np.concatenate(alone))
    answers = json.loads(predictor.answer(model, in_json("images", *pictures), JSON, JSON))
    assert [answer["label"] for answer in answers] == ["ants", "bees", "bees"]


def test_one_picture_is_answered_with_one_object(model: predictor.Model) -> None:
    plain = json.loads(predictor.answer(model, encoded(), PNG, JSON))
    assert plain["label"] == "bees"
    assert json.loads(predictor.answer(model, in_json("image", encoded()), JSON, JSON)) == plain
    assert json.loads(predictor.answer(model, in_json("images", encoded()), JSON, JSON)) == [plain]
    tensor = saved(predictor.decode(model, encoded(), PNG))
    assert json.loads(predictor.answer(model, tensor, NPY, JSON)) == [plain]


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b"", "invalid_json", "not JSON"),
        (b"\xff\xfe\xfd", "invalid_json", "not JSON"),
        (b"[" * 100_000, "invalid_json", "not JSON"),
        (b'{"image": ' + b"9" * 10_000 + b"}", "invalid_json", "not JSON"),
        (b"[]", "invalid_json", 'must be {"image": BASE64}'),
        (b'"text"', "invalid_json", "must be"),
        (b"{}", "invalid_json", "must be"),
        (b'{"image": 7}', "invalid_json", "must be"),
        (b'{"images": []}', "invalid_json", "must be"),
        (b'{"images": "aGk="}', "invalid_json", "must be"),
        (b'{"image": "aGk=", "images": ["aGk="]}', "invalid_json", "must be"),
        (b'{"image": "aGk=", "model": "x"}', "invalid_json", "must be"),
        (b'{"images": ["aGk=", 7]}', "invalid_json", "must be"),
        (b'{"image": "a"}', "invalid_json", "The image is not base64"),
        (b'{"images": ["aGk=", "\xc3\xa4"]}', "invalid_json", "Image 2 of 2 is not base64"),
        (b'{"image": "aGk=\\n"}', "invalid_image", "The image is not an image."),
        (b'{"image": ["aGk="]}', "invalid_json", "must be"),
        (b'{"instances": {}}', "invalid_json", "must be"),
        (b'{"instances": [{"b64": 7}]}', "invalid_json", "must be"),
        (b'{"inputs": "aGk="}', "invalid_json", "must be"),
        (b'{"image": "https://example.com/a.jpg"}', "invalid_json", "is an address, which is not fetched"),
        (b'{"image": "data:image/svg+xml,%3Csvg"}', "invalid_json", "a data URL without base64"),
        (b"[" + b"[]," * 200_000 + b"[]]", "invalid_json", "more than 192,000 lists"),
        (b"[[[1, 2], [3]], [[1, 2], [3, 4]], [[1], [2]]]", "invalid_tensor", "have 2 x 2 pixels"),
        (
            json.dumps([[[0.0] * 32] * 32, [[0.0] * 32] * 31, [[0.0] * 32] * 32]).encode(),
            "invalid_tensor",
            "diff",
        ),
        (json.dumps([[["0"] + [0.0] * 31] * 32] * 3).encode(), "invalid_json", "must be"),
        (json.dumps([[[0.0] * 31 + [{}]] * 32] * 3).encode(), "too_many_images", "more than 64"),
        (json.dumps([[[10**400] * 32] * 32] * 3).encode(), "invalid_tensor", "more than numbers"),
        (json.dumps([[[float("nan")] * 32] * 32] * 3).encode(), "invalid_tensor", "not finite"),
        (json.dumps([[[1e300] * 32] * 32] * 3).encode(), "invalid_tensor", "not finite"),
        (json.dumps([[[255] * 32] * 32] * 3).encode(), "invalid_tensor", "pixels from 255 to 255"),
        (json.dumps([[[1] * 3] * 32] * 32).encode(), "invalid_tensor", "channels come before height"),
        (b'{"image": ""}', "invalid_image", "The image is empty."),
        (b'{"image": "aGk="}', "invalid_image", "The image is not an image."),
        (in_json("images", encoded(), b"no picture"), "invalid_image", "Image 2 of 2 is not an image."),
        (in_json("images", *[b"x"] * 65), "too_many_images", "more than 64 images"),
        (b'{"images": [' + b"{}," * 1_000_000 + b"{}]}", "too_many_images", "more than 64 images"),
    ],
)
def test_bad_json_is_explained(model: predictor.Model, body: bytes, code: str, message: str) -> None:
    with pytest.raises(predictor.InputError) as raised:
        predictor.decode(model, body, JSON)
    assert raised.value.code == code
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_error_can_cross_processes() -> None:
    error = pickle.loads(pickle.dumps(predictor.InputError("invalid_json", "No.")))
    assert (error.code, str(error)) == ("invalid_json", "No.")


def test_scores_that_are_no_numbers_are_refused(artifact: Path) -> None:
    model = predictor.load(artifact, "fp32")
    huge = predictor.decode(model, saved(np.full((1, 3, 32, 32), 3e38, np.float32)), NPY)
    with pytest.raises(predictor.InputError, match="values are too large"):
        predictor.predict(model, huge)


def test_large_batches_give_the_scores_of_small_ones(model: predictor.Model) -> None:
    inputs = np.random.default_rng(0).normal(size=(2 * predictor.BATCH + 1, 3, 32, 32)).astype(np.float32)
    alone = np.concatenate([predictor.predict(model, row[None]) for row in inputs])
    np.testing.assert_allclose(predictor.predict(model, inputs), alone, atol=1e-5)


def test_probabilities_are_the_softmax_of_scores(model: predictor.Model) -> None:
    plain = replace(model, temperature=1.0)
    [even, sure] = predictor.describe(plain, np.array([[1, 1], [-500, 500]], np.float32))
    assert even == {"label": "ants", "probabilities": {"ants": 0.5, "bees": 0.5}}
    assert sure == {"label": "bees", "probabilities": {"ants": 0.0, "bees": 1.0}}


def test_the_model_s_temperature_moves_probabilities_and_no_label_and_no_score(artifact: Path) -> None:
    model = predictor.load(artifact)
    assert model.temperature == json.loads((artifact / "model.json").read_text())["temperature"]
    hot = replace(model, temperature=4.0)
    [answer] = predictor.describe(hot, np.array([[1, 5]], np.float32))
    assert answer["label"] == "bees"
    assert answer["probabilities"]["bees"] == pytest.approx(1 / (1 + np.exp(-1)))
    [cold], [warm] = (np.load(BytesIO(predictor.answer(each, encoded(), PNG, NPY))) for each in (model, hot))
    assert np.array_equal(cold, warm)


def test_a_picture_unlike_the_training_s_is_unknown(model: predictor.Model) -> None:
    alike = []
    for seed in range(1000, 1020):
        file = BytesIO()
        picture(COLORS["bees"], seed=seed).save(file, "PNG")
        alike.append(json.loads(predictor.answer(model, file.getvalue(), PNG, JSON)))
    assert all(said["known"] is (said["score"] <= 1) for said in alike)
    assert sum(said["known"] for said in alike) > 12
    file = BytesIO()
    Image.effect_mandelbrot((60, 60), (-2, -1.5, 1, 1.5), 50).convert("RGB").save(file, "PNG")
    other = json.loads(predictor.answer(model, file.getvalue(), PNG, JSON))
    assert other["known"] is False and other["score"] > 1
    assert list(other) == ["label", "probabilities", "known", "score"]


def test_scores_and_distances_are_those_of_the_answers(model: predictor.Model) -> None:
    batch = np.random.default_rng(0).normal(size=(2, 3, 96, 64)).astype(np.float32)
    scores, distances = predictor.measure(model, batch)
    assert np.array_equal(scores, predictor.predict(model, batch))
    assert distances is not None
    assert distances.tolist() == [said["score"] for said in predictor.recognize(model, batch)]


def test_a_map_is_there_when_it_is_asked_for(model: predictor.Model) -> None:
    batch = np.random.default_rng(0).normal(size=(2, 3, 96, 96)).astype(np.float32)
    model = replace(model, image_size=96, resize=111)
    plain = predictor.recognize(model, batch)
    explained = json.loads(predictor.answer(model, saved(batch), NPY, EXPLAINED_JSON))
    for said, without, scores in zip(explained, plain, predictor.predict(model, batch), strict=True):
        rows = np.array(said.pop("map"))
        assert rows.shape == (3, 3)
        assert rows.mean() == pytest.approx(scores.max() - scores.mean(), abs=0.3)  # int8 rounds the average
        assert said.pop("map_side") == 96 / 111
        assert said == without


def test_an_artifact_of_an_earlier_version_has_neither_temperature_nor_known(
    artifact: Path, tmp_path: Path
) -> None:
    copied = shutil.copytree(artifact, tmp_path / "artifact")
    card = json.loads((copied / "model.json").read_text())
    del card["temperature"], card["known"]
    (copied / "model.json").write_text(json.dumps(card))
    model = predictor.load(copied)
    assert model.temperature == 1.0
    answer = json.loads(predictor.answer(model, encoded(), PNG, JSON))
    assert (answer["label"], list(answer)) == ("bees", ["label", "probabilities"])
    scores, distances = predictor.measure(model, predictor.decode(model, encoded(), PNG))
    assert (scores.argmax(), distances) == (1, None)


@pytest.mark.parametrize(
    ("vnni", "reduce_range", "engine"),
    [(True, False, "int8"), (False, False, "fp32"), (False, True, "int8"), (True, True, "int8")],
)
def test_the_engine_fits_the_processor(
    artifact: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    vnni: bool,
    reduce_range: bool,
    engine: str,
) -> None:
    copied = tmp_path / "artifact"
    shutil.copytree(artifact, copied)
    card = json.loads((copied / "model.json").read_text())
    card["engines"]["int8"]["reduce_range"] = reduce_range
    (copied / "model.json").write_text(json.dumps(card))
    monkeypatch.setattr(predictor, "has_vnni", lambda: vnni)
    assert predictor.load(copied).engine == engine
    assert predictor.load(copied, "fp32").engine == "fp32"
    (copied / "model.int8.onnx").unlink()
    assert predictor.engines(copied) == ("fp32",)
    assert predictor.load(copied).engine == "fp32"
    with pytest.raises(FileNotFoundError, match="holds no int8 engine, only fp32"):
        predictor.load(copied, "int8")


@pytest.mark.parametrize("engine", ["fp32", "int8"])
@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_refused(
    artifact: Path, tmp_path: Path, engine: str, raw: bool, value: float
) -> None:
    copied = shutil.copytree(artifact, tmp_path / "artifact")
    path = copied / ENGINES[engine]
    model = onnx.load(path)
    floats = [tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    broken = floats[-1]
    array = onnx.numpy_helper.to_array(broken).copy()
    array.flat[-1] = value
    if raw:
        broken.CopyFrom(onnx.numpy_helper.from_array(array, broken.name))
    else:
        broken.CopyFrom(onnx.helper.make_tensor(broken.name, broken.data_type, array.shape, array.ravel()))
    onnx.save(model, path)
    with pytest.raises(ValueError, match=f"^{path.name} has weights that are NaN or infinite") as caught:
        predictor.load(copied, engine)
    assert broken.name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_beside_the_weights_are_numbers(artifact: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(artifact, tmp_path / "artifact")
    card = json.loads((copied / "model.json").read_text())
    (copied / "model.json").write_text(json.dumps(card | {"temperature": np.nan}))
    with pytest.raises(ValueError, match=r"^model\.json holds a number that is NaN or infinite"):
        predictor.load(copied)
    (copied / "model.json").write_text(json.dumps(card))
    with np.load(copied / KNOWN) as arrays:
        means = arrays["means"].copy()
        means[0, 0] = np.inf
        np.savez(copied / KNOWN, whiten=arrays["whiten"], means=means)
    with pytest.raises(ValueError, match="holds numbers that are NaN or infinite"):
        predictor.load(copied)


def test_serving_needs_no_torch(artifact: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from entrypoints.serving import app, predictor;"
        "predictor.load(Path(sys.argv[1])); print('torch' in sys.modules)"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, artifact]
    assert (
        subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout == "False\n"
    )


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        predictor.load(tmp_path)
