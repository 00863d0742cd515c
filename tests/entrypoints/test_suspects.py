from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from entrypoints import suspects
from entrypoints.digests import of_files
from entrypoints.inputs import Splits

CLASSES = ("ants", "große Bienen", "wasps")


def drawn(count: int, seed: int, apart: float = 2) -> tuple[np.ndarray, np.ndarray]:
    """Features of pictures of three classes, and their true labels."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    return (apart * np.eye(20)[labels] + random.normal(0, 0.4, (count, 20))).astype(np.float32), labels


def flipped(labels: np.ndarray, share: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """The labels with some wrong ones, and which are wrong."""
    random = np.random.default_rng(7)
    wrong = np.zeros(len(labels), bool)
    wrong[random.choice(len(labels), round(share * len(labels)), replace=False)] = True
    return np.where(wrong, (labels + random.integers(1, 3, len(labels))) % 3, labels), wrong


def splits(folder: Path, train: np.ndarray, validation: np.ndarray) -> Splits:
    """Files with these labels, in a subfolder of their class, with unusual names."""
    result = {}
    for split, labels in (("train", train), ("validation", validation)):
        result[split] = []
        for number, label in enumerate(labels.tolist()):
            file = folder / split / CLASSES[label] / "nest 1" / f"größe #{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(f"{split}{number}".encode())
            result[split].append((file, label))
    return Splits(CLASSES, result["train"], result["validation"])


def sure(labels: np.ndarray, of: float = 0.9) -> np.ndarray:
    """Probabilities of a network that predicts these labels."""
    rest = (1 - of) / 2
    return np.where(np.eye(3)[labels] > 0, of, rest).astype(np.float32)


def folders(tmp_path: Path) -> dict[str, Path]:
    return {split: tmp_path / split for split in ("train", "validation")}


def test_flipped_labels_come_first_and_no_others(tmp_path: Path) -> None:
    features, truth = drawn(300, 0)
    labels, wrong = flipped(truth)
    validation = np.array([0, 1, 2, 2])
    seen = suspects.Seen(4, sure(truth, 0.7), features, sure(np.array([0, 1, 2, 1])))
    files = splits(tmp_path, labels, validation)
    said = suspects.find(files, seen, folders(tmp_path))
    assert said["found"] == 15 + 1
    found = {entry["file"]: entry for entry in said["suspects"] if entry["split"] == "train"}
    expected = {f"{CLASSES[labels[row]]}/nest 1/größe #{row}.png": row for row in np.flatnonzero(wrong)}
    assert found.keys() == expected.keys()
    for name, entry in found.items():
        assert entry["label"] == CLASSES[labels[expected[name]]]
        assert entry["suggested"] == CLASSES[truth[expected[name]]]
        assert entry["self_confidence"] < 0.3 < 0.5 < entry["suggested_confidence"]
        digest = of_files([tmp_path / "train" / name])[0]
        assert entry["digest"] == f"{digest:016x}"
    [other] = [entry for entry in said["suspects"] if entry["split"] == "validation"]
    assert (other["file"], other["suggested"]) == ("wasps/nest 1/größe #3.png", CLASSES[1])
    assert [entry["rank"] for entry in said["suspects"]] == list(range(1, 17))
    margins = [entry["self_confidence"] - entry["suggested_confidence"] for entry in said["suspects"]]
    assert margins == sorted(margins)
    assert (said["judged"], said["pictures"]) == ({"train": 300, "validation": 4}, 304)
    assert suspects.sentence(said) == "suspect labels: 16 of 300 training and 4 validation pictures"
    json.dumps(said, allow_nan=False)


def test_features_that_know_each_picture_by_heart_hide_nothing() -> None:
    """With 200 random numbers for each of 300 pictures any labels can be learned, and are."""
    features, truth = drawn(300, 1)
    labels, wrong = flipped(truth, 0.1)
    own = np.random.default_rng(2).normal(size=(300, 200))
    by_heart = np.hstack([features, own]).astype(np.float32)
    fitted = LogisticRegression(C=1000, max_iter=3000).fit(by_heart, labels)
    assert (fitted.predict(by_heart) == labels).all()
    said = suspects.by_others(by_heart, labels).argmax(axis=1)
    assert (said[wrong] != labels[wrong]).all()
    assert (said[~wrong] == labels[~wrong]).mean() > 0.75


def test_clean_labels_are_not_suspect(tmp_path: Path) -> None:
    features, labels = drawn(90, 3)
    validation = np.array([0, 1, 2])
    seen = suspects.Seen(4, sure(labels), features, sure(validation))
    said = suspects.find(splits(tmp_path, labels, validation), seen, folders(tmp_path))
    assert (said["found"], said["suspects"]) == (0, [])


def test_another_class_has_to_be_as_probable_as_it_usually_is() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.4, 0.6], [0.2, 0.8]], np.float32)
    labels = np.array([0, 0, 1, 0, 1])
    assert (
        suspects.suspect(probabilities, labels, as_usual=True)[0].tolist() == [False] * 5
    )  # 0.6 is below 0.85
    assert suspects.suspect(probabilities, labels, as_usual=False)[0].tolist() == [False] * 3 + [True, False]
    probabilities[3] = [0.1, 0.9]
    found, suggested = suspects.suspect(probabilities, labels, as_usual=True)
    assert np.flatnonzero(found).tolist() == [3] and suggested[3] == 1


def test_a_class_of_few_pictures_is_not_judged_and_that_is_said(tmp_path: Path) -> None:
    features, labels = drawn(30, 4)
    kept = np.flatnonzero((labels < 2) | (np.arange(30) < 6))  # two wasps
    validation = np.array([0, 1, 2])
    seen = suspects.Seen(4, sure(labels)[kept], features[kept], sure(validation))
    said = suspects.find(splits(tmp_path, labels[kept], validation), seen, folders(tmp_path))
    assert said["classes_left_out"] == ["wasps"]
    assert said["judged"] == {"train": 20, "validation": 2}


@pytest.mark.parametrize(
    ("epochs", "count", "words"), [(4, 12, "the largest have 4, 4"), (0, 30, "checkpoint")]
)
def test_where_nothing_can_be_told_the_file_says_why(
    tmp_path: Path, epochs: int, count: int, words: str
) -> None:
    features, labels = drawn(count, 5)
    validation = np.array([0, 1, 2])
    seen = suspects.Seen(epochs, sure(labels), features, sure(validation))
    said = suspects.find(splits(tmp_path, labels, validation), seen, folders(tmp_path))
    assert list(said) == ["left_out"] and words in said["left_out"]
    assert suspects.sentence(said).startswith("suspect labels: none are told: ")


def test_the_list_is_bounded_however_many_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suspects, "MOST_LISTED", 5)
    monkeypatch.setattr(suspects, "MOST_FITTED", 60)
    features, truth = drawn(120, 6)
    labels, wrong = flipped(truth, 0.1)
    validation = np.array([0, 1, 2])
    seen = suspects.Seen(4, sure(truth), features, sure(validation))
    said = suspects.find(splits(tmp_path, labels, validation), seen, folders(tmp_path))
    assert (said["found"], len(said["suspects"])) == (wrong.sum(), 5)


def test_what_is_watched_are_the_answers_of_all_epochs_and_the_last_features() -> None:
    torch.manual_seed(0)
    head = torch.nn.Linear(3, 2)
    watched = suspects.Watched(head, 4, 2)
    pictures = torch.randn(2, 4, 3)
    for epoch in pictures:
        for indices in torch.tensor([[2, 0], [1, 3]]):
            watched.add(indices, head(epoch[indices]))
    head.eval()
    validation = head(torch.ones(5, 3))
    seen = watched.seen(validation)
    assert seen.epochs == 2
    expected = head(pictures).softmax(2).mean(0).detach()
    np.testing.assert_allclose(seen.training, expected, rtol=1e-5)
    np.testing.assert_allclose(seen.features, pictures[1], rtol=1e-2)
    np.testing.assert_allclose(seen.validation, validation.softmax(1).detach(), rtol=1e-6)
