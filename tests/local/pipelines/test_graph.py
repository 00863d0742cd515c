import pytest

from local.definition.definition import parse_definition
from local.pipelines.graph import progress
from tests.local.definitions import EQUAL, condition, document, processing


def on(step, trigger):
    return {"Step": step, "Trigger": trigger}


def ready(steps, statuses=None, outcomes=None):
    return progress(parse_definition(document(*steps)), statuses or {}, outcomes or {}).ready


def test_independent_steps_are_ready_in_the_order_of_the_definition():
    assert ready([processing("B"), processing("A"), processing("C", DependsOn=["A"])]) == ("B", "A")


@pytest.mark.parametrize("status", ["Starting", "Executing", "Stopping"])
def test_a_step_waits_for_all_that_it_depends_on(status):
    steps = [processing("A"), processing("B"), processing("C", DependsOn=["A", "B"])]
    assert ready(steps, {"A": "Succeeded", "B": status}) == ()
    assert ready(steps, {"A": "Succeeded", "B": "Succeeded"}) == ("C",)


def test_only_the_chosen_branch_is_ready_and_what_depends_on_the_other_never_is():
    steps = [
        condition("Gate", [EQUAL], [processing("Then")], [processing("Else")]),
        processing("AfterThen", DependsOn=["Then"]),
        processing("AfterBoth", DependsOn=["Then", "Else"]),
        processing("AfterGate", DependsOn=["Gate"]),
    ]
    gone = {"Gate": "Succeeded"}
    assert ready(steps, gone, {"Gate": True}) == ("Then", "AfterGate")
    assert ready(steps, gone, {"Gate": False}) == ("Else", "AfterGate")
    over = gone | {"Else": "Succeeded", "AfterGate": "Succeeded"}
    assert ready(steps, over, {"Gate": False}) == ()


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("Succeeded", ("OnAny", "OnCompleted")),
        ("Failed", ("OnAny", "OnFailed")),
        ("Stopped", ("OnAny", "OnStopped")),
    ],
)
def test_triggers(status, expected):
    triggers = ("Any", "Completed", "Failed", "Stopped")
    behind = [processing(f"On{trigger}", DependsOn=[on("A", trigger)]) for trigger in triggers]
    assert ready([processing("A"), *behind], {"A": status}) == expected


def test_after_a_failure_only_what_runs_upon_a_failure_starts():
    steps = [
        processing("A"),
        processing("B"),
        processing("Independent", DependsOn=["B"]),
        processing("Repair", DependsOn=[on("A", "Failed")]),
        processing("AfterRepair", DependsOn=["Repair"]),
    ]
    unhandled = progress(parse_definition(document(*steps[:3])), {"A": "Failed", "B": "Succeeded"}, {})
    assert (unhandled.ready, unhandled.unhandled) == ((), ("A",))
    definition = parse_definition(document(*steps))
    handled = progress(definition, {"A": "Failed", "B": "Succeeded"}, {})
    assert (handled.ready, handled.unhandled) == (("Independent", "Repair"), ())
    both = progress(definition, {"A": "Failed", "B": "Failed", "Repair": "Succeeded"}, {})
    assert (both.ready, both.unhandled) == (("AfterRepair",), ("B",))
    repair_failed = progress(definition, {"A": "Failed", "B": "Succeeded", "Repair": "Failed"}, {})
    assert (repair_failed.ready, repair_failed.unhandled) == ((), ("Repair",))
