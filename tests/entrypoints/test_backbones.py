"""Another network needs one row: it can be trained, made into engines and served."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torchvision.models import get_model, get_model_weights

from entrypoints import engines
from entrypoints.backbones import BACKBONES, Backbone
from entrypoints.contract import BACKBONE, ENGINES, NPY
from entrypoints.dataset import read_split
from entrypoints.model import build
from entrypoints.serving import predictor
from entrypoints.train import main
from tests.entrypoints.networks import RESNET34
from tests.entrypoints.serving.servers import encoded, served

SMALL = {"epochs": 2, "batch_size": 4, "image_size": 32, "views": 1}


@pytest.mark.parametrize("row", BACKBONES.values(), ids=BACKBONES)
def test_a_row_says_what_torchvision_says(row: Backbone) -> None:
    children = [name for name, _ in get_model(row.architecture, weights=None).named_children()]
    assert [name for name in row.layers if name != "flatten"] == children
    assert row.last_block in row.layers
    weights = get_model_weights(row.architecture).IMAGENET1K_V1
    assert row.weights_url == weights.url
    assert row.weights_url.endswith(f"-{row.weights_sha256}.pth")
    preset = weights.transforms()
    assert (list(row.mean), list(row.std)) == (preset.mean, preset.std)


def test_the_network_of_the_contract_is_a_row() -> None:
    assert BACKBONES[BACKBONE].name == BACKBONE


@pytest.fixture
def second_row(job: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Adds ResNet34, with its weights in the job's channel."""
    monkeypatch.setitem(BACKBONES, RESNET34.name, RESNET34)
    torch.manual_seed(0)
    state: dict[str, torch.Tensor] = build(RESNET34, 1000, None).state_dict()
    (job / "input/pretrained/RANDOM_WEIGHTS").unlink()
    torch.save(state, job / "input/pretrained/resnet34.pth")
    return state


@pytest.mark.usefixtures("alone")
def test_a_second_row_is_trained_exported_and_served(
    job: Path, second_row: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    main([f"--{name}={value}" for name, value in {"backbone": "ResNet34", **SMALL}.items()])
    assert "last_block trains" in capsys.readouterr().out
    model = job / "model"
    card = json.loads((model / "model.json").read_text())
    assert (card["architecture"], card["weights"]) == ("resnet34", "resnet34.pth")
    state = load_file(model / "model.safetensors")
    assert state.keys() == second_row.keys()
    changed = {name for name, value in state.items() if not torch.equal(value, second_row[name])}
    assert changed == {name for name in state if name.startswith(("layer4.", "fc."))}

    network = build(RESNET34, 2, None).eval()
    network.load_state_dict(state)
    files = [file for file, _ in read_split(job / "input/validation")[1]]
    [batch] = engines.inputs(files, card)
    with torch.inference_mode():
        expected = network(torch.from_numpy(batch)).numpy()
    scores = predictor.predict(predictor.load(model, "fp32"), batch)
    np.testing.assert_allclose(scores, expected, engines.TOLERANCE, engines.TOLERANCE)

    (model / ENGINES["int8"]).unlink(missing_ok=True)
    body = io.BytesIO()
    np.save(body, batch)
    with served(model, job / "served") as (_, client):
        answer = client.post("/invocations", content=encoded(), headers={"content-type": "image/jpeg"})
        assert answer.json()["probabilities"].keys() == {"ants", "bees"}
        answer = client.post(
            "/invocations", content=body.getvalue(), headers={"content-type": NPY, "accept": NPY}
        )
        np.testing.assert_allclose(
            np.load(io.BytesIO(answer.content)), expected, engines.TOLERANCE, engines.TOLERANCE
        )


def test_a_network_without_a_row_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--backbone", "ResNet34"])
    assert stopped.value.code == 2
    assert "backbone: must be ResNet18, not ResNet34" in capsys.readouterr().err
