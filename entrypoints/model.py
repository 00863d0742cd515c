"""A network: its weights from a channel, and its artifact."""

from __future__ import annotations

import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import nn
from torchvision.models import get_model

from entrypoints import image
from entrypoints.backbones import Backbone
from entrypoints.contract import MODEL_CARD, MODEL_WEIGHTS, RANDOM_WEIGHTS, WEIGHTS_SUFFIXES
from entrypoints.program import write_bytes, write_json

PACKAGE = Path(__file__).parent
# Files that containers expect at the artifact's root: file -> its place there.
ROOT_FILES = {
    "serving/deployment.py": "deployment.py",
    "serving/config.yaml": "config.yaml",
    "requirements/serving.txt": "code/requirements.txt",
}
# Modules of this package that serving/ imports.
SHARED_FILES = ("__init__.py", "contract.py", "depth.py", "image.py")
# The module that `uvicorn app:app` finds at the artifact's root.
ROOT_APP = """\
from entrypoints.serving.app import app

__all__ = ["app"]
"""


class WeightsError(ValueError):
    """A pretrained channel that cannot be used; the message is one line for its user."""


def find_weights(channel: Path) -> Path | None:
    """The pretrained channel's only weights file; None if it holds the marker RANDOM_WEIGHTS.

    Raises:
        WeightsError: neither, both, or several.
    """
    entries = sorted(channel.glob("[!.]*"))
    weights = [
        entry
        for entry in entries
        if entry.suffix.lower() in WEIGHTS_SUFFIXES and not entry.name.startswith(".")
    ]
    marked = any(entry.name == RANDOM_WEIGHTS for entry in entries)
    if len(weights) + marked != 1:
        found = ", ".join(entry.name for entry in entries) or "nothing"
        raise WeightsError(
            f"the pretrained channel {channel} must hold exactly one weights file"
            f" ({', '.join(WEIGHTS_SUFFIXES)}) or one named {RANDOM_WEIGHTS}; found {found}"
        )
    return weights[0] if weights else None


def build(backbone: Backbone, classes: int, weights: Path | None) -> nn.Module:
    """The network with a random head; the rest is from a torchvision state dict, or random too.

    Raises:
        WeightsError: the file is unreadable, is not this network's state dict, or holds NaN.
    """
    network: nn.Module = get_model(backbone.architecture, weights=None, num_classes=classes)
    if weights is not None:
        head = f"{backbone.head}."
        state = {k: v for k, v in _read_state(weights).items() if not k.startswith(head)}
        expected = {k: v for k, v in network.state_dict().items() if not k.startswith(head)}
        _compare(weights, backbone, state, expected)
        _check_finite(weights, state)
        network.load_state_dict(state, strict=False)
    return network.to(memory_format=torch.channels_last)


def normalize(pixels: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """uint8 pixels of shape N x 3 x H x W to float32 in channels_last, like `image.normalize`."""
    count, _, height, width = pixels.shape
    # Row by row, channels side by side: processors are slow on runs of only three numbers.
    shift, scale = (
        torch.from_numpy(v).to(pixels.device).repeat(width) for v in image.shift_and_scale(mean, std)
    )
    rows = pixels.permute(0, 2, 3, 1).reshape(count, height, width * 3).float()
    return rows.sub_(shift).div_(scale).view(count, height, width, 3).permute(0, 3, 1, 2)


class Normalize(nn.Module):
    """uint8 pixels of shape N x 3 x H x W to the network's input."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.mean, self.std = backbone.mean, backbone.std

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return normalize(pixels, self.mean, self.std)


def cut(backbone: Backbone, network: nn.Module, trainable: str) -> tuple[nn.Sequential, nn.Sequential]:
    """A network's frozen and trained parts, sharing its weights: scores = trained(frozen(pixels)).

    `trainable` is head, last_block or all (the frozen part is empty). Frozen layers are in eval mode: batch
    norm keeps the statistics of its weights' training.
    """
    children = {**dict(network.named_children()), "normalize": Normalize(backbone), "flatten": nn.Flatten()}
    names = ["normalize", *backbone.layers]
    first = names.index(
        {"head": backbone.head, "last_block": backbone.last_block, "all": names[0]}[trainable]
    )
    frozen, trained = (
        nn.Sequential(OrderedDict((name, children[name]) for name in part))
        for part in (names[:first], names[first:])
    )
    frozen.eval().requires_grad_(False)
    return frozen, trained


def write_artifact(
    folder: Path, network: nn.Module, model_card: Mapping[str, Any], engines: Mapping[str, bytes]
) -> None:
    """Write the unpacked model artifact, whole or not at all: weights, model.json and serving code.

    `engines` are files by name (engines.py).
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".artifact.", dir=folder) as beside:
        unfinished = Path(beside)
        for source, target in serving_files().items():
            (unfinished / target).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PACKAGE / source, unfinished / target)
        write_bytes(unfinished / "app.py", ROOT_APP.encode())
        state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
        write_bytes(unfinished / MODEL_WEIGHTS, save(state))
        write_json(unfinished / MODEL_CARD, model_card, indent=2)
        for name, data in engines.items():
            write_bytes(unfinished / name, data)
        for file in [path for path in unfinished.rglob("*") if path.is_file()]:
            finished = folder / file.relative_to(unfinished)
            finished.parent.mkdir(parents=True, exist_ok=True)
            file.replace(finished)


def serving_files() -> dict[str, str]:
    """The serving code: files in this package -> places in the artifact.

    Includes wheels if the bundle has them (setting package_source); pip finds them beside
    code/requirements.txt.
    """
    serving = sorted((PACKAGE / "serving").glob("[!.]*"))
    names = [f"serving/{path.name}" for path in serving if path.suffix in (".py", ".html")]
    wheels = sorted((PACKAGE / "requirements" / "wheels").glob("*.whl"))
    return (
        {name: f"entrypoints/{name}" for name in (*SHARED_FILES, *names)}
        | {f"requirements/wheels/{path.name}": f"code/wheels/{path.name}" for path in wheels}
        | ROOT_FILES
    )


def _read_state(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:  # the machine's fault, not the file's
        raise
    except Exception as error:
        # Pickle, zip and safetensors readers each raise their own errors, without the file's name.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise WeightsError(f"{path} cannot be read as weights: {reason}") from error
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise WeightsError(f"{path} is not a state dict; save it with torch.save(model.state_dict(), ...)")
    return state


def _compare(
    path: Path, backbone: Backbone, state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]
) -> None:
    for what, keys in (
        ("lacks", expected.keys() - state.keys()),
        ("has besides", state.keys() - expected.keys()),
        (
            "has in another shape",
            {k for k in expected.keys() & state.keys() if state[k].shape != expected[k].shape},
        ),
    ):
        if keys:
            some = ", ".join(sorted(keys)[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
            raise WeightsError(f"{path} is not a {backbone.name} of torchvision: it {what} {some}")


def _check_finite(path: Path, state: Mapping[str, torch.Tensor]) -> None:
    """Refuse weights with which a training would fail after its first epoch without saying why."""
    if broken := sorted(name for name, tensor in state.items() if not torch.isfinite(tensor).all()):
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise WeightsError(f"{path} has weights that are NaN or infinite, in {broken[0]}{more}; give others")
