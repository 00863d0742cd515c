"""train through SageMaker's training toolkit, with the arguments of the pipeline's definition."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from entrypoints import contract
from tests.entrypoints.conftest import ROOT, run_toolkit
from tests.entrypoints.pictures import write_classes


def golden_step(name: str) -> dict[str, Any]:
    """A step's arguments in the current definition."""
    definition = json.loads((ROOT / "tests/golden/definition.json").read_text())
    return next(step["Arguments"] for step in definition["Steps"] if step["Name"] == name)


def test_through_the_training_toolkit(tmp_path: Path) -> None:
    """As a job runs it: the toolkit unpacks the bundle, passes strings, and Debugger records the loss."""
    for name in ("train", "validation"):
        write_classes(tmp_path / "input/data" / name, 4)
    (tmp_path / "input/data/pretrained").mkdir()
    (tmp_path / "input/data/pretrained/RANDOM_WEIGHTS").touch()
    collections = golden_step("TrainModel")["DebugHookConfig"]["CollectionConfigurations"]
    result = run_toolkit(
        tmp_path,
        {
            "batch_size": '"4"',
            "epochs": 2,
            "image_size": 32,
            "learning_rate": "0.001",
            "_tuning_objective_metric": "validation:accuracy",
        },
        debughookconfig={"LocalPath": str(tmp_path / "tensors"), "CollectionConfigurations": collections},
    )
    log = result.stdout + result.stderr
    assert result.returncode == 0, log
    assert len(re.findall(contract.METRIC_REGEXES[contract.VALIDATION_ACCURACY], log)) == 2
    assert (tmp_path / "model/model.safetensors").is_file()
    assert (tmp_path / "output/data/epochs.csv").is_file()
    assert not (tmp_path / "output/failure").exists()

    reader = (
        "from smdebug.trials import create_trial; from smdebug import modes; import sys;"
        "trial = create_trial(sys.argv[1]); loss = trial.tensor('CrossEntropyLoss_output_0');"
        "print(len(loss.steps(mode=modes.TRAIN)), len(loss.steps(mode=modes.EVAL)), trial.tensor_names())"
    )
    recorded = subprocess.run(
        [sys.executable, "-c", reader, str(tmp_path / "tensors")], capture_output=True, text=True, check=True
    ).stdout
    # Of the training's four steps the first, and the validation loss of both epochs: the rule Overfit
    # compares them.
    assert recorded.splitlines()[-1].split()[:2] == ["1", "2"]
    assert "warning" not in log
    assert "scalar/learning_rate" in recorded
