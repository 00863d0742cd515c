"""--exclude: the pictures that a list leaves out of a dataset, and lists that are refused."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from config.settings import load
from entrypoints.dataset import check_dataset
from local.home.home import Home
from scripts.command import Failure
from scripts.conclusion import tell
from scripts.exclude import exclude
from scripts.execution import Execution
from scripts.results import Results
from scripts.training_data import find_dataset
from tests.entrypoints.archives import UNSAFE

SCRIPT = "upload_dataset.py"
BEES = "große Bienen"


@pytest.fixture
def listed(pictures, tmp_path):
    """A function that writes suspects.json with pictures of the dataset."""

    def write(*files, split="train", renamed=None):
        dataset = check_dataset(pictures)
        suspects = [
            {
                "rank": rank,
                "split": split,
                "file": (renamed or {}).get(file, file),
                "digest": f"{dataset.looks[dataset.root / file].digest:016x}",
                "label": file.partition("/")[0],
            }
            for rank, file in enumerate(files, 1)
        ]
        path = tmp_path / "suspects.json"
        path.write_text(json.dumps({"suspects": suspects}), encoding="utf-8")
        return path

    return write


def names(dataset):
    return {
        path.relative_to(dataset.root).as_posix()
        for part in dataset.images.values()
        for own in part.values()
        for path in own
    }


def test_what_suspects_json_names_is_not_uploaded_and_deleted_on_request(run, url, s3, pictures, listed):
    to = "s3://image-classification-123456789012/flowers"

    def keys():
        found = s3.list_objects_v2(Bucket="image-classification-123456789012", Prefix="flowers/")
        return {item["Key"] for item in found["Contents"]}

    assert run(SCRIPT, pictures, "--to", to, "--local", url).returncode == 0
    suspects = listed("ants/1.png", f"{BEES}/2.png")
    done = run(SCRIPT, pictures, "--to", to, "--local", url, "--exclude", suspects)
    assert done.returncode == 0, done.stderr
    assert f"left out, as {suspects} says: 1 of ants, 1 of {BEES}" in done.stderr
    assert "6 pictures of 2 classes" in done.stdout
    assert f"not in the dataset: {to}/ants/1.png" in done.stderr
    assert "2 objects are not in the dataset and will be trained on; --delete removes those" in done.stderr
    assert "flowers/ants/1.png" in keys()
    again = (SCRIPT, pictures, "--to", to, "--local", url, "--exclude", suspects, "--delete", "--yes")
    assert run(*again).returncode == 0
    assert "flowers/ants/1.png" not in keys() and len(keys()) == 6
    assert (pictures / "ants/1.png").is_file()


def test_run_local_leaves_them_out_too(pictures, listed, tmp_path):
    dataset, _ = find_dataset(str(pictures), tmp_path, load(environ={}), listed("ants/0.png"))
    assert dataset.counts == {"ants": 3, BEES: 4}


def test_a_text_has_a_path_per_line(pictures, tmp_path):
    (pictures / "ants/nest 1").mkdir()
    Image.new("RGB", (9, 9), "red").save(pictures / "ants/nest 1/größe.png")
    text = tmp_path / "list.txt"
    text.write_text(
        unicodedata.normalize("NFD", "ants/nest 1/größe.png\r\n\r\nants/2.png\n"), encoding="utf-8"
    )
    dataset = check_dataset(pictures)
    rest = exclude(dataset, text)
    assert names(dataset) - names(rest) == {"ants/nest 1/größe.png", "ants/2.png"}
    text.write_text("\n")
    assert exclude(dataset, text) == dataset


def test_the_archive_of_the_training_holds_the_list(pictures, listed, tmp_path):
    archive = tmp_path / "output.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(listed("ants/3.png"), "./suspects.json")
    assert "ants/3.png" not in names(exclude(check_dataset(pictures), archive))
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("steps.csv"), io.BytesIO())
    with pytest.raises(Failure, match=r"output\.tar\.gz holds no suspects\.json"):
        exclude(check_dataset(pictures), archive)
    archive.write_bytes(archive.read_bytes()[:20])
    with pytest.raises(Failure, match=r"output\.tar\.gz cannot be read"):
        exclude(check_dataset(pictures), archive)


@pytest.mark.parametrize("kind", ["a bomb", "a symbolic link", "a way out"])
def test_an_archive_that_would_do_harm_is_refused(pictures, tmp_path, kind):
    make, words = UNSAFE[kind]
    archive = tmp_path / "home/s3/bucket/train/job/output/output.tar.gz"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(make("suspects.json"))
    for read in (lambda: exclude(check_dataset(pictures), archive), local(tmp_path / "home").suspects):
        with pytest.raises(Failure, match=r"output\.tar\.gz cannot be read \(") as caught:
            read()
        assert words in str(caught.value) and "\n" not in str(caught.value)


def local(home):
    """The results of an execution whose training job is named job."""
    record = {"OutputDataConfig": {"S3OutputPath": "s3://bucket/train/"}}
    session = SimpleNamespace(client=lambda _: SimpleNamespace(describe_training_job=lambda **_: record))
    step = {"StepName": "TrainModel", "Metadata": {"TrainingJob": {"Arn": "arn:aws:x:training-job/job"}}}
    return Results(Home(home), session, Execution("", "Succeeded", "", (step,)))


@pytest.mark.parametrize(
    ("member", "content", "found"),
    [
        ("suspects.json", '{"found": 3, "suspects": []}', 3),
        ("suspects.json", '{"left_out": "few"}', None),
        ("steps.csv", "", None),
    ],
)
def test_a_local_run_says_where_its_list_is(tmp_path, capsys, member, content, found):
    (tmp_path / member).write_text(content)
    archive = tmp_path / "home/s3/bucket/train/job/output/output.tar.gz"
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / member, member)
    suspects = local(tmp_path / "home").suspects()
    assert suspects == (None if found is None else (archive, found))
    none = dict.fromkeys(("refused", "best_hyperparameters", "test_accuracy", "endpoint_prediction"))
    artifacts = {"suspects": str(archive)} if found else {}
    tell({**none, "suspect_labels": found, "artifacts": artifacts, "status": "Succeeded", "seconds": 1}, [])
    said = (
        "suspect labels: 3 of training and validation, shown in the report; the same command with --exclude"
    )
    assert (f"{said} {archive} leaves" in capsys.readouterr().out) is bool(found)


def test_a_picture_that_the_split_gave_a_number_is_found_by_its_content(pictures, listed):
    suspects = listed("ants/1.png", renamed={"ants/1.png": "ants/0-2.png"})
    assert "ants/1.png" not in names(exclude(check_dataset(pictures), suspects))


@pytest.mark.parametrize(
    ("published", "split", "gone"),
    [
        (("train", "val", "test"), "validation", "val"),
        (("train", "val"), "validation", "train"),
        (("train", "test"), "validation", "train"),
        (("train", "val"), "train", "train"),
    ],
)
def test_published_splits_hold_files_of_the_same_name(pictures, listed, tmp_path, published, split, gone):
    for name in published:
        shutil.copytree(pictures, tmp_path / "published" / name)
    dataset = check_dataset(tmp_path / "published")
    rest = exclude(dataset, listed("ants/1.png", split=split))
    assert names(dataset) - names(rest) == {f"{gone}/ants/1.png"}


def test_what_the_dataset_does_not_have_is_refused(run, refused, url, pictures, listed, tmp_path):
    text = tmp_path / "list.txt"
    text.write_text("ants/1.png\nants/11.png\nwasps/1.png\n")
    options = ("--to", "s3://image-classification-123456789012/x", "--local", url)
    refused(
        run(SCRIPT, pictures, *options, "--exclude", text),
        "list.txt lists 2 pictures that",
        "ants/11.png, wasps/1.png; take them out of the list",
    )
    suspects = listed("ants/1.png")
    Image.new("RGB", (9, 9), "white").save(pictures / "ants/1.png")
    refused(
        run(SCRIPT, pictures, *options, "--exclude", suspects), "not with the content that was trained on"
    )
    refused(
        run(SCRIPT, pictures, *options, "--exclude", tmp_path / "none"), "none cannot be read (No such file"
    )


def test_a_class_that_would_be_empty_is_refused(pictures, listed):
    suspects = listed(*(f"ants/{number}.png" for number in range(4)))
    with pytest.raises(
        Failure, match=r"without the 4 pictures that .*, class 'ants' in .* has 0 usable"
    ) as no:
        exclude(check_dataset(pictures), suspects)
    assert "\n" not in str(no.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"left_out": "the classes are too small"}', "lists no pictures: the classes are too small"),
        (b'{"suspects": 3}', "is not a suspects.json"),
        (b'{"suspects": [{"file": "ants/1.png"}]}', "is not a suspects.json"),
        (b"{", "is not a suspects.json"),
        (b"\xff\xfe", "is not a text in UTF-8"),
    ],
)
def test_what_is_no_list_is_refused(pictures, tmp_path, content, words):
    path = tmp_path / "list"
    path.write_bytes(content)
    with pytest.raises(Failure, match=words):
        exclude(check_dataset(pictures), Path(path))
