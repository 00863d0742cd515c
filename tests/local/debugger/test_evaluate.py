"""How the process that evaluates rules handles actions, parameters and damaged tensors."""

from __future__ import annotations

import json
import re
import shutil
import time

import pytest
from smdebug_rulesconfig.actions.actions import StopTraining

from tests.local.rule_requests import REPORTS, TRAIN, judged_jobs, request, rule, statuses, write_metrics


@pytest.fixture
def service(home, store):
    with judged_jobs(home, store) as jobs:
        yield jobs


def test_a_rule_stops_the_training(service, trials):
    action = StopTraining("t").serialize()  # as the SDK writes it into the request
    asked = request(
        TRAIN + "time.sleep(50)",
        trials / "stuck",
        DebugRuleConfigurations=[
            rule("LossNotDecreasing", num_steps="5", action_json=action),
            rule("VanishingGradient"),
        ],
    )
    began = time.monotonic()
    service.create(asked)
    record = service.wait("t")
    assert record["TrainingJobStatus"] == "Stopped", record
    assert time.monotonic() - began < 45
    assert statuses(record)["LossNotDecreasing"][0] == "IssuesFound"
    assert statuses(record)["VanishingGradient"][0] == "NoIssuesFound"


def test_an_action_that_is_not_json_is_the_error_of_its_rule_alone(service, trials):
    rules = [rule("LossNotDecreasing", num_steps="5", action_json="stop!"), rule("VanishingGradient")]
    service.create(request(TRAIN, trials / "good", DebugRuleConfigurations=rules))
    found = statuses(service.wait("t"))
    assert found["LossNotDecreasing"] == (
        "Error",
        "action_json is not JSON: Expecting value: line 1 column 1 (char 0)",
    )
    assert found["VanishingGradient"] == ("NoIssuesFound", "")


def test_a_rule_that_finds_nothing_lets_the_training_end(service, trials):
    action = StopTraining("t").serialize()
    asked = request(
        TRAIN + "time.sleep(4)",
        trials / "good",
        DebugRuleConfigurations=[rule("LossNotDecreasing", num_steps="5", action_json=action)],
    )
    service.create(asked)
    record = service.wait("t")
    assert record["TrainingJobStatus"] == "Completed", record
    assert statuses(record) == {"LossNotDecreasing": ("NoIssuesFound", "")}


def test_a_rule_with_an_action_sees_the_metrics_that_came_while_it_looked(service, home):
    metric = {"Type": "cpu", "Name": "cpu0", "Dimension": "CPUUtilization", "Value": 1.0}
    write_metrics(home, metric, count=1)
    report = rule("ProfilerReport", action_json=StopTraining("t").serialize())
    service.create(request("import time; time.sleep(5)", ProfilerRuleConfigurations=[report]))
    record = service.wait("t")
    assert statuses(record, "Profiler") == {"ProfilerReport": ("NoIssuesFound", "")}
    reports = home.object_path(REPORTS)
    assert json.loads((reports / "OverallSystemUsage.json").read_text())["Datapoints"] > 10


def test_the_report_tells_what_the_profilers_rules_found(service, home):
    metric = {"Type": "gpu", "Name": "gpu0", "Dimension": "GPUUtilization", "Value": 3.0}
    write_metrics(home, metric, count=20)
    report = rule("ProfilerReport", LowGPUUtilization_patience="10", LowGPUUtilization_window="10")
    service.create(request("import time; time.sleep(1)", ProfilerRuleConfigurations=[report]))
    status, details = statuses(service.wait("t"), "Profiler")["ProfilerReport"]
    assert status == "IssuesFound"
    assert details == "LowGPUUtilization: 95 % of the time gpu0 is used by less than 3 %"
    reports = home.object_path(REPORTS)
    fired = {file.stem: json.loads(file.read_text())["RuleTriggered"] for file in reports.glob("*.json")}
    assert fired.pop("LowGPUUtilization") == 1 and set(fired.values()) == {0}
    page = (reports.parent / "profiler-report.html").read_text()
    assert "Profiler report of t" in page and "The machine was looked at" in page
    assert "95 % of the time gpu0 is used by less than 3 %" in page and page.count("no issue") == 3
    assert "CPU over time" in page and "it has 0 cores" not in page


@pytest.mark.parametrize("content", ["[]", "{}", "{"])
def test_damaged_collections_are_their_rules_error(service, home, trials, content):
    shutil.copytree(trials / "good", home.root / "broken")
    for file in (home.root / "broken").rglob("*_collections.json"):
        file.write_text(content)
    rules = {
        "DebugRuleConfigurations": [rule("Overfit")],
        "ProfilerRuleConfigurations": [rule("ProfilerReport")],
    }
    service.create(request(TRAIN + "time.sleep(0.5)", home.root / "broken", **rules))
    record = service.wait("t")
    assert statuses(record)["Overfit"][0] == "Error"
    assert "exit status" not in statuses(record)["Overfit"][1]
    assert statuses(record, "Profiler")["ProfilerReport"][0] in {"IssuesFound", "NoIssuesFound"}


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"tensor_regex": "*loss", "use_losses_collection": "False"}, "error: nothing to repeat"),
        ({"num_steps": "ten"}, "invalid literal for int() with base 10"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_the_error_of_its_rule_alone(service, trials, parameters, words):
    rules = [rule("LossNotDecreasing", **parameters), rule("VanishingGradient")]
    service.create(request(TRAIN, trials / "good", DebugRuleConfigurations=rules))
    found = statuses(service.wait("t"))
    assert found["LossNotDecreasing"][0] == "Error"
    assert words in found["LossNotDecreasing"][1]
    assert found["VanishingGradient"] == ("NoIssuesFound", "")


def test_a_tensor_of_other_bytes_is_the_error_of_its_rules(service, home, trials):
    shutil.copytree(trials / "good", home.root / "noise")
    for file in (home.root / "noise" / "events").rglob("*.tfevents"):
        file.write_bytes(b"\x7f" * file.stat().st_size)
    service.create(request(TRAIN, home.root / "noise", DebugRuleConfigurations=[rule("Overfit")]))
    status, details = statuses(service.wait("t"))["Overfit"]
    assert status == "Error" and "exit status" not in details


def test_tensors_that_are_cut_off_are_their_rules_error(service, home, trials):
    shutil.copytree(trials / "good", home.root / "cut")
    file = home.root / "cut" / "events" / f"{5:012}" / f"{5:012}_worker_0.tfevents"
    file.write_bytes(file.read_bytes()[:100])
    rules = [rule("VanishingGradient"), rule("LossNotDecreasing", mode="EVAL")]
    service.create(request(TRAIN, home.root / "cut", DebugRuleConfigurations=rules))
    found = statuses(service.wait("t"))
    assert found.pop("LossNotDecreasing") == ("NoIssuesFound", "")
    [(status, details)] = found.values()
    assert status == "Error"
    assert re.fullmatch(r"the file of gradient/Sequential_\S+ at step 5 is cut off or damaged", details)
