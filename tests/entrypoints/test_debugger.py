from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from entrypoints.debugger import CONFIG_VARIABLE, Debugger
from tests import forked
from tests.entrypoints.conftest import ROOT

# smdebug keeps its hook in module globals, so each case has its own process.
PROGRAM = """
import torch
from entrypoints.debugger import Debugger

network, loss = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()), torch.nn.CrossEntropyLoss()
debugger = Debugger(network, loss)
debugger.training()
for _ in range(3):
    with torch.autocast("cpu", torch.bfloat16):
        scores = network(torch.ones(4, 2))
    loss(scores.float(), torch.zeros(4, dtype=torch.long)).backward()
    debugger.scalar("learning_rate", 0.1)
debugger.close()
print("trained")
"""


def start(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Like forked.run, but the output goes through pipes."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )


def run(
    tmp_path: Path, config: str, program: str = PROGRAM, how: Callable[..., Any] = forked.run
) -> subprocess.CompletedProcess[str]:
    (tmp_path / "debug.json").write_text(config)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), CONFIG_VARIABLE: str(tmp_path / "debug.json")}
    result: subprocess.CompletedProcess[str] = how(["-c", program], tmp_path, environment, timeout_s=120)
    return result


def test_without_a_configuration_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "none.json"))
    network = torch.nn.Linear(2, 2)
    debugger = Debugger(network, torch.nn.CrossEntropyLoss())
    debugger.training()
    debugger.evaluating()
    debugger.scalar("learning_rate", 0.1)
    debugger.close()
    assert not network._forward_hooks
    assert "smdebug.pytorch" not in sys.modules


def test_a_hook_that_cannot_start_is_one_warning(tmp_path: Path) -> None:
    result = run(tmp_path, "{not json")
    assert result.returncode == 0, result.stderr
    assert "trained" in result.stdout
    assert result.stderr.count("warning: Debugger records nothing from here on") == 1


def saved(tmp_path: Path, name: str) -> list[float]:
    """A tensor of the first step, read by smdebug in its own process."""
    program = (
        "import json, sys; from smdebug.trials import create_trial;"
        f"print(json.dumps(create_trial('tensors').tensor({name!r}).value(0).ravel().tolist()))"
    )
    result = forked.run(["-c", program], tmp_path, os.environ, timeout_s=120)
    assert result.returncode == 0, result.stderr
    values: list[float] = json.loads(result.stdout.splitlines()[-1])
    return values


def test_gradients_in_bfloat16_are_saved(tmp_path: Path) -> None:
    # NumPy has no such type.
    gradients = {"CollectionName": "gradients", "CollectionParameters": {"save_interval": "1"}}
    config = {"LocalPath": str(tmp_path / "tensors"), "CollectionConfigurations": [gradients]}
    result = run(tmp_path, json.dumps(config), PROGRAM.replace("Linear(2, 2)", "Linear(2, 2).bfloat16()"))
    assert result.returncode == 0, result.stderr
    assert "warning: Debugger" not in result.stderr
    assert len(saved(tmp_path, "gradient/Sequential_0.weight")) == 4


def test_activations_under_autocast_are_saved(tmp_path: Path) -> None:
    # They are also bfloat16.
    relu = {
        "CollectionName": "relu_input",
        "CollectionParameters": {"include_regex": ".*", "save_steps": "0"},
    }
    config = {"LocalPath": str(tmp_path / "tensors"), "CollectionConfigurations": [relu]}
    result = run(tmp_path, json.dumps(config))
    assert result.returncode == 0, result.stderr
    assert "warning: Debugger" not in result.stderr
    assert len(saved(tmp_path, "1_input_0")) == 8


def test_a_hook_that_cannot_save_is_one_warning(tmp_path: Path) -> None:
    (tmp_path / "tensors").write_text("a file where the folder should be")
    losses = {"CollectionName": "losses", "CollectionParameters": {"save_interval": "1"}}
    config = {"LocalPath": str(tmp_path / "tensors"), "CollectionConfigurations": [losses]}
    result = run(tmp_path, json.dumps(config))
    assert result.returncode == 0, result.stderr
    assert "trained" in result.stdout
    assert result.stderr.count("warning: Debugger records nothing from here on (") == 1


def test_a_full_disk_is_one_warning_and_nothing_waits_for_it(tmp_path: Path) -> None:
    losses = {"CollectionName": "losses", "CollectionParameters": {"save_interval": "1"}}
    config = {"LocalPath": str(tmp_path / "tensors"), "CollectionConfigurations": [losses]}
    full = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
    result = run(tmp_path, json.dumps(config), full + PROGRAM, start)
    assert result.returncode == 0, result.stderr
    assert "trained" in result.stdout
    assert result.stderr.count("warning: Debugger records nothing from here on (OSError") == 1
    assert "Traceback" not in result.stderr


def test_nothing_is_recorded_after_the_end(tmp_path: Path) -> None:
    losses = {"CollectionName": "losses", "CollectionParameters": {"save_interval": "1"}}
    config = {"LocalPath": str(tmp_path / "tensors"), "CollectionConfigurations": [losses]}
    after = "loss(network(torch.ones(4, 2)), torch.zeros(4, dtype=torch.long))\n"
    assert run(tmp_path, json.dumps(config), PROGRAM + after).returncode == 0
    steps = {path.name for path in (tmp_path / "tensors" / "events").iterdir()}
    assert steps == {f"{step:012}" for step in range(3)}
