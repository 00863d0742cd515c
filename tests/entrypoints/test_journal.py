"""The journal of a training: its files are small and complete, whatever the number of steps."""

import pandas as pd
import pytest

from entrypoints import journal
from entrypoints.contract import EPOCH_COLUMNS, STEP_COLUMNS, TRAINING_EPOCHS, TRAINING_STEPS
from entrypoints.journal import Journal, table


def epoch_row(epoch):
    return dict.fromkeys(EPOCH_COLUMNS, 0.25) | {"epoch": epoch}


def recorded(epochs, steps_per_epoch):
    own = Journal(epochs * steps_per_epoch)
    for epoch in range(1, epochs + 1):
        for step in range((epoch - 1) * steps_per_epoch + 1, epoch * steps_per_epoch + 1):
            with own.phase("data"):
                pass
            own.step(step, epoch, float(step), 1 / step)
        own.epoch(epoch_row(epoch))
    return own


def test_each_step_of_a_short_training_has_its_row(tmp_path):
    recorded(2, 3).write(tmp_path)
    steps = pd.read_csv(tmp_path / TRAINING_STEPS)
    assert tuple(steps.columns) == STEP_COLUMNS
    assert steps["step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert steps["epoch"].tolist() == [1, 1, 1, 2, 2, 2]
    assert steps["loss"].tolist() == [1, 2, 3, 4, 5, 6]
    assert steps["learning_rate"].tolist() == pytest.approx([1 / step for step in range(1, 7)], rel=1e-5)
    assert (steps["data_s"] > 0).all()
    assert (steps["forward_s"] == 0).all()
    epochs = pd.read_csv(tmp_path / TRAINING_EPOCHS)
    assert tuple(epochs.columns) == EPOCH_COLUMNS
    assert epochs["epoch"].tolist() == [1, 2]


def test_a_long_training_has_few_rows_that_stand_for_all_steps(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "MAX_STEP_ROWS", 5)
    recorded(2, 7).write(tmp_path)
    steps = pd.read_csv(tmp_path / TRAINING_STEPS)
    # Every third step, and what an epoch has left at its end.
    assert steps["step"].tolist() == [3, 6, 7, 9, 12, 14]
    assert steps["loss"].tolist() == [2, 5, 7, 8.5, 11, 13.5]


def test_a_resumed_journal_has_the_rows_from_before():
    first = recorded(2, 3)
    second = Journal(9)
    second.load_state_dict(first.state_dict())
    second.step(7, 3, 7.0, 0.1)
    second.epoch(epoch_row(3))
    assert [row["step"] for row in second.steps] == [1, 2, 3, 4, 5, 6, 7]
    assert [row["epoch"] for row in second.epochs] == [1, 2, 3]
    assert len(first.steps) == 6


def test_an_unknown_column_is_refused():
    with pytest.raises(ValueError, match="speed"):
        table(EPOCH_COLUMNS, [{"speed": 1.0}])
