"""The journal of a training: its files are small and complete for any number of steps."""

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
    # Every third step, and the rest at the end of an epoch.
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


def after(*accuracies):
    own = Journal(1)
    for number, accuracy in enumerate(accuracies, 1):
        own.epoch(epoch_row(number) | {"validation_accuracy": accuracy, "validation_loss": 1 / number})
    return own


def test_the_best_epoch_is_the_last_within_one_standard_error_of_the_highest():
    # 90 % of 36 images is 87 % after one more hit and one more miss, give or take 5.5 %; of 3,600, 0.5 %.
    assert after(0.9, 0.85).last_is_best(36)
    assert not after(0.9, 0.84).last_is_best(36)
    assert not after(0.9, 0.89).last_is_best(3600)
    assert after(0.9, 0.8, 0.897).last_is_best(3600)
    # 100 % correct is not certainty.
    assert after(1.0, 0.98).last_is_best(36)
    assert after(0.5).last_is_best(1)


def test_epochs_are_counted_from_the_highest_accuracy():
    assert Journal(1).epochs_since_highest() == 0
    assert after(0.5).epochs_since_highest() == 0
    assert after(0.5, 0.9, 0.8, 0.7).epochs_since_highest() == 2
    # If accuracies are equal, the lower loss decides, here the later one's.
    assert after(0.9, 0.9, 0.7).epochs_since_highest() == 1
