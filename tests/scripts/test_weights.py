"""Files of weights from users, checked before anything starts."""

import gzip
import hashlib
import json
import pickle
import zipfile

import pytest

import scripts.weights
from scripts.command import Failure
from scripts.weights import BACKBONE, check_file, check_url, find_weights


def zipped(path, *names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")


def safetensors(path, **tensors):
    header = json.dumps(tensors).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)


@pytest.mark.parametrize(
    ("name", "write", "words"),
    [
        ("a.pth", lambda path: path.write_text("<html>\nnot found"), 'text that begins "<html>'),
        ("a.pth", lambda path: path.write_text("é" * 200), 'text that begins "é'),
        ("a.safetensors", lambda path: path.write_text("version https://git-lfs.github.com"), "git lfs pull"),
        ("a.pt", lambda path: path.write_bytes(b""), "empty"),
        ("a.pt", lambda path: path.write_bytes(gzip.compress(b"x")), "gzip archive; unpack it"),
        ("a.pth", lambda path: zipped(path, "cats/1.png"), "other files, such as cats/1.png; give"),
        ("a.pth", lambda path: path.write_bytes(b"PK\x03\x04 cut off"), "cut off or damaged"),
        ("a.pth", lambda path: path.write_bytes(bytes(range(7, 90))), "neither a file of torch.save"),
        ("a.pth", safetensors, "rename it to a.safetensors"),
        ("a.safetensors", lambda path: zipped(path, "a/data.pkl"), "rename it to a.pth"),
        ("a.bin", safetensors, "must end in one of .pth, .pt, .safetensors"),
        ("a.pth", lambda path: path.mkdir(), "a folder; name the file in it"),
        ("a.pth", lambda _: None, "no such file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_weights_is_refused_by_its_first_bytes(tmp_path, name, write, words):
    write(tmp_path / name)
    with pytest.raises(Failure) as refused:
        check_file(tmp_path / name)
    assert words in str(refused.value)
    assert name in str(refused.value) and "\n" not in str(refused.value)


def test_what_can_be_weights_is_left_to_torch(tmp_path):
    zipped(tmp_path / "new.pth", "archive/data.pkl", "archive/data/0")
    (tmp_path / "old.PT").write_bytes(pickle.dumps({}))
    safetensors(tmp_path / "other.safetensors")
    for path in tmp_path.iterdir():
        check_file(path)


def test_weights_of_another_network_are_refused_before_any_job(tmp_path, run, refused, pictures):
    import torch
    from torchvision.models import resnet18, resnet34

    torch.save(resnet34().state_dict(), tmp_path / "other.pth")
    torch.save(resnet18(num_classes=5).state_dict(), tmp_path / "own.pth")
    home = tmp_path / "home"
    done = run("run_local.py", "--data", pictures, "--home", home, "--weights", tmp_path / "other.pth")
    refused(done, "run_local.py: ", "other.pth is not a ResNet18 of torchvision: it has ", "imagenet or none")
    assert not home.exists()
    done = run("weights.py", tmp_path / "own.pth")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path}/own.pth fits ResNet18\n"


def test_what_torch_has_downloaded_before_is_taken(tmp_path, monkeypatch, capsys):
    name = BACKBONE.weights_url.rpartition("/")[2]
    cached = tmp_path / "torch" / "hub" / "checkpoints" / name
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"weights")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    def offline(*asked):
        raise Failure(asked[-1])

    monkeypatch.setattr(scripts.weights, "download", offline)
    with pytest.raises(Failure, match=f"give it with --weights {name}"):  # its digest is another one
        find_weights("imagenet", tmp_path / "home")
    digest = hashlib.sha256(b"weights").hexdigest()
    monkeypatch.setattr(scripts.weights, "_digest", lambda _: BACKBONE.weights_sha256 + digest)
    assert find_weights("imagenet", tmp_path / "home") == cached
    assert str(cached) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ({}, "must hold exactly one weights file (.pth, .pt, .safetensors) or one named RANDOM_WEIGHTS"),
        ({"a.pth": b"\x80x", "b.pt": b"\x80x"}, "it holds a.pth, b.pt"),
        ({"notes.txt": b"x"}, "it holds notes.txt"),
        ({"a.pth": b"hello"}, 'a.pth holds no weights: it is text that begins "hello"'),
        ({"a.pth": b""}, "a.pth holds no weights: it is empty"),
        ({"a.pth": b"PK\x03\x04", "notes.txt": b"x", "old/a.pth": b"x", ".b.pth": b"x"}, None),
        ({"RANDOM_WEIGHTS": b"x"}, None),
    ],
    ids=["nothing", "two", "notes", "text", "empty", "torch", "marker"],
)
def test_a_url_that_every_trial_would_refuse_is_refused_at_the_start(s3, objects, words):
    bucket = s3.list_buckets()["Buckets"][0]["Name"]
    for name, content in objects.items():
        s3.put_object(Bucket=bucket, Key=f"weights/{name}", Body=content)
    if words is None:
        check_url(s3, f"s3://{bucket}/weights/")
        return
    with pytest.raises(Failure) as refused:
        check_url(s3, f"s3://{bucket}/weights/")
    assert words in str(refused.value) and f"s3://{bucket}/weights/" in str(refused.value)


@pytest.mark.parametrize("stub", ["s3"], indirect=True)
def test_where_nobody_may_look_the_trials_are_asked(stub):
    stub.add_client_error("list_objects_v2", "AccessDenied", "no", 403)
    check_url(stub.client, "s3://bucket/weights/")
