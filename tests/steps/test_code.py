import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from config.settings import Settings
from entrypoints.contract import NO_CHAMPION, RANDOM_WEIGHTS
from steps import code

ROOT = Path(__file__).resolve().parents[2]
ROLE = "arn:aws:iam::123456789012:role/X"
SETTINGS = Settings(bucket="pictures", execution_role=ROLE, lambda_role=ROLE, scheduler_role=ROLE)


# Prints where each module of the package that the current folder's modules import would be found.
FIND_IMPORTS = """
import ast, importlib.util, json, pathlib
names = set()
for path in pathlib.Path("entrypoints").rglob("*.py"):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
specs = {name: importlib.util.find_spec(name) for name in names if name.split(".")[0] == "entrypoints"}
print(json.dumps({name: spec and spec.origin for name, spec in specs.items()}))
"""


@pytest.fixture
def package(tmp_path):
    """A small entrypoints/ with what `bundles` needs."""
    files = {
        "__init__.py": "",
        "contract.py": "",
        "split.py": "from entrypoints import contract\n",
        "train.py": "def main():\n    from entrypoints.model import build\n",
        "model.py": "from entrypoints.serving.predictor import predict\n",
        "evaluate.py": "import entrypoints.contract\n",
        "deploy.py": "from entrypoints.contract import X\nimport boto3\n",
        "verify.py": "from entrypoints.deploy import target\n",
        "unused.py": "",
        "serving/__init__.py": "",
        "serving/predictor.py": "import onnxruntime\n",
        "serving/config.yaml": "applications: []\n",
        "serving/page.html": "<html>\n",
        "requirements/split.txt": "pi-heif\n",
        "requirements/tune.txt": "safetensors\n",
        "requirements/train.txt": "onnx\n",
        "requirements/debugger.txt": "smdebug\n",
        "requirements/evaluate.txt": "safetensors\n",
        "requirements/serving.txt": "starlette\n",
        "run.sh": "exec python3\n",
    }
    for name, text in files.items():
        path = tmp_path / "entrypoints" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_a_bundle_holds_what_its_program_imports_and_no_more(package):
    files = {name: set(bundle.files) for name, bundle in code.bundles(package).items()}
    assert files["split"] == {
        "entrypoints/__init__.py",
        "entrypoints/contract.py",
        "entrypoints/split.py",
        "requirements.txt",
        "run.sh",
    }
    assert (
        files["train"]
        == files["train_debugged"]
        == files["tune"]
        == {
            "entrypoints/__init__.py",
            "entrypoints/model.py",
            "entrypoints/requirements/serving.txt",
            "entrypoints/serving/__init__.py",
            "entrypoints/serving/config.yaml",
            "entrypoints/serving/page.html",
            "entrypoints/serving/predictor.py",
            "entrypoints/train.py",
            "requirements.txt",
        }
    )
    assert files["deploy"] == {
        "entrypoints/__init__.py",
        "entrypoints/contract.py",
        "entrypoints/deploy.py",
    }
    assert files["verify"] == files["deploy"] | {"entrypoints/verify.py", "run.sh"}
    assert files["random_weights"] == {RANDOM_WEIGHTS}
    assert files["no_champion"] == {NO_CHAMPION}


def test_each_training_brings_the_requirements_of_what_it_does(package):
    bundles = code.bundles(package)
    assert bundles["tune"].files["requirements.txt"] == b"safetensors\n"
    assert bundles["train"].files["requirements.txt"] == b"onnx\n"
    assert bundles["train_debugged"].files["requirements.txt"] == b"onnx\nsmdebug\n"


def test_a_missing_program_is_an_error(package):
    (package / "entrypoints/evaluate.py").unlink()
    with pytest.raises(FileNotFoundError, match=r"evaluate\.py"):
        code.bundles(package)


@pytest.mark.parametrize("name", ["split", "tune", "train", "train_debugged", "evaluate", "deploy", "verify"])
def test_the_real_bundles_import_nothing_of_ours_from_outside(tmp_path, name):
    """Every import of the package that is found in a bundle can be resolved inside it."""
    bundle = code.bundles()[name]
    for path, content in bundle.files.items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", FIND_IMPORTS]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    assert found
    for module, origin in found.items():
        assert origin and Path(origin).is_relative_to(tmp_path), module


def test_the_digest_is_of_paths_and_bytes():
    digest = code.Bundle("x", "tar", {"a": b"1", "b": b"2"}).digest
    assert digest == code.Bundle("y", "zip", {"b": b"2", "a": b"1"}).digest
    assert digest != code.Bundle("x", "tar", {"a": b"1", "b": b"3"}).digest
    assert digest != code.Bundle("x", "tar", {"a": b"1b", "": b"2"}).digest
    expected = hashlib.sha256()
    for part in (b"a", b"1", b"b", b"2"):
        expected.update(len(part).to_bytes(8, "big") + part)
    assert digest == expected.hexdigest()


def test_file_times_and_what_lies_about_do_not_change_a_digest(package):
    before = code.digests(code.bundles(package))
    os.utime(package / "entrypoints/train.py", (1, 1))
    (package / "entrypoints/serving/__pycache__").mkdir()
    (package / "entrypoints/serving/__pycache__/predictor.cpython-311.pyc").write_bytes(b"x")
    for name in (".DS_Store", ".#predictor.py", "predictor.py~", "predictor.py.orig", "predictor.pyc"):
        (package / "entrypoints/serving" / name).write_bytes(b"x")
    assert code.digests(code.bundles(package)) == before


def test_an_edit_changes_only_the_bundles_that_hold_the_file(package):
    before = code.digests(code.bundles(package))
    (package / "entrypoints/model.py").write_text("from entrypoints.serving import predictor\n")
    after = code.digests(code.bundles(package))
    assert {name for name in before if before[name] != after[name]} == {"tune", "train", "train_debugged"}


def test_the_tarball_has_no_trace_of_time_or_owner(package):
    bundle = code.bundles(package)["train"]
    assert bundle.archive() == bundle.archive()
    with tarfile.open(fileobj=io.BytesIO(bundle.archive())) as archive:
        members = archive.getmembers()
        assert [member.name for member in members] == sorted(bundle.files)
        for member in members:
            assert (member.mtime, member.uid, member.gid, member.uname, member.mode) == (0, 0, 0, "", 0o644)
            assert archive.extractfile(member).read() == bundle.files[member.name]


def test_the_zip_for_lambda_has_no_trace_of_time_and_is_readable(package):
    bundle = code.bundles(package)["deploy"]
    assert bundle.archive() == bundle.archive()
    with zipfile.ZipFile(io.BytesIO(bundle.archive())) as archive:
        assert sorted(archive.namelist()) == sorted(bundle.files)
        assert {item.date_time[0] for item in archive.infolist()} == {1980}
        assert {item.external_attr >> 16 & 0o777 for item in archive.infolist()} == {0o644}


def test_upload_puts_what_is_missing_and_nothing_twice(s3, package, uploaded):
    bundles = code.bundles(package)
    first = code.upload(s3, SETTINGS, bundles.values())
    train_url = code.url(SETTINGS, "train", bundles["train"].digest)
    marker = code.url(SETTINGS, "random_weights", bundles["random_weights"].digest)
    assert train_url in first
    assert uploaded(marker) == [f"{marker.removeprefix('s3://pictures/')}{RANDOM_WEIGHTS}"]
    assert not any("/deploy/" in uri for uri in first)
    assert code.upload(s3, SETTINGS, bundles.values()) == []

    (package / "entrypoints/split.py").write_text("changed = True\n")
    changed = code.bundles(package)
    again = code.upload(s3, SETTINGS, changed.values())
    folder = code.url(SETTINGS, "split", changed["split"].digest)
    assert sorted(again) == sorted(f"{folder}{path}" for path in changed["split"].files)


def test_an_upload_that_was_cut_off_is_completed(s3, package):
    bundle = code.bundles(package)["split"]
    uris = code.upload(s3, SETTINGS, [bundle])
    s3.delete_object(Bucket="pictures", Key=uris[0].removeprefix("s3://pictures/"))
    assert code.upload(s3, SETTINGS, [bundle]) == uris[:1]


def test_a_bucket_that_is_not_there_is_an_error(s3, package):
    s3.delete_bucket(Bucket="pictures")
    with pytest.raises(ClientError, match="NoSuchBucket"):
        code.upload(s3, SETTINGS, code.bundles(package).values())
