import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.invoke import REQUESTS
from scripts.pictures import in_order
from tests.scripts.runtime import ANSWER, ENDPOINT, EXPLAINED, SCRIPT

PROGRAM = Path(__file__).resolve().parents[2] / "scripts" / SCRIPT


def test_label_and_probabilities_in_a_table(run, runtime, picture):
    completed = run(SCRIPT, picture, "--local", runtime.url)
    assert completed.returncode == 0, completed.stderr
    assert "große Bienen" in completed.stdout
    assert "75.0%" in completed.stdout
    assert "ants 25.0%" in completed.stdout
    assert runtime.requests == [("image/png", picture.read_bytes())]


@pytest.mark.parametrize(("columns", "shown"), [("80", "…"), ("300", "holiday/")])
def test_a_narrow_table_keeps_the_end_of_a_files_name(run, runtime, picture, tmp_path, columns, shown):
    folder = tmp_path / "holiday" / ("of the summer " * 8).strip()
    folder.mkdir(parents=True)
    for name in ("IMG_0001.png", "IMG_0002.png"):
        (folder / name).write_bytes(picture.read_bytes())
    table = run(SCRIPT, folder, "--local", runtime.url, COLUMNS=columns).stdout
    assert "IMG_0001.png" in table and "IMG_0002.png" in table and shown in table
    assert "75.0%" in table


def test_json(run, runtime, picture):
    completed = run(SCRIPT, picture, picture, "--format", "json", "--local", runtime.url)
    assert json.loads(completed.stdout) == [{"file": str(picture), **ANSWER}] * 2


@pytest.fixture
def folder(tmp_path):
    """Pictures in two folders, and a file that is not a picture."""
    folder = tmp_path / "photos"
    (folder / "b").mkdir(parents=True)
    for number, name in enumerate(("2.png", "10.png", "b/1.png", "b/2.png")):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / name)
    (folder / ".hidden").write_text("x")
    (folder / "Thumbs.db").write_text("x")
    (folder / "b" / "notes.txt").write_text("bees")
    return folder


def test_a_folder_gives_its_pictures_in_order_and_lists_the_rest(run, runtime, folder):
    completed = run(SCRIPT, folder, "--format", "csv", "--local", runtime.url)
    assert completed.returncode == 0, completed.stderr
    rows = list(csv.DictReader(io.StringIO(completed.stdout)))
    assert [row["file"] for row in rows] == [
        str(folder / name) for name in ("10.png", "2.png", "b/1.png", "b/2.png")
    ]
    assert rows[0] == {
        "file": str(folder / "10.png"), "label": "große Bienen", "probability": "0.75",
        "probability_ants": "0.25", "probability_große Bienen": "0.75",
    }  # fmt: skip
    assert completed.stderr == f"left out: {folder / 'b' / 'notes.txt'} is not an image\n"


def test_whether_a_picture_is_known(run, runtime, picture):
    told = {**ANSWER, "known": False, "score": 1.25}
    for output_format, expected in (("table", "no: 1.2 x"), ("csv", ",0.75,false,1.25,0.25,0.75\n")):
        runtime.server.errors[:] = [(200, "application/json", json.dumps(told).encode(), None)]
        completed = run(SCRIPT, picture, "--format", output_format, "--local", runtime.url)
        assert expected in completed.stdout, completed.stderr
    assert completed.stdout.startswith("file,label,probability,known,score,probability_ants,")


def test_explained_pictures_are_red_where_they_speak_for_the_label(run, runtime, folder, tmp_path):
    why = tmp_path / "why"
    completed = run(SCRIPT, folder / "2.png", folder / "b", "--explain", why, "--local", runtime.url)
    assert completed.returncode == 0, completed.stderr
    assert sorted(path.name for path in why.iterdir()) == ["1.png.png", "2.png-2.png", "2.png.png"]
    with Image.open(why / "1.png.png") as image:
        red = np.asarray(image)[..., 0]
    assert red[5, 5] > 100 > 30 > red[0, 0]  # below on the right of the middle, and outside of it
    assert red[5, 5] == red.max()


@pytest.mark.parametrize(
    ("answer", "words"),
    [(ANSWER, "of an earlier version"), ({**EXPLAINED, "map": [[1.0]]}, "its map has one place")],
)
def test_a_model_that_cannot_explain_is_one_line(run, runtime, picture, tmp_path, answer, words):
    runtime.server.errors[:] = [(200, "application/json", json.dumps(answer).encode(), None)]
    done = run(SCRIPT, picture, "--explain", tmp_path / "why", "--local", runtime.url)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
    assert list((tmp_path / "why").iterdir()) == []


def test_explained_pictures_do_not_go_where_pictures_are_looked_for(run, refused, runtime, folder):
    done = run(SCRIPT, folder, "--explain", folder / "why", "--local", runtime.url)
    refused(done, f"lies in {folder}, whose pictures are sent")
    assert not (folder / "why").exists()


def test_a_folder_without_pictures(run, refused, runtime, tmp_path):
    refused(run(SCRIPT, tmp_path, "--local", runtime.url), f"no pictures found in {tmp_path}")


def test_a_picture_from_stdin(runtime, picture):
    completed = subprocess.run(
        [sys.executable, PROGRAM, "-", "--format", "json", "--local", runtime.url],
        input=picture.read_bytes(), capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    assert json.loads(completed.stdout) == [{"file": "-", **ANSWER}]
    assert runtime.requests == [("image/png", picture.read_bytes())]


def test_a_refused_picture_is_named_and_the_others_are_printed(run, runtime, picture, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(picture.read_bytes() + b"BAD")
    assert run(SCRIPT, bad, "--format", "json", "--local", runtime.url).stdout == "[]\n"
    completed = run(SCRIPT, bad, picture, "--format", "json", "--local", runtime.url)
    assert completed.returncode == 1
    assert json.loads(completed.stdout) == [{"file": str(picture), **ANSWER}]
    assert completed.stderr == f"refused: {bad}: The body is truncated.\n"


def test_results_come_in_order_and_few_wait():
    taken = []

    def items():
        for number in range(200):
            taken.append(number)
            yield number

    begun = threading.Semaphore(0)

    def slow_first(number):
        if number == 0:
            for _ in range(REQUESTS - 1):  # as many as there are threads run in parallel
                assert begun.acquire(timeout=30)
        begun.release()
        return number

    results = in_order(slow_first, items())
    assert next(results) == 0
    assert len(taken) < 100
    assert list(results) == list(range(1, 200))


def test_a_reader_that_has_had_enough(runtime, picture):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, PROGRAM, picture, "--format", "json", "--local", runtime.url]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


def test_ctrl_c_keeps_what_was_answered(runtime, picture, tmp_path):
    slow = tmp_path / "slow.png"
    slow.write_bytes(picture.read_bytes() + b"SLOW")
    process = subprocess.Popen(
        [sys.executable, PROGRAM, picture, slow, "--format", "json", "--local", runtime.url],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
    )  # fmt: skip
    begun = process.stdout.readline()  # one answer is there; the other does not come
    process.send_signal(signal.SIGINT)
    rest, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert errors == b"predict.py: interrupted\n"
    assert json.loads(begun + rest) == [{"file": str(picture), **ANSWER}]


def test_a_name_that_is_not_utf8(run, runtime, picture, tmp_path):
    odd = os.fsencode(tmp_path) + b"/\xff.png"
    os.link(picture, odd)
    completed = run(SCRIPT, os.fsdecode(odd), "--format", "json", "--local", runtime.url)
    assert json.loads(completed.stdout)[0]["file"] == f"{tmp_path}/\\udcff.png"


def test_bad_input_is_one_line(run, refused, runtime, picture, tmp_path):
    refused(run(SCRIPT), "PICTURE")
    refused(run(SCRIPT, "-", "-"), "stdin holds one picture")
    refused(run(SCRIPT, "-"), "- is empty")
    refused(run(SCRIPT, picture, "--format", "xml"), "xml")
    refused(run(SCRIPT, tmp_path / "none.png"), "none.png", "No such file")
    (tmp_path / "notes.png").write_text("bees")
    refused(run(SCRIPT, picture, tmp_path / "notes.png", "--local", runtime.url), "notes.png is not an image")
    assert runtime.requests == []
    refused(
        run(SCRIPT, picture, "--endpoint", "flowers", "--local", runtime.url),
        "there is no endpoint flowers",
        "--endpoint",
    )


def test_a_missing_endpoint_is_one_line_with_tensor_too(run, refused, url, picture):
    refused(run(SCRIPT, picture, "--tensor", "--local", url), f"there is no endpoint {ENDPOINT}")
