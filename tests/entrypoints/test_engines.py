from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file

from entrypoints import engines
from entrypoints.calibration import LIMITS
from entrypoints.contract import MODEL_CARD, PNG
from entrypoints.dataset import read_split
from entrypoints.model import build
from entrypoints.serving import predictor
from tests.entrypoints.networks import RESNET18
from tests.entrypoints.pictures import COLORS, write_classes

CARD = {
    "classes": list(COLORS),
    "preprocessing": {"image_size": 32, "resize": 37, "mean": list(RESNET18.mean), "std": list(RESNET18.std)},
}


def predictions(artifact: Path, engine: str, files: list[Path]) -> predictor.Scores:
    model = predictor.load(artifact, engine)
    return np.concatenate(
        [predictor.predict(model, predictor.decode(model, file.read_bytes(), PNG)) for file in files]
    )


def test_engines_answer_alike_and_as_the_network_for_every_picture(artifact: Path, tmp_path: Path) -> None:
    _, pictures = read_split(write_classes(tmp_path / "unseen", 25))
    files, labels = [file for file, _ in pictures], [label for _, label in pictures]
    network = build(RESNET18, len(COLORS), None).eval()
    network.load_state_dict(load_file(artifact / "model.safetensors"))
    batch = np.concatenate(list(engines.inputs(files, CARD)))
    with torch.inference_mode():
        expected = network(torch.from_numpy(batch)).numpy()
    fp32, int8 = (predictions(artifact, name, files) for name in ("fp32", "int8"))
    np.testing.assert_allclose(fp32, expected, engines.TOLERANCE, engines.TOLERANCE)
    assert fp32.argmax(axis=1).tolist() == int8.argmax(axis=1).tolist() == labels


def test_the_card_says_how_engines_were_made(artifact: Path) -> None:
    card = json.loads((artifact / MODEL_CARD).read_text())
    assert LIMITS[0] < card["temperature"] < LIMITS[1]
    assert (card["known"]["share"], card["known"]["validation_pictures"]) == (0.95, 16)
    said = card["engines"]
    assert said["fp32"] == {"file": "model.onnx", "accuracy": 1.0, "pictures": 16}
    assert said["int8"] == {
        "file": "model.int8.onnx",
        "accuracy": 1.0,
        "agreement": 1.0,
        "pictures": 16,
        "calibration_pictures": 16,
        "reduce_range": not predictor.has_vnni(),
    }


@pytest.mark.parametrize("engine", ["fp32", "int8"])
def test_the_maps_mean_is_the_score_and_the_features_are_what_the_head_reads(
    artifact: Path, engine: str
) -> None:
    head = load_file(artifact / "model.safetensors")
    session = predictor.load(artifact, engine).session
    batch = np.random.default_rng(0).normal(size=(2, 3, 96, 64)).astype(np.float32)
    scores, features, maps = predictor.run(session, ["scores", "features", "maps"], batch)
    assert (features.shape, maps.shape) == ((2, 512), (2, 3, 2, 2))
    again = features @ head["fc.weight"].numpy().T + head["fc.bias"].numpy()
    tolerance = 1e-4 if engine == "fp32" else 0.3  # int8 rounds the features, and the average of the places
    np.testing.assert_allclose(again, scores, atol=tolerance)
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), scores, atol=tolerance)


def test_layers_with_equal_biases_are_in_int8_too(tmp_path: Path) -> None:
    """Those of an untrained network are all 0."""
    _, pictures = read_split(write_classes(tmp_path / "pictures", 4))
    fp32, int8 = tmp_path / "fp32.onnx", tmp_path / "int8.onnx"
    engines.export(RESNET18, build(RESNET18, 2, None).eval(), 32, fp32)
    engines.quantize(fp32, int8, engines.inputs([file for file, _ in pictures], CARD), True)
    graph = onnx.load(int8).graph
    kinds = {constant.name: constant.data_type for constant in graph.initializer}
    sources = {output: node for node in graph.node for output in node.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 20
    for node in convolutions:
        _, weight, bias = (sources[name] for name in node.input)
        assert kinds[weight.input[0]] == onnx.TensorProto.INT8
        assert kinds[bias.input[0]] == onnx.TensorProto.INT32


@pytest.fixture
def hair_splitter(tmp_path: Path) -> tuple[torch.nn.Module, list[tuple[Path, int]]]:
    """Pictures of one color, and a network that distinguishes them by the last digits of its features."""
    torch.manual_seed(0)
    _, pictures = read_split(write_classes(tmp_path, 16, dict.fromkeys(COLORS, COLORS["ants"])))
    network = build(RESNET18, 2, None).eval()
    body = torch.nn.Sequential(*list(network.children())[:-1])
    with torch.no_grad():
        [batch] = engines.inputs([file for file, _ in pictures[:16]], CARD)
        features = body(torch.from_numpy(batch)).flatten(1)
        centre = features.mean(dim=0)
        # The direction in which the features differ least.
        direction = torch.linalg.svd(features - centre, full_matrices=False).Vh[-2]
        network.fc.weight.copy_(torch.stack([direction, -direction]))
        network.fc.bias.copy_(torch.stack([-direction @ centre, direction @ centre]))
    return network, pictures


def test_int8_that_answers_otherwise_is_left_out(
    hair_splitter: tuple[torch.nn.Module, list[tuple[Path, int]]], capsys: pytest.CaptureFixture[str]
) -> None:
    network, pictures = hair_splitter
    files, card = engines.make(RESNET18, network, CARD, pictures, pictures, 0.95)
    said = card["engines"]
    assert list(files) == ["model.onnx", "known.npz"]
    assert list(said["int8"]) == ["left_out"]
    assert "of 32 validation pictures; at least 99.5% are needed" in said["int8"]["left_out"]
    assert "engines: fp32 44.7 MB; int8 agrees on " in capsys.readouterr().out


def test_an_engine_that_is_not_the_network_stops_the_training(
    artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = predictor.load(artifact, "fp32").session
    batch = np.ones((1, 3, 32, 32), np.float32)
    with pytest.raises(SystemExit) as stopped:
        engines.compare(build(RESNET18, len(COLORS), None).eval(), session, batch)
    assert stopped.value.code == 1
    assert "scores differ from torch's by" in capsys.readouterr().err
