import pytest

from local.definition.conditions import check_condition, holds
from local.definition.expressions import ExpressionError


def compare(kind, left, right):
    return {"Type": kind, "LeftValue": left, "RightValue": right}


@pytest.mark.parametrize(
    ("kind", "left", "right", "expected"),
    [
        ("Equals", 1, 1.0, True),
        ("Equals", "a", "b", False),
        ("Equals", True, True, True),
        ("GreaterThan", 2, 1.5, True),
        ("GreaterThan", 1, 1, False),
        ("GreaterThanOrEqualTo", 0.9, 0.9, True),
        ("LessThan", 0.1, 1, True),
        ("LessThanOrEqualTo", 6.1, 6, False),
        ("GreaterThan", "2026-11-22T10:00:00.000Z", "2020-12-01", True),
    ],
)
def test_comparisons(kind, left, right, expected):
    assert holds(compare(kind, left, right)) is expected


def test_in_not_and_or_nest():
    member = {"Type": "In", "QueryValue": "b", "Values": ["a", "b"]}
    assert holds(member)
    assert not holds({"Type": "Not", "Condition": member})
    assert holds(
        {"Type": "Or", "Conditions": [{"Type": "Not", "Condition": member}, compare("Equals", 1, 1)]}
    )
    assert not holds({"Type": "In", "QueryValue": 3, "Values": [1, 2.5]})


@pytest.mark.parametrize(
    "condition",
    [
        compare("Equals", 1, "1"),
        compare("Equals", True, 1),
        compare("LessThan", False, True),
        compare("GreaterThan", None, 1),
        compare("GreaterThan", [1], [0]),
        {"Type": "In", "QueryValue": 1, "Values": [1, "a"]},
        {"Type": "Or", "Conditions": [compare("Equals", 1, 1), compare("Equals", 1, "a")]},
    ],
)
def test_what_cannot_be_compared_raises(condition):
    with pytest.raises(ExpressionError, match="cannot compare"):
        holds(condition)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("x", "condition of type null"),
        ({"Type": "Xor"}, "condition of type 'Xor'"),
        ({"Type": "Equals", "LeftValue": 1}, "takes LeftValue and RightValue, got LeftValue"),
        ({"Type": "Not", "Expression": compare("Equals", 1, 1)}, "takes Condition, got Expression"),
        ({"Type": "In", "QueryValue": 1, "Values": 1}, "takes a list"),
        ({"Type": "Or", "Conditions": []}, "takes a list of Conditions"),
        ({"Type": "Not", "Condition": {"Type": "Or", "Conditions": [{"Type": "Is"}]}}, "type 'Is'"),
    ],
)
def test_malformed_conditions_are_refused(condition, message):
    with pytest.raises(ValueError, match=message):
        check_condition(condition)
