from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from entrypoints import contract, distributed
from entrypoints.checkpoint import CONFIG_VARIABLE
from entrypoints.hyperparameters import Hyperparameters
from entrypoints.train import main, train
from tests.entrypoints.conftest import ROOT, run_toolkit, stringify
from tests.entrypoints.pictures import write_classes

# What each of two processes finds, as JSON in FOLDER/RANK.json.
AGREEMENT = """
import hashlib, json, os, sys
from pathlib import Path

import torch
from torch import nn

from entrypoints import distributed, train
from entrypoints.checkpoint import CONFIG_VARIABLE
from entrypoints.hyperparameters import Hyperparameters

distributed.join()
rank, folder = distributed.rank(), Path(sys.argv[1])
found = {"count": distributed.count(), "count_here": distributed.count_here()}
found["part"] = distributed.part(list(range(5)))
found["whole"] = distributed.whole(torch.tensor(found["part"])).tolist()
found["total"] = distributed.total(rank + 1.0)
found["shares"] = distributed.shares([1.0, 3.0] if rank == 0 else [3.0, 5.0])
found["from_first"] = distributed.from_first(lambda: rank)

# The gradient of five weighted pictures, three here and two there, against that of all in one process.
torch.manual_seed(0)
network, pictures, labels = nn.Linear(3, 2), torch.randn(5, 3), torch.tensor([0, 1, 1, 0, 1])
weights = torch.tensor([1.0, 5.0])
criterion = nn.CrossEntropyLoss(weight=weights, label_smoothing=0.1)
criterion(network(pictures), labels).backward()
expected = network.weight.grad.clone()
network.zero_grad()
[share] = distributed.shares([float(weights[labels[found["part"]]].sum())])
averaged = distributed.average_gradients(network)
(criterion(averaged(pictures[found["part"]]), labels[found["part"]]) * (share * 2)).backward()
found["gradient_error"] = (network.weight.grad - expected).abs().max().item()

norm = nn.BatchNorm1d(1)
norm.running_mean.fill_(rank)
distributed.average_statistics(norm)
found["mean"] = norm.running_mean.item()

# A training, one that ends in its second epoch, and the same again, which goes on.
networks, build, metric_line = [], train.build, train.metric_line
train.build = lambda *arguments: networks.append(build(*arguments)) or networks[-1]
hyperparameters = Hyperparameters(
    epochs=3, batch_size=4, image_size=32, trainable="last_block", views=2, engines=0
)


class Lost(Exception):
    pass


def lose(epoch, **metrics):
    if epoch == 2:
        raise Lost
    return metric_line(epoch, **metrics)


for name, line in (("whole", metric_line), ("lost", lose), ("lost", metric_line)):
    train.metric_line = line
    os.environ["SM_MODEL_DIR"] = str(folder / name)
    os.environ[CONFIG_VARIABLE] = str(folder / f"{name}-checkpoints.json")
    try:
        train.train(hyperparameters)
    except Lost:
        continue
found["digests"] = [
    hashlib.sha256(b"".join(value.numpy().tobytes() for value in network.state_dict().values())).hexdigest()
    for network in networks
]
(folder / f"{rank}.json").write_text(json.dumps(found))
distributed.leave()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_alone_everything_is_trivial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "1")
    distributed.join()
    network = torch.nn.BatchNorm1d(1)
    network.running_mean.fill_(3)
    distributed.average_statistics(network)
    assert network.running_mean.item() == 3
    assert distributed.average_gradients(network) is network
    assert distributed.synchronize_batch_norm(network) is network
    assert (distributed.count(), distributed.rank(), distributed.count_here()) == (1, 0, 1)
    assert distributed.part([1, 2, 3]) == [1, 2, 3]
    own = torch.zeros(2, 3)
    assert distributed.whole(own) is own
    assert distributed.total(0.1) == 0.1
    assert distributed.shares([0.1, 7.0]) == [1.0, 1.0]
    assert distributed.from_first(lambda: "found") == "found"
    distributed.leave()


def test_instances_that_would_train_alone_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SM_HOSTS", '["algo-1", "algo-2"]')
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
    assert re.fullmatch(
        "error: the job has 2 instances .* sagemaker_torch_distributed_enabled .*\n", capsys.readouterr().err
    )


@pytest.mark.parametrize("given", [[], ["CUDA_VISIBLE_DEVICES"]])
def test_gpus_that_torch_cannot_use_are_refused_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], given: list[str]
) -> None:
    """As on an instance whose driver is too old for the image; the program has not read anything yet."""
    monkeypatch.setenv("SM_NUM_GPUS", "4")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for variable in given:
        monkeypatch.setenv(variable, "0,1,2,3")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit) as stopped:
        main([])
    assert stopped.value.code == 2
    assert re.fullmatch(
        "error: the instance has 4 GPUs and torch .* can use none, .*\n", capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("gpus", "visible", "available"), [("4", "", False), ("4", "0,1", True), ("0", None, False)]
)
def test_a_job_without_gpus_or_that_is_told_to_do_without_is_none_of_these(
    monkeypatch: pytest.MonkeyPatch, gpus: str, visible: str | None, available: bool
) -> None:
    monkeypatch.setenv("SM_NUM_GPUS", gpus)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr("torch.cuda.is_available", lambda: available)
    distributed.join()
    assert distributed.count() == 1


def test_two_processes_agree_and_continue_together(tmp_path: Path, artifact: Path) -> None:
    for name in ("train", "validation"):
        write_classes(tmp_path / name, 5)
    (tmp_path / "pretrained").mkdir()
    shutil.copy(artifact / "model.safetensors", tmp_path / "pretrained")
    for name in ("whole", "lost"):
        state = {"LocalPath": str(tmp_path / f"{name}-state")}
        (tmp_path / f"{name}-checkpoints.json").write_text(json.dumps(state))
    (tmp_path / "agreement.py").write_text(AGREEMENT)
    environ = {
        "PYTHONPATH": ROOT,
        "OMP_NUM_THREADS": 1,
        "SM_NETWORK_INTERFACE_NAME": "lo",
        "SM_OUTPUT_DATA_DIR": tmp_path / "data",
    } | {f"SM_CHANNEL_{name.upper()}": tmp_path / name for name in ("train", "validation", "pretrained")}
    torchrun = [Path(sys.executable).with_name("torchrun"), "--nproc-per-node=2"]
    result = subprocess.run(
        [*torchrun, f"--master-port={free_port()}", "agreement.py", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, **stringify(environ)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert (first.pop("part"), second.pop("part")) == ([0, 2, 4], [1, 3])
    assert (first.pop("whole"), second.pop("whole")) == ([0, 1, 2, 3, 4], [])
    assert (first.pop("shares"), second.pop("shares")) == ([0.25, 0.375], [0.75, 0.625])
    assert max(found.pop("gradient_error") for found in (first, second)) < 1e-6
    assert first == second
    assert (first["count"], first["count_here"]) == (2, 2)
    assert (first["total"], first["from_first"], first["mean"]) == (3, 0, 0.5)

    whole, _, resumed = first["digests"]
    assert whole == resumed
    files = [tmp_path / name / contract.MODEL_WEIGHTS for name in ("whole", "lost")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert result.stdout.count("goes on after epoch 1") == 1


def test_two_processes_through_the_toolkit_train_as_well_as_one(
    tmp_path: Path, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without GPUs the toolkit starts one process per instance, unless another number is set."""
    write_classes(tmp_path / "input/data/train", 16)
    write_classes(tmp_path / "input/data/validation", 5)
    (tmp_path / "input/data/pretrained").mkdir()
    shutil.copy(artifact / "model.safetensors", tmp_path / "input/data/pretrained")
    hyperparameters = {"epochs": 8, "batch_size": 16, "image_size": 32, "trainable": "last_block"}
    result = run_toolkit(
        tmp_path,
        {
            "sagemaker_torch_distributed_enabled": "true",
            "sagemaker_mpi_num_of_processes_per_host": 2,
            **hyperparameters,
        },
        {
            "SAGEMAKER_TRAINING_MODULE": "pytorch_container:main",
            "PYTHONPATH": Path(__file__).parent,
            "PET_MASTER_PORT": free_port(),  # torchrun's default is the same for all jobs on a machine
        },
        checkpointconfig={"LocalPath": str(tmp_path / "checkpoints")},
    )
    log = result.stdout + result.stderr
    assert result.returncode == 0, log
    assert "; 2 x cpu, " in log
    assert len(re.findall(contract.METRIC_REGEXES[contract.VALIDATION_ACCURACY], log)) == 8
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1
    assert (tmp_path / "model/model.int8.onnx").is_file()
    suspects = json.loads((tmp_path / "output/data/suspects.json").read_text())
    assert (suspects["epochs"], suspects["judged"]) == (8, {"train": 32, "validation": 10})
    assert not list((tmp_path / "model").glob(".*"))

    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "none.json"))
    for variable in ("SM_MODEL_DIR", "SM_OUTPUT_DATA_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / "alone"))
    for name in ("train", "validation", "pretrained"):
        monkeypatch.setenv(f"SM_CHANNEL_{name.upper()}", str(tmp_path / "input/data" / name))
    torch.set_num_threads(1)
    train(Hyperparameters(**hyperparameters, engines=0))
    cards = [json.loads((tmp_path / name / contract.MODEL_CARD).read_text()) for name in ("alone", "model")]
    assert [card["metrics"]["validation_accuracy"] for card in cards] == [1.0, 1.0]
