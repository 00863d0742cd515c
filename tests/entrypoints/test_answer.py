from __future__ import annotations

import json

import pytest

from entrypoints.answer import read_answer


def test_numbers_may_come_as_integers_or_texts() -> None:
    content = json.dumps({"label": "ants", "probabilities": {"ants": 1, "bees": "0.0"}, "more": None})
    assert read_answer(content.encode()) == {"label": "ants", "probabilities": {"ants": 1.0, "bees": 0.0}}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b"\xff", "invalid start byte"),
        (b"[]", "list indices must be integers"),
        (b'"ants"', "string indices must be integers"),
        (b'{"label": "ants"}', "KeyError"),
        (b'{"label": "ants", "probabilities": ["ants"]}', "no attribute 'items'"),
        (b'{"label": "ants", "probabilities": {"ants": "sure"}}', "could not convert"),
        (b'{"label": "wasps", "probabilities": {"ants": 1.0}}', "wasps is none of the classes"),
    ],
)
def test_what_is_no_answer_says_why(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_answer(content)
