import hashlib
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image
from rich.progress import Progress, TaskID

from entrypoints import split
from entrypoints.dataset import check_dataset
from scripts.command import Failure
from scripts.upload_dataset import split_url, upload

SCRIPT = "upload_dataset.py"
BUCKET = "image-classification-123456789012"
TO = f"s3://{BUCKET}/flowers"


def keys(s3, prefix=""):
    return {item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])}


def expected(prefix):
    return {f"{prefix}/{name}/{number}.png" for name in ("ants", "große Bienen") for number in range(4)}


def test_uploads_to_where_the_pipeline_reads(run, url, s3, pictures):
    completed = run(SCRIPT, pictures, "--local", url)
    assert completed.returncode == 0, completed.stderr
    assert keys(s3) == expected("image-classification/data/default")
    key = "image-classification/data/default/ants/1.png"
    there = s3.get_object(Bucket=BUCKET, Key=key)
    assert there["Body"].read() == (pictures / "ants" / "1.png").read_bytes()
    assert there["ContentType"] == "image/png"
    assert "8 pictures of 2 classes" in completed.stdout
    assert "8 sent, 0 already there" in completed.stdout


def test_lists_what_is_not_a_picture_and_leaves_it_out(run, url, s3, pictures):
    (pictures / "ants" / "notes.txt").write_text("ants are small")
    Image.new("P", (20, 20)).save(pictures / "ants" / "ant.gif")
    completed = run(SCRIPT, pictures, "--to", TO, "--local", url)
    assert completed.returncode == 0, completed.stderr
    assert "left out: ants/notes.txt: is not an image" in completed.stderr
    assert "left out: ants/ant.gif: is a GIF file" in completed.stderr
    assert keys(s3) == expected("flowers")


def test_sends_only_what_changed(run, url, s3, pictures):
    run(SCRIPT, pictures, "--to", TO, "--local", url)
    again = run(SCRIPT, pictures, "--to", TO, "--local", url)
    assert "0 sent, 8 already there" in again.stdout

    # Uncompressed, so that the two have the same size.
    Image.new("RGB", (8, 8), "red").save(pictures / "ants" / "0.bmp")
    run(SCRIPT, pictures, "--to", TO, "--local", url)
    Image.new("RGB", (8, 8), "blue").save(pictures / "ants" / "0.bmp")
    changed = run(SCRIPT, pictures, "--to", TO, "--local", url)
    assert "1 sent, 8 already there" in changed.stdout
    body = s3.get_object(Bucket=BUCKET, Key="flowers/ants/0.bmp")["Body"].read()
    assert body == (pictures / "ants" / "0.bmp").read_bytes()


def test_an_object_of_unknown_content_is_sent_again(run, url, s3, pictures):
    size = (pictures / "ants" / "0.png").stat().st_size
    s3.put_object(Bucket=BUCKET, Key="flowers/ants/0.png", Body=b"x" * size)
    run(SCRIPT, pictures, "--to", TO, "--local", url)
    body = s3.get_object(Bucket=BUCKET, Key="flowers/ants/0.png")["Body"].read()
    assert body == (pictures / "ants" / "0.png").read_bytes()


def test_an_object_that_an_earlier_version_sent_is_sent_again_with_a_note(run, url, s3, pictures):
    content = (pictures / "ants" / "0.png").read_bytes()
    metadata = {"sha256": hashlib.sha256(content).hexdigest()}
    s3.put_object(Bucket=BUCKET, Key="flowers/ants/0.png", Body=content, Metadata=metadata)
    assert "8 sent, 0 already there" in run(SCRIPT, pictures, "--to", TO, "--local", url).stdout
    assert "0 sent, 8 already there" in run(SCRIPT, pictures, "--to", TO, "--local", url).stdout
    (pictures / "ants" / "0.png").rename(pictures / "ants" / "9.png")
    run(SCRIPT, pictures, "--to", TO, "--local", url, "--delete", "--yes")
    assert "flowers/ants/0.png" not in keys(s3)


def test_a_removed_picture_is_named_and_deleted_on_request(run, url, s3, pictures):
    s3.put_object(Bucket=BUCKET, Key="flowers-2/ants/0.png", Body=b"a neighbour's")
    s3.put_object(Bucket=BUCKET, Key="flowers/", Body=b"")  # the console's folder objects
    run(SCRIPT, pictures, "--to", TO, "--local", url)
    Image.new("RGB", (8, 8), "red").save(pictures / "ants" / "9.png")
    (pictures / "ants" / "0.png").unlink()

    kept = run(SCRIPT, pictures, "--to", TO, "--local", url)
    assert kept.returncode == 0
    assert f"not in the dataset: {TO}/ants/0.png" in kept.stderr
    assert "--delete" in kept.stderr
    assert "flowers/ants/0.png" in keys(s3)

    unsure = run(SCRIPT, pictures, "--to", TO, "--local", url, "--delete")
    assert unsure.returncode == 2
    assert "add --yes" in unsure.stderr
    assert "flowers/ants/0.png" in keys(s3)

    run(SCRIPT, pictures, "--to", TO, "--local", url, "--delete", "--yes")
    assert "flowers/ants/0.png" not in keys(s3)
    assert "flowers/ants/9.png" in keys(s3)
    assert "flowers-2/ants/0.png" in keys(s3)


def test_delete_leaves_what_something_else_put_there(run, url, s3, pictures):
    run(SCRIPT, pictures, "--to", TO, "--local", url)
    by_hand = "flowers/ants/by hand.png"
    s3.put_object(Bucket=BUCKET, Key=by_hand, Body=b"x")
    # A class that an earlier version of this command uploaded, whose folder is gone now.
    s3.put_object(Bucket=BUCKET, Key="flowers/wasps/0.png", Body=b"x", Metadata={"sha256": "0" * 64})
    (pictures / "ants" / "0.png").rename(pictures / "ants" / "9.png")
    done = run(SCRIPT, pictures, "--to", TO, "--local", url, "--delete", "--yes")
    assert done.returncode == 0, done.stderr
    assert "1 objects are deleted" in done.stderr
    assert f"stays, put there by something else: aws s3 rm 's3://{BUCKET}/{by_hand}'" in done.stderr
    assert {by_hand, "flowers/wasps/0.png"} < keys(s3)
    assert "flowers/ants/0.png" not in keys(s3)


class Interrupted(Progress):
    """Ctrl-C when the third picture is reported."""

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        if self.tasks[task_id].completed == 3:
            raise KeyboardInterrupt


def test_interrupted_keeps_what_is_there_and_continues(s3, pictures, monkeypatch):
    dataset = check_dataset(pictures)
    put, sent, cancelled = s3.put_object, [], threading.Event()

    def put_slowly(**request):
        if len(sent) == 3:
            assert cancelled.wait(60)
        put(**request)
        sent.append(request["Key"])

    class Executor(ThreadPoolExecutor):
        def shutdown(self, wait=True, *, cancel_futures=False):
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            cancelled.set()
            super().shutdown(wait=wait)

    monkeypatch.setattr("scripts.upload_dataset.WORKERS", 1)
    monkeypatch.setattr("scripts.upload_dataset.ThreadPoolExecutor", Executor)
    monkeypatch.setattr(s3, "put_object", put_slowly)
    with pytest.raises(KeyboardInterrupt, match=r"\b4 of 8 pictures are in .*run the command again"):
        upload(dataset, TO, s3, Interrupted(disable=True))
    assert keys(s3) == set(sent)
    assert len(sent) == 4  # the one in progress is sent completely

    monkeypatch.setattr(s3, "put_object", put)
    done = upload(dataset, TO, s3, Progress(disable=True))
    assert (done.sent, done.kept) == (4, 4)


@pytest.mark.parametrize(
    "text", ["flowers", "s3://", "s3://bucket", "s3://bucket/", "https://bucket/flowers"]
)
def test_a_malformed_url_is_refused(text):
    with pytest.raises(Failure, match=r"s3://my-bucket/flowers"):
        split_url(text)


def test_a_dataset_that_cannot_be_trained_on_is_refused(run, refused, url, s3, pictures, tmp_path):
    refused(run(SCRIPT, tmp_path / "none", "--to", TO, "--local", url), "none")
    for number in range(2):
        (pictures / "ants" / f"{number}.png").unlink()
    refused(run(SCRIPT, pictures, "--to", TO, "--local", url), "'ants'", "at least 3")
    shutil.rmtree(pictures / "ants")
    refused(run(SCRIPT, pictures, "--to", TO, "--local", url), "one class")
    assert keys(s3) == set()


def test_copies_are_reported_before_anything_is_sent(run, refused, url, s3, pictures):
    for name in ("0 copy.png", "0 again.png"):
        shutil.copyfile(pictures / "ants" / "0.png", pictures / "ants" / name)
    completed = run(SCRIPT, pictures, "--to", TO, "--local", url)
    assert completed.returncode == 0, completed.stderr
    assert "3 pictures have copies (identical bytes)" in completed.stderr
    assert "3 pictures are in 1 group that go" in completed.stderr
    shutil.copyfile(pictures / "ants" / "0.png", pictures / "große Bienen" / "ant.png")
    another = f"s3://{BUCKET}/another"
    refused(run(SCRIPT, pictures, "--to", another, "--local", url), "under two classes", "conflicting_labels")
    assert not keys(s3, "another/")
    neither = run(
        SCRIPT, pictures, "--to", another, "--local", url, "--set", "split.conflicting_labels=leave_out"
    )
    assert neither.returncode == 0, neither.stderr
    assert "the split will leave out große Bienen/ant.png: is the same picture as" in neither.stderr
    assert len(keys(s3, "another/")) == 11


def test_bad_input_is_one_line(run, refused, url, pictures):
    refused(run(SCRIPT), "DIR")
    refused(run(SCRIPT, pictures, "--to", "flowers"), "--to", "s3://")
    refused(run(SCRIPT, pictures), "bucket in pipeline.toml", "example account")
    refused(run(SCRIPT, pictures, "--to", TO), "credentials")
    missing = run(SCRIPT, pictures, "--to", "s3://no-such-bucket/x", "--local", url)
    assert missing.returncode == 2
    assert missing.stderr.splitlines()[-1].startswith(f"{SCRIPT}: AWS refused ListObjectsV2: NoSuchBucket")


def flat(folder):
    """Pictures in one folder, their classes in a table, as at Kaggle; and a test split without labels."""
    rows = ["id,breed"]
    for number in range(8):
        (folder / "train").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (24, 20), (30 * number, 9, 9)).save(folder / "train" / f"{number}.png")
        rows.append(f"{number},{'pug' if number % 2 else 'beagle'}")
    (folder / "test").mkdir()
    Image.new("RGB", (24, 20), (9, 9, 9)).save(folder / "test" / "1.png")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


def test_the_split_reads_what_was_uploaded_as_it_was_read_here(run, url, s3, tmp_path, capsys):
    completed = run(SCRIPT, flat(tmp_path / "dogs"), "--to", TO, "--local", url)
    assert completed.returncode == 0, completed.stderr
    assert completed.stderr.splitlines()[:3] == [
        "labels.csv names the classes: pictures in its column 'id', classes in 'breed'",
        "test is set aside: nothing labels its 1 files",
        "8 pictures of 2 classes: beagle (4), pug (4)",
    ]
    assert keys(s3) == {"flowers/labels.csv", *(f"flowers/train/{number}.png" for number in range(8))}
    again = run(SCRIPT, tmp_path / "dogs", "--to", TO, "--local", url)
    assert again.stdout == (
        f"8 pictures of 2 classes and labels.csv are in {TO}/ (0 sent, 9 already there, 0 left out)\n"
    )
    job = tmp_path / "job"
    for key in keys(s3):
        file = job / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    folders = [f"--{name}={tmp_path / name}" for name in ("train", "validation", "test", "summary")]
    split.main([f"--input={job / 'flowers'}", *folders])
    assert "8 pictures of 2 classes: beagle (4), pug (4)" in capsys.readouterr().out
    assert {folder.name for folder in (tmp_path / "train").iterdir()} == {"beagle", "pug"}


@pytest.mark.usefixtures("s3")
def test_names_that_carry_the_class(run, refused, url, tmp_path):
    for number in range(8):
        file = tmp_path / "pets" / f"{'cat' if number % 2 else 'dog'}.{number}.png"
        file.parent.mkdir(exist_ok=True)
        Image.new("RGB", (24, 20), (30 * number, 9, 9)).save(file)
    refused(run(SCRIPT, file.parent, "--to", TO, "--local", url), "holds 8 files, but no class folders")
    completed = run(SCRIPT, file.parent, "--label-regex", "^([a-z]+)", "--to", TO, "--local", url)
    assert completed.returncode == 0, completed.stderr
    assert "8 pictures of 2 classes: cat (4), dog (4)" in completed.stderr
    assert "upsert_pipeline.py --set 'split.label_regex=^([a-z]+)'" in completed.stderr
    wrong = run(SCRIPT, file.parent, "--label-regex", "(", "--to", TO, "--local", url)
    refused(wrong, "split.label_regex", "is not a regular expression")


@pytest.mark.usefixtures("s3")
def test_two_unicode_forms_of_a_name_are_one_key(run, url, pictures):
    assert run(SCRIPT, pictures, "--to", TO, "--local", url).returncode == 0
    (pictures / "große Bienen").rename(pictures / "gro\u00dfe Bie\u0301nen")
    run(SCRIPT, pictures, "--to", TO, "--local", url)
    (pictures / "gro\u00dfe Bie\u0301nen").rename(pictures / "gro\u00dfe Bi\u00e9nen")
    again = run(SCRIPT, pictures, "--to", TO, "--local", url)
    assert "0 sent, 8 already there" in again.stdout
