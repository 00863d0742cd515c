"""Each rule fires for a training with its problem, and not for a healthy one."""

from __future__ import annotations

import re

import pytest
from smdebug.trials import create_trial

from local.debugger.tensor_rules import RULES
from local.debugger.tensors import NothingToJudge, Tensors

# By default the first two wait longer than a small training takes; the third expects big networks' gradients,
# which differ more than those of a bias of two values.
OWN = {
    "LossNotDecreasing": {"num_steps": "5"},
    "Overtraining": {"patience_train": "5", "patience_validation": "3", "delta": "0.001"},
    "PoorWeightInitialization": {"distribution_range": "0.0001"},
}


def find(trials, training, rule, **parameters):
    return RULES[rule](Tensors(create_trial(str(trials / training))), OWN.get(rule, {}) | parameters)


@pytest.mark.parametrize("rule", RULES)
def test_a_training_that_is_well_has_no_issues(trials, rule):
    assert find(trials, "good", rule) is None


@pytest.mark.parametrize(
    ("training", "rule", "parameters", "step", "reason"),
    [
        # Every fourth global step is a validation: its step 5 is the global step 23.
        ("stuck", "LossNotDecreasing", {}, 23, r"in mode EVAL it was (\S+) at step 0, \1 at step 5"),
        ("stuck", "LossNotDecreasing", {"mode": "TRAIN"}, 6, "in mode TRAIN it was .* at step 5"),
        (
            "stuck",
            "LossNotDecreasing",
            {"mode": "GLOBAL"},
            5,
            r"in mode GLOBAL it was (\S+) at step 0, \1 at",
        ),
        ("good", "LossNotDecreasing", {"diff_percent": "90"}, 23, "in mode EVAL"),
        ("exploding", "LossNotDecreasing", {}, 23, "it was nan at step 0"),
        ("stuck", "Overtraining", {}, 15, "improves by 0.001 any more"),
        ("overfit", "Overfit", {"patience": "2"}, 7, "is over 10% above the training loss"),
        ("vanishing", "VanishingGradient", {}, 0, "of gradient/Sequential_0_linear.bias .* below 1e-07"),
        ("good", "VanishingGradient", {"threshold": "100"}, 0, "below 100"),
        ("exploding", "ExplodingTensor", {"only_nan": "True"}, 1, "has values that are not a number"),
        ("exploding", "ExplodingTensor", {}, 1, "has values that are infinite"),
        ("vanishing", "PoorWeightInitialization", {}, 0, "variance of the activation inputs differs by a"),
        ("vanishing", "PoorWeightInitialization", {"threshold": "1e9"}, 0, "90 % of gradient/"),
        ("stuck", "PoorWeightInitialization", {"threshold": "1e9"}, 6, "has not fallen for 5 saved steps"),
    ],
)
def test_a_rule_finds_what_it_looks_for(trials, training, rule, parameters, step, reason):
    finding = find(trials, training, rule, **parameters)
    assert finding is not None
    assert re.search(reason, finding.reason), finding.reason
    assert finding.step == step


def test_tensors_are_chosen_by_collection_and_by_name(trials):
    chosen = Tensors(create_trial(str(trials / "good"))).chosen(
        {"collection_names": "losses", "tensor_regex": ".*relu_input, gradient/.*last.bias"}
    )
    assert chosen == [
        "0_relu_input_0",
        "1_relu_input_0",
        "CrossEntropyLoss_output_0",
        "gradient/Sequential_last.bias",
    ]
    assert find(trials, "exploding", "ExplodingTensor", tensor_regex="CrossEntropy.*").step == 1


def test_losses_outside_their_collection_are_found_by_name(trials):
    for rule in ("Overfit", "Overtraining"):
        assert find(trials, "good", rule, tensor_regex="CrossEntropy.*") is None
        with pytest.raises(NothingToJudge, match="both in training and in validation"):
            find(trials, "good", rule, tensor_regex="gradient/.*")
    assert find(trials, "overfit", "Overfit", tensor_regex="CrossEntropy.*").step == 3


def test_overfit_waits_for_its_first_step_and_is_patient(trials):
    assert find(trials, "overfit", "Overfit").step == 3
    assert find(trials, "overfit", "Overfit", start_step="4").step == 7
    assert find(trials, "overfit", "Overfit", patience="3").step == 11
    assert find(trials, "overfit", "Overfit", ratio_threshold="1e9") is None


def test_what_was_not_saved_cannot_be_judged(trials):
    with pytest.raises(NothingToJudge, match="no tensor of the collection weights was saved"):
        find(trials, "good", "ExplodingTensor", collection_names="weights")
