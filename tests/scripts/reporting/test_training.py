"""A training's results: its CSV files, Debugger's tensors, Profiler's metrics, the rules' findings."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest

from scripts.reporting import page, system, tensors
from scripts.reporting.parts import Missing
from tests.entrypoints.archives import UNSAFE
from tests.scripts.reporting.account import STEPS
from tests.scripts.reporting.answers import CODE, EPOCHS, TRAINING_JOB

DEBUG_OUTPUT = f"train/debugger/{TRAINING_JOB}/debug-output"
PROFILER_OUTPUT = f"train/profiler/{TRAINING_JOB}/profiler-output"


def test_the_files_of_the_training(report):
    training = report.training
    assert (training.job, training.instance, training.seconds) == (TRAINING_JOB, "ml.m5.2xlarge", 90)
    assert list(training.steps["step"]) == list(range(1, STEPS + 1))
    assert training.steps["backward_s"].sum() == pytest.approx(0.16 * STEPS)
    assert list(training.epochs["epoch"]) == list(range(1, EPOCHS + 1))


def test_what_the_model_was_made_with(report, html):
    recipe = report.training.recipe
    assert (recipe.best_epoch, recipe.weights, recipe.code) == (4, "resnet18.pth", CODE)
    assert recipe.hyperparameters["seed"] == "1" and recipe.versions["torch"] == "2.14.1"
    assert recipe.size_bytes == 1_500_000
    for words in (
        ">1.5\N{NO-BREAK SPACE}MB<",
        CODE,
        "torch 2.14.1, torchvision 0.29.1",
        "epoch 4, which the",
    ):
        assert words in html
    assert "of the epoch that was kept 0.8750" in html


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"hyperparameters": 1}'])
def test_a_training_that_left_no_recipe(account, collect, content):
    left = {name: text for name, text in account.left.items() if name != "model.json"}
    account.put_output(left if content is None else left | {"model.json": content})
    report = collect()
    assert isinstance(report.training.recipe, Missing)
    assert report.training.recipe.reason in page.render(report).replace("&#39;", "'").replace("&#34;", '"')
    assert not isinstance(report.training.epochs, Missing)


def test_an_artifact_that_was_deleted(account, collect):
    account.path(f"train/{TRAINING_JOB}/output/model.tar.gz").unlink()
    assert "is not in S3" in collect().training.recipe.reason


def test_the_time_of_the_job_is_that_of_its_phases(report):
    phases = {phase["name"]: phase["seconds"] for phase in page.phases(report.training)}
    assert phases["forward"] == pytest.approx(0.08 * STEPS)
    assert phases["validation"] == pytest.approx(1.2 * EPOCHS)
    assert sum(phases.values()) == pytest.approx(90)


def test_the_losses_are_those_that_debugger_recorded(report):
    training = report.training
    assert list(training.losses.steps) == list(range(1, STEPS, 10))
    assert training.losses.values == pytest.approx(training.steps["loss"][::10], rel=1e-5)


def test_of_other_tensors_nothing_is_fetched(account, collect):
    """Weights may be gigabytes: only the losses' bytes are requested."""
    for event in account.path(DEBUG_OUTPUT).rglob("*.tfevents"):
        content = bytearray(event.read_bytes())
        content[:4000] = bytes(4000)  # a weight's, which would be found damaged
        event.write_bytes(content)
    assert len(collect().training.losses.values) == STEPS // 10


def test_a_half_uploaded_debug_output(account, collect):
    events = sorted(account.path(DEBUG_OUTPUT).rglob("*.tfevents"))
    for event in events[6:]:  # the fifth is a validation's
        event.unlink()
    assert list(collect().training.losses.steps) == [1, 11, 21, 31, 41]


@pytest.mark.parametrize("folder", ["", "index", "collections"])
def test_missing_tensors(account, collect, folder):
    shutil.rmtree(account.path(DEBUG_OUTPUT) / folder)
    report = collect()
    assert "Debugger recorded nothing" in report.training.losses.reason
    html = page.render(report)
    assert "training (Debugger)" not in html
    assert ">training</text>" in html  # drawn from the training's own file


def test_a_damaged_index(account, collect):
    next(account.path(DEBUG_OUTPUT).rglob("index/*/*.json")).write_text("{")
    assert "is not JSON" in collect().training.losses.reason


@pytest.mark.parametrize("content", ["[]", "{}", '{"collections": []}'])
def test_damaged_collections(account, collect, content):
    next(account.path(DEBUG_OUTPUT).rglob("*_collections.json")).write_text(content)
    assert "cannot be read" in collect().training.losses.reason


def test_damaged_tensors(account, collect):
    for event in account.path(DEBUG_OUTPUT).rglob("*.tfevents"):
        event.write_bytes(b"\x7f" * event.stat().st_size)
    assert "cannot be read" in collect().training.losses.reason


def test_of_many_steps_some_are_read_with_all_their_workers():
    index = sorted(
        f"s3://b/index/{step // 1000:09}/{step:012}_worker_{worker}.json"
        for step in range(0, 5000, 10)
        for worker in range(3)
    )
    chosen = tensors.thinned(index, 40)
    assert len(chosen) == 120 and chosen == sorted(chosen)
    assert {chosen[place].partition("_")[0] for place in (0, -1)} == {
        index[place].partition("_")[0] for place in (0, -1)
    }
    for place in range(0, 120, 3):
        assert len({uri.partition("_")[0] for uri in chosen[place : place + 3]}) == 1
    assert tensors.thinned(index, 1000) == index


def test_an_index_that_leads_out_of_its_folder(account, collect):
    index = next(account.path(DEBUG_OUTPUT).rglob("index/*/*.json"))
    outside = account.path("train/debugger/outside")
    outside.write_bytes(bytes(9000))
    name = index.read_text().partition('"event_file_name": "')[2].partition('"')[0]
    index.write_text(index.read_text().replace(name, "../../outside"))
    assert not isinstance(collect().training.losses, Missing)


def test_a_training_without_debugger(account, collect):
    for key in list(account.job()):
        if key.startswith(("Debug", "Profiler")):
            del account.job()[key]
    report = collect()
    assert report.training.losses.reason.startswith("This training ran without Debugger")
    assert report.training.system.reason.startswith("This training ran without Profiler")
    assert report.training.rules.reason == "The training had no rules of Debugger or Profiler."
    html = page.render(report)
    assert "This training ran without Debugger" in html
    assert ">training</text>" in html


def test_rules_that_fired_come_first_with_their_step(report):
    """Debugger's step 130, in the validation of the third epoch, comes after 120 steps of the training."""
    assert [(rule.name, rule.fired, rule.step) for rule in report.training.rules] == [
        ("Overfit", True, 120),
        ("LossNotDecreasing", False, None),
        ("ProfilerReport", False, None),
    ]
    assert ">Overfit</text>" in page.render(report)


def test_a_rule_that_fired_after_what_was_uploaded_has_no_step(account, collect):
    events = sorted(account.path(DEBUG_OUTPUT).rglob("*.tfevents"))
    for event in events[5:]:
        event.unlink()
    assert collect().training.rules[0].step is None
    shutil.rmtree(account.path(DEBUG_OUTPUT))
    assert collect().training.rules[0].step is None


def test_system_metrics(report):
    load = report.training.system
    assert load.cores == ["cpu0", "cpu1", "cpu2", "cpu3"]
    assert load.cpu.shape == (4, 60)  # of 120 samples
    assert not np.isnan(load.cpu).any()
    assert np.nanmean(load.cpu[3]) > np.nanmean(load.cpu[0]) + 20
    assert load.memory.min() == pytest.approx(30, abs=1)
    assert load.gpu == {}


def test_the_cores_of_several_instances_stay_apart(account, collect):
    for file in sorted(account.path(PROFILER_OUTPUT).rglob("*.json")):
        other = [json.loads(line) | {"NodeId": "algo-2"} for line in file.read_text().splitlines()]
        idle = [metric | {"Value": 0.0} if metric["Type"] == "cpu" else metric for metric in other]
        name = file.name.replace("algo-1", "algo-2")
        file.with_name(name).write_text("".join(json.dumps(metric) + "\n" for metric in idle))
    load = collect().training.system
    assert load.cores == [f"algo-{node} cpu{core}" for node in (1, 2) for core in range(4)]
    assert load.cpu[:4].mean() > 20
    assert (load.cpu[4:] == 0).all()
    assert load.memory.min() == pytest.approx(30, abs=1)


def test_of_many_metrics_some_minutes_are_enough(account, collect, monkeypatch):
    """A week's training has gigabytes of them; between two minutes that are read there is a line, not a
    gap."""
    (first, second) = sorted(account.path(PROFILER_OUTPUT).rglob("*.json"))
    for hour in range(1, 5):
        name = f"{int(first.name.partition('.')[0]) + 3600 * hour}.algo-1.json"
        second.with_name(name).write_text(
            "".join(
                json.dumps(metric | {"Timestamp": metric["Timestamp"] + 3600 * hour}) + "\n"
                for metric in map(json.loads, first.read_text().splitlines())
            )
        )
    monkeypatch.setattr(system, "MAX_BYTES", 3 * first.stat().st_size)
    load = collect().training.system
    assert load.seconds[-1] - load.seconds[0] > 3 * 3600
    assert load.cpu.shape[1] < 10
    assert not np.isnan(load.cpu).any()


def test_missing_system_metrics(account, collect):
    shutil.rmtree(account.path(PROFILER_OUTPUT))
    assert "Profiler left no system metrics" in collect().training.system.reason


def test_damaged_system_metrics(account, collect):
    for file in account.path(PROFILER_OUTPUT).rglob("*.json"):
        file.write_text("{\n" + file.read_text())
    assert "are damaged" in collect().training.system.reason


def test_a_training_that_is_still_running(account, collect):
    account.job()["TrainingJobStatus"] = "InProgress"
    account.path(f"train/{TRAINING_JOB}/output/output.tar.gz").unlink()
    report = collect()
    assert "is still running" in report.training.steps.reason
    assert len(report.training.losses.values) == STEPS // 10


def test_a_damaged_archive(account, collect):
    archive = account.path(f"train/{TRAINING_JOB}/output/output.tar.gz")
    archive.write_bytes(archive.read_bytes()[:300])
    report = collect()
    assert "cannot be unpacked" in report.training.steps.reason
    assert report.training.epochs == report.training.steps


@pytest.mark.parametrize("kind", ["a bomb", "a symbolic link", "a way out"])
def test_an_archive_that_would_do_harm(account, collect, kind):
    make, words = UNSAFE[kind]
    account.put(f"train/{TRAINING_JOB}/output/output.tar.gz", make("steps.csv"))
    report = collect()
    assert "cannot be unpacked (" in report.training.steps.reason
    assert words in report.training.steps.reason
    assert report.training.epochs == report.training.steps


def test_an_archive_with_another_checksum(account, collect):
    """What is damaged may well be digits."""
    archive = account.path(f"train/{TRAINING_JOB}/output/output.tar.gz")
    archive.write_bytes(archive.read_bytes()[:-8] + bytes(8))
    assert "cannot be unpacked (damaged: BadGzipFile: CRC check failed" in collect().training.steps.reason


@pytest.mark.parametrize("place", [9_000, 12_000])
def test_an_archive_that_is_damaged_inside_a_file(account, collect, place):
    """At one place zlib complains, at the other the checksum does."""
    account.put_output({"steps.csv": "".join(str(number**3) for number in range(5000))})
    archive = account.path(f"train/{TRAINING_JOB}/output/output.tar.gz")
    content = archive.read_bytes()
    archive.write_bytes(content[:place] + bytes([0x55]) * 2000 + content[place + 2000 :])
    assert "cannot be unpacked (" in collect().training.steps.reason


def test_files_of_an_older_training(account, collect):
    account.put_output({"metrics.json": "{}"})
    assert "left no steps.csv" in collect().training.steps.reason


@pytest.mark.parametrize("text", ["step,loss\n1,2\n", "step,epoch\n", "\x00\n\x00", "a"])
def test_files_that_are_not_the_contracts(account, collect, text):
    account.put_output({"steps.csv": text, "epochs.csv": text})
    training = collect().training
    assert "steps.csv of the training" in training.steps.reason
    assert "epochs.csv of the training" in training.epochs.reason


def test_a_loss_that_is_not_a_number_is_drawn_around(report):
    steps = dict(report.training.steps)
    steps["loss"] = np.where(steps["step"] > 50, np.nan, steps["loss"])
    training = replace(report.training, steps=steps, losses=Missing("none"))
    plots = re.findall(r"<svg.*?</svg>", page.render(replace(report, training=training)), re.DOTALL)
    assert not [plot for plot in plots if re.search(r"\bnan\b", plot)]
