"""A dataset is put neither into another one nor around it; with moto."""

import shutil

import boto3
import pytest
from PIL import Image

from entrypoints.dataset import check_dataset
from scripts.command import Failure
from scripts.owners import owner
from scripts.training_data import dataset_name, put_dataset

SCRIPT = "upload_dataset.py"
BUCKET = "image-classification-123456789012"
DATA = f"s3://{BUCKET}/image-classification/data/"


@pytest.fixture
def upload(run, url, s3, pictures):
    """`upload_dataset.py pictures --to ...`; by default without --to."""
    assert s3
    return lambda *to: run(SCRIPT, pictures, *(["--to", *to] if to else []), "--local", url)


@pytest.fixture
def put(s3):
    """Objects as another tool would upload them."""

    def put(*keys):
        for key in keys:
            s3.put_object(Bucket=BUCKET, Key=f"image-classification/data/{key}", Body=b"x")

    return put


def keys(s3):
    return {item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])}


def test_above_another_dataset(refused, s3, upload):
    assert upload(f"{DATA}digits").returncode == 0
    before = keys(s3)
    refused(
        upload(DATA),
        f"{DATA} holds the dataset {DATA}digits/, and",
        f"upload to a prefix of its own, such as {DATA}pictures/",
    )
    refused(upload(f"s3://{BUCKET}/image-classification"), f"the dataset {DATA}digits/")
    assert keys(s3) == before


def test_above_what_another_tool_put_there(refused, s3, upload, put):
    put("pictures/0/1.png", "pictures/1/1.png")
    before = keys(s3)
    refused(
        upload(DATA), f"{DATA}pictures/0/1.png, which seems to be another dataset's", f"{DATA}pictures-2/"
    )
    assert keys(s3) == before


def test_a_dataset_of_other_classes_at_the_same_prefix(
    refused, s3, run, url, upload, put, tmp_path, pictures
):
    """It neither mixes with an uploaded dataset nor, with --delete, replaces it; a later version may."""
    assert upload(f"{DATA}wild").returncode == 0
    put("birds/hawk/1.png", "birds/owl/1.png")
    before = keys(s3)
    refused(
        upload(f"{DATA}birds"), f"{DATA}birds/ holds another dataset (its class 'hawk'", f"{DATA}birds-2/"
    )
    other = tmp_path / "other"
    for name, was in (("rose", "ants"), ("tulip", "große Bienen")):
        shutil.copytree(pictures / was, other / name)
    refused(
        run(SCRIPT, other, "--to", f"{DATA}wild", "--delete", "--yes", "--local", url),
        "holds another dataset",
    )
    assert keys(s3) == before
    (pictures / "ants" / "0.png").unlink()
    assert upload(f"{DATA}wild").returncode == 0


def test_a_folder_may_begin_with_what_is_not_a_picture(refused, upload, put):
    put(*(f"txt/hawk/.{number}.txt" for number in range(20)), "txt/hawk/1.png", "txt/owl/1.png")
    refused(upload(f"{DATA}txt/mine"), f"in {DATA}txt/, which seems to be a dataset")


def test_inside_another_dataset(refused, s3, upload):
    assert upload(f"{DATA}große Blumen").returncode == 0
    before = keys(s3)
    for inner in ("v2", "2026/v2", "ants"):  # the last is one of its classes
        refused(
            upload(f"{DATA}große Blumen/{inner}"),
            f"lies in the dataset {DATA}große Blumen/ (it holds {DATA}große Blumen/",
            f"such as {DATA}große Blumen-{inner.replace('/', '-')}/",
        )
    assert keys(s3) == before


@pytest.mark.parametrize("there", [("ants/.DS_Store", "ants/1.png"), ("train/ants/1.png", "val/ants/2.png")])
def test_inside_what_another_tool_put_there(refused, s3, upload, put, there):
    put(*there)
    before = keys(s3)
    refused(upload(), f"{DATA}default/ lies in {DATA}, which seems to be a dataset", f"{DATA[:-1]}-default/")
    assert keys(s3) == before


def test_beside_others(s3, upload, put):
    put("digits/0/1.png", "notes/readme.txt", "../code/0/split.tar.gz", "1.png")
    for name in ("flowers", "flowers-v2", "flower"):
        completed = upload(f"{DATA}{name}")
        assert completed.returncode == 0, completed.stderr
        assert f"are in {DATA}{name}/ (8 sent" in completed.stdout
    assert upload().returncode == 0
    s3.put_object(Bucket=BUCKET, Key="photos/1.png", Body=b"x")
    assert upload(f"s3://{BUCKET}/flowers").returncode == 0  # the bucket itself is not a dataset


def test_a_copy_belongs_to_nobody(s3, upload):
    upload(f"{DATA}flowers")
    key = "image-classification/data/flowers/ants/0.png"
    copy = "image-classification/data/copied/ants/by hand.png"
    s3.copy_object(Bucket=BUCKET, Key=copy, CopySource={"Bucket": BUCKET, "Key": key})
    assert owner(s3, BUCKET, key) == f"{DATA}flowers/"
    assert owner(s3, BUCKET, copy) is None
    assert upload(f"{DATA}copied").returncode == 0


def test_run_local_gives_each_folder_a_prefix_of_its_own(tmp_path):
    folders = [tmp_path / parent / "flowers" for parent in ("a", "b")]
    for folder in folders:
        for name in ("ants", "bees"):
            (folder / name).mkdir(parents=True)
            for number in range(3):
                Image.new("RGB", (9, 9)).save(folder / name / f"{number}.png")
    first, second = (dataset_name(str(folder), check_dataset(folder)) for folder in folders)
    assert first.startswith("flowers-") and second.startswith("flowers-") and first != second
    assert dataset_name(str(folders[0] / ".." / "flowers"), check_dataset(folders[0])) == first
    assert dataset_name(None, check_dataset(folders[0])) == "flowers"


def test_run_local_deletes_only_what_a_run_put_there(s3, url, pictures, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    session = boto3.Session("local", "local", region_name="us-east-1")
    put_dataset(session, check_dataset(pictures), f"{DATA}pictures/")
    (pictures / "ants" / "0.png").unlink()
    put_dataset(session, check_dataset(pictures), f"{DATA}pictures/")
    assert "image-classification/data/pictures/ants/0.png" not in keys(s3)

    by_hand = "image-classification/data/pictures/ants/by hand.png"
    s3.put_object(Bucket=BUCKET, Key=by_hand, Body=b"x")
    with pytest.raises(Failure, match=r"1 objects that no run put there .*by hand\.png; .* another --home"):
        put_dataset(session, check_dataset(pictures), f"{DATA}pictures/")
    assert by_hand in keys(s3)
