import pytest

from config.sections import Gate
from steps import deploy, gate, register, verify

THRESHOLD = {"Get": "Parameters.AccuracyThreshold"}


def of_gate(path):
    """A member of gate.json, as the definition refers to it."""
    file = {"Get": "Steps.EvaluateModel.PropertyFiles.EvaluationResult"}
    return {"Std:JsonGet": {"PropertyFile": file, "Path": path}}


@pytest.fixture
def built(steps, request_of):
    """The gate's request, made with settings of [gate], before the given steps or those of the pipeline."""

    def build(passed=None, **settings):
        context, splitting, _, training, evaluating = steps(gate=Gate(**settings))
        if passed is None:
            registering = register.build(context, splitting, training, evaluating)
            deploying = deploy.build(context, registering)
            passed = [registering, deploying, verify.build(context, evaluating, deploying)]
        return request_of(gate.build(context, evaluating, passed))

    return build


def said(step):
    """The Fail step of a condition, and the parts of its sentence."""
    (fail,) = step["Arguments"]["ElseSteps"]
    assert fail["Type"] == "Fail"
    return fail["Name"], fail["Arguments"]["ErrorMessage"]["Std:Join"]["Values"]


def test_the_conditions_and_their_ways(built):
    step = built()
    assert (step["Name"], step["Type"]) == ("CheckAccuracy", "Condition")
    assert step["Arguments"]["Conditions"] == [
        {"Type": "GreaterThanOrEqualTo", "LeftValue": of_gate("value"), "RightValue": THRESHOLD}
    ]
    assert said(step)[0] == "AccuracyTooLow"
    (guessing,) = step["Arguments"]["IfSteps"]
    assert guessing["Name"] == "CheckGuessing"
    (condition,) = guessing["Arguments"]["Conditions"]
    assert condition == {
        "Type": "GreaterThan",
        "LeftValue": of_gate("accuracy_lower_bound"),
        "RightValue": of_gate("majority_accuracy"),
    }
    assert said(guessing)[0] == "NoBetterThanGuessing"
    (champion,) = guessing["Arguments"]["IfSteps"]
    assert champion["Name"] == "CheckChampion"
    assert said(champion)[0] == "WorseThanChampion"
    names = ["RegisterModel", "DeployEndpoint", "VerifyEndpoint"]
    assert [item["Name"] for item in champion["Arguments"]["IfSteps"]] == names


def test_a_worse_model_replaces_the_one_that_serves_only_when_asked_to(built):
    step = built([], better_than_guessing=False, margin=0.01)["Arguments"]["IfSteps"][0]
    (condition,) = step["Arguments"]["Conditions"]
    assert condition == {
        "Type": "Or",
        "Conditions": [
            {
                "Type": "GreaterThanOrEqualTo",
                "LeftValue": of_gate("difference_bound"),
                "RightValue": -0.01,
            },
            {"Type": "Equals", "LeftValue": of_gate("compared"), "RightValue": "false"},
            {"Type": "Equals", "LeftValue": {"Get": "Parameters.ReplaceWorse"}, "RightValue": "true"},
        ],
    }


def test_the_lower_bound_has_to_reach_the_threshold_too(built):
    step = built([], lower_bound=True)
    assert [condition["LeftValue"] for condition in step["Arguments"]["Conditions"]] == [
        of_gate("value"),
        of_gate("lower_bound"),
    ]
    assert {condition["Type"] for condition in step["Arguments"]["Conditions"]} == {"GreaterThanOrEqualTo"}
    _, parts = said(step)
    assert ": its lower bound, " in parts
    assert parts.count(of_gate("lower_bound_text")) == 2


def test_guessing_may_be_left_to_the_person(built):
    (step,) = built([], better_than_guessing=False)["Arguments"]["IfSteps"]
    assert step["Name"] == "CheckChampion"


def test_each_failure_says_both_numbers_and_what_would_let_the_model_pass(built):
    step = built([])
    _, parts = said(step)
    assert [part for part in parts if isinstance(part, dict)] == [
        of_gate("measured"), THRESHOLD, of_gate("value_text")
    ]  # fmt: skip
    assert "; --parameter AccuracyThreshold=" in parts
    _, parts = said(step["Arguments"]["IfSteps"][0])
    assert parts[0] == of_gate("guessing")
    assert "--set gate.better_than_guessing=false" in parts[1]
    _, parts = said(step["Arguments"]["IfSteps"][0]["Arguments"]["IfSteps"][0])
    assert (parts[0], parts[2]) == (of_gate("comparison"), of_gate("difference_bound_text"))
    assert parts[3].startswith(" is below -0.03, ") and "--parameter ReplaceWorse=true" in parts[3]
