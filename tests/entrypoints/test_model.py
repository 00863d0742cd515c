from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import resnet18, resnet34
from torchvision.transforms import v2

from entrypoints import image
from entrypoints import model as model_module
from entrypoints.model import WeightsError, build, cut, find_weights, normalize, serving_files
from tests.entrypoints.networks import RESNET18


def test_wheels_of_the_bundle_go_beside_the_requirements_of_the_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not any(target.startswith("code/wheels/") for target in serving_files().values())
    (tmp_path / "serving").mkdir()
    (tmp_path / "requirements" / "wheels").mkdir(parents=True)
    (tmp_path / "requirements" / "wheels" / "some-1.0-py3-none-any.whl").touch()
    monkeypatch.setattr(model_module, "PACKAGE", tmp_path)
    files = serving_files()
    assert files["requirements/wheels/some-1.0-py3-none-any.whl"] == "code/wheels/some-1.0-py3-none-any.whl"
    assert files["requirements/serving.txt"] == "code/requirements.txt"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict as torchvision publishes them: 1000 classes."""
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(resnet18(weights=None).state_dict(), path)
    return path


def test_the_marker_means_random_weights(tmp_path: Path) -> None:
    (tmp_path / "RANDOM_WEIGHTS").touch()
    assert find_weights(tmp_path) is None


@pytest.mark.parametrize("name", ["resnet18.pth", "resnet18.pt", "resnet18.safetensors", "Resnet.PTH"])
def test_one_weights_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    (tmp_path / "README.md").touch()
    assert find_weights(tmp_path) == tmp_path / name


@pytest.mark.parametrize(
    "names", [[], ["README.md"], ["a.pth", "b.pth"], ["a.pth", "RANDOM_WEIGHTS"], ["._a.pth"]]
)
def test_anything_else_is_refused(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(WeightsError, match="exactly one weights file"):
        find_weights(tmp_path)
    with pytest.raises(WeightsError, match="found nothing"):
        find_weights(tmp_path / "missing")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_all_but_the_head_is_loaded(tmp_path: Path, weights: Path, suffix: str) -> None:
    state = torch.load(weights, weights_only=True)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    network = build(RESNET18, 3, path)
    assert torch.equal(network.state_dict()["layer4.1.conv2.weight"], state["layer4.1.conv2.weight"])
    assert network.state_dict()["fc.weight"].shape == (3, 512)


def test_other_keys_are_named(tmp_path: Path, weights: Path) -> None:
    state = torch.load(weights, weights_only=True)
    for change, message in (
        ({"conv1.weight": None}, "lacks conv1.weight"),
        ({"layer5.weight": torch.zeros(1)}, "has besides layer5.weight"),
        ({"conv1.weight": torch.zeros(64, 1, 7, 7)}, "has in another shape conv1.weight"),
    ):
        changed = {key: value for key, value in {**state, **change}.items() if value is not None}
        torch.save(changed, tmp_path / "other.pth")
        with pytest.raises(WeightsError, match=message):
            build(RESNET18, 2, tmp_path / "other.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, weights: Path, value: float) -> None:
    state = torch.load(weights, weights_only=True)
    state["layer1.0.conv1.weight"][0, 0, 0, 0] = state["bn1.bias"][3] = value
    torch.save(state, tmp_path / "broken.pth")
    with pytest.raises(WeightsError, match=r"NaN or infinite, in bn1\.bias and 1 more; give others$"):
        build(RESNET18, 2, tmp_path / "broken.pth")


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    torch.save(resnet34(weights=None).state_dict(), tmp_path / "resnet34.pth")
    with pytest.raises(WeightsError, match=r"not a ResNet18 .* has besides layer1\.2\.bn1\.bias, .* more"):
        build(RESNET18, 2, tmp_path / "resnet34.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_truncated_weights_are_refused(tmp_path: Path, weights: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(torch.load(weights, weights_only=True), path)
    else:
        shutil.copy(weights, path)
    os.truncate(path, path.stat().st_size - 1000)
    with pytest.raises(WeightsError, match=rf"weights{suffix} cannot be read as weights: .+"):
        build(RESNET18, 2, path)


def test_a_pickle_with_code_is_refused(tmp_path: Path) -> None:
    torch.save(resnet18(weights=None), tmp_path / "module.pth")
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        build(RESNET18, 2, tmp_path / "module.pth")


def test_an_error_without_a_message_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise EOFError

    monkeypatch.setattr("entrypoints.model.torch.load", fail)
    with pytest.raises(WeightsError, match="cannot be read as weights: EOFError"):
        build(RESNET18, 2, tmp_path / "weights.pth")


def test_a_file_that_is_not_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pth").write_text("weights")
    with pytest.raises(WeightsError, match="cannot be read as weights"):
        build(RESNET18, 2, tmp_path / "text.pth")
    torch.save({"epoch": 3, "model": {}}, tmp_path / "checkpoint.pth")
    torch.save({1: torch.zeros(2)}, tmp_path / "numbered.pth")
    for name in ("checkpoint.pth", "numbered.pth"):
        with pytest.raises(WeightsError, match="is not a state dict"):
            build(RESNET18, 2, tmp_path / name)


@pytest.mark.parametrize(
    ("trainable", "first"),
    [("head", "fc.weight"), ("last_block", "layer4.0.conv1.weight"), ("all", "conv1.weight")],
)
def test_a_cut_network_gives_the_scores_of_the_whole(trainable: str, first: str) -> None:
    network = build(RESNET18, 3, None).eval()
    pixels = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    expected = network(normalize(pixels, RESNET18.mean, RESNET18.std))
    frozen, trained = cut(RESNET18, network, trainable)
    torch.testing.assert_close(trained(frozen(pixels)), expected)
    learning = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert learning[0] == first
    assert learning == [name for name, _ in trained.named_parameters()]


def test_frozen_layers_keep_their_statistics() -> None:
    network = build(RESNET18, 3, None)
    frozen, trained = cut(RESNET18, network, "last_block")
    trained.train()
    before = {name: value.clone() for name, value in network.named_buffers()}
    trained(frozen(torch.randint(256, (4, 3, 64, 64), dtype=torch.uint8)))
    changed = {name for name, value in network.named_buffers() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("layer4.") for name in changed)


def test_training_and_serving_normalize_alike() -> None:
    """For all values of a pixel in all channels; also compared with torchvision."""
    mean, std = RESNET18.mean, RESNET18.std
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 48), np.uint8)
    pixels.reshape(3, -1)[:, :256] = np.arange(256)
    ours = image.normalize(pixels, mean, std)
    assert np.array_equal(ours, normalize(torch.from_numpy(pixels)[None], mean, std)[0].numpy())
    theirs = v2.Normalize(mean, std)(torch.from_numpy(pixels).float() / 255)
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5)
