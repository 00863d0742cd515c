"""Small real pictures, a small real artifact, and programs run as programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from entrypoints.backbones import BACKBONES
from entrypoints.checkpoint import CONFIG_VARIABLE
from entrypoints.dataset import read_split
from entrypoints.engines import make
from entrypoints.model import build, write_artifact
from tests import forked
from tests.entrypoints.networks import RESNET18, TINY, tiny_network
from tests.entrypoints.pictures import COLORS, write_classes

ROOT = Path(__file__).parents[2]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two classes with six pictures each."""
    return write_classes(tmp_path / "dataset", 6)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a program of the entry points, as `python -m`, with one thread."""

    def call(program: str, *arguments: object, **environ: object) -> subprocess.CompletedProcess[str]:
        return forked.run(
            ["-m", f"entrypoints.{program}", *map(str, arguments)],
            tmp_path,
            {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | stringify(environ),
            timeout_s=120,
        )

    return call


def stringify(values: Mapping[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items()}


def run_toolkit(
    job: Path,
    hyperparameters: Mapping[str, object],
    environ: Mapping[str, object] | None = None,
    **config: Any,
) -> subprocess.CompletedProcess[str]:
    """Run the training program through the training toolkit, as a job whose /opt/ml is the folder `job`.

    The channels are already in job/input/data; `config` are additional files of input/config.
    """
    (job / "output").mkdir()
    requirements = [ROOT / "entrypoints/requirements" / name for name in ("train.txt", "debugger.txt")]
    (job / "requirements.txt").write_text("".join(path.read_text() for path in requirements))
    with tarfile.open(job / "sourcedir.tar.gz", "w:gz") as tar:
        tar.add(ROOT / "entrypoints", "entrypoints", filter=lambda m: None if "__pycache__" in m.name else m)
        tar.add(job / "requirements.txt", "requirements.txt")
    channel = {
        "TrainingInputMode": "File",
        "S3DistributionType": "FullyReplicated",
        "RecordWrapperType": "None",
    }
    program = {
        "sagemaker_program": "entrypoints/train.py",
        "sagemaker_submit_directory": job / "sourcedir.tar.gz",
    }
    config |= {
        "hyperparameters": stringify({**program, **hyperparameters}),
        # The toolkit looks every host up in DNS.
        "resourceconfig": {
            "current_host": "localhost",
            "hosts": ["localhost"],
            "network_interface_name": "lo",
        },
        "inputdataconfig": dict.fromkeys(("train", "validation", "pretrained"), channel),
    }
    (job / "input/config").mkdir()
    for name, value in config.items():
        (job / f"input/config/{name}.json").write_text(json.dumps(value))
    return subprocess.run(
        [Path(sys.executable).with_name("train")],
        cwd=job,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SAGEMAKER_BASE_DIR": str(job),
            "SMDEBUG_CONFIG_FILE_PATH": str(job / "input/config/debughookconfig.json"),
            CONFIG_VARIABLE: str(job / "input/config/checkpointconfig.json"),
            "PIP_NO_INDEX": "1",
            "OMP_NUM_THREADS": "1",
            **stringify(environ or {}),
        },
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked artifact with both engines that tells the two colours apart: red is ants, blue is bees."""
    torch.manual_seed(0)
    network = build(RESNET18, len(COLORS), None)
    with torch.no_grad():
        # Without training: the pooled features of the two colours decide.
        network.eval()
        features = torch.nn.Sequential(*list(network.children())[:-1])
        colors = torch.tensor(list(COLORS.values())).float().view(2, 3, 1, 1).expand(2, 3, 32, 32) / 255
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (RESNET18.mean, RESNET18.std))
        centers = features((colors - mean) / std).flatten(1)
        difference = centers[0] - centers[1]
        direction = 4 * difference / difference.square().sum()
        network.fc.weight.copy_(torch.stack([direction, -direction]))
        offset = direction @ (centers[0] + centers[1]) / 2
        network.fc.bias.copy_(torch.stack([-offset, offset]))
    folder = tmp_path_factory.mktemp("artifact")
    card = {
        "architecture": RESNET18.architecture,
        "hyperparameters": {"epochs": 1},
        "metrics": {"validation_accuracy": 1.0},
        "weights": "random",
        "versions": {"torch": torch.__version__},
        "classes": list(COLORS),
        "preprocessing": {
            "image_size": 32,
            "resize": 37,
            "mean": list(RESNET18.mean),
            "std": list(RESNET18.std),
        },
    }
    _, pictures = read_split(write_classes(tmp_path_factory.mktemp("pictures"), 16))
    files, said = make(RESNET18, network, card, pictures[::2], pictures[1::2], 0.95)
    write_artifact(folder, network, {**card, **said}, files)
    return folder


def change_in_the_middle(archive: Path) -> None:
    """Overwrite 4,000 bytes in an archive of stored blocks; the weights still parse."""
    content = bytearray(archive.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(byte ^ 1 for byte in content[middle : middle + 4000])
    archive.write_bytes(content)


@pytest.fixture
def archive(artifact: Path, tmp_path: Path) -> Path:
    """A folder that holds the artifact as model.tar.gz."""
    folder = tmp_path / "archive"
    folder.mkdir()
    with tarfile.open(folder / "model.tar.gz", "w:gz", compresslevel=0) as tar:
        for entry in sorted(artifact.iterdir()):
            tar.add(entry, entry.name)
    return folder


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job's folders, named by the toolkit's variables, for a training in this process."""
    folders = {"SM_MODEL_DIR": "model", "SM_OUTPUT_DATA_DIR": "data"} | {
        f"SM_CHANNEL_{name.upper()}": f"input/{name}" for name in ("train", "validation", "pretrained")
    }
    for variable, name in folders.items():
        (tmp_path / name).mkdir(parents=True)
        monkeypatch.setenv(variable, str(tmp_path / name))
    write_classes(tmp_path / "input/train", 5)
    write_classes(tmp_path / "input/validation", 3)
    (tmp_path / "input/pretrained/RANDOM_WEIGHTS").touch()
    return tmp_path


@pytest.fixture
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def no_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "no-checkpointconfig.json"))


@pytest.fixture
def keep_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)


@pytest.fixture
def alone(one_thread: None, no_checkpoints: None, keep_signals: None) -> None:
    """A training in this process does not affect later ones."""


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds a row for the network TINY, for tests that do not depend on the network."""
    monkeypatch.setitem(BACKBONES, TINY.name, TINY)
    monkeypatch.setattr("entrypoints.model.get_model", tiny_network)
