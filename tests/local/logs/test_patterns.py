import pytest

from local.logs.patterns import filtered
from local.wire.errors import ServiceError


@pytest.mark.parametrize(
    ("pattern", "line", "expected"),
    [
        ("", "anything", True),
        ("ERROR", "an ERROR", True),
        ("ERROR", "an error", False),
        ("ERROR loss", "ERROR: the loss", True),
        ("ERROR loss", "ERROR", False),
        ('"the loss"', "ERROR: the loss", True),
        ('"the loss"', "the high loss", False),
        ("ERROR -loss", "ERROR: the loss", False),
        ("?acc ?loss", "the loss", True),
        ("?acc ?loss", "epoch 1", False),
        (r'"a \"b\""', 'a "b"', True),
    ],
)
def test_a_line_matches_its_terms(pattern, line, expected):
    assert filtered(pattern)(line) is expected


@pytest.mark.parametrize("pattern", ["{ $.a = 1 }", "[a, b]", "%x+%"])
def test_other_patterns_are_refused(pattern):
    with pytest.raises(ServiceError, match="accepts only terms") as caught:
        filtered(pattern)
    assert caught.value.code == "InvalidParameterException"
