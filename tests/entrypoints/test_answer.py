from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from entrypoints.answer import ATTEMPTS, read_answer, retry_while_busy


def test_numbers_may_come_as_integers_or_texts() -> None:
    content = json.dumps({"label": "ants", "probabilities": {"ants": 1, "bees": "0.0"}, "more": None})
    assert read_answer(content.encode()) == {"label": "ants", "probabilities": {"ants": 1.0, "bees": 0.0}}


def test_what_an_answer_may_hold_besides() -> None:
    further = {"known": False, "score": 1.5, "map": [[1, 2.5]], "map_side": 0.875}
    answer = {"label": "ants", "probabilities": {"ants": 1.0}, **further}
    assert read_answer(json.dumps(answer).encode()) == answer


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
        (b'{"label": "ants", "probabilities": {"ants": 1.0}, "map": 7}', "not iterable"),
        (b'{"label": "wasps", "probabilities": {"ants": 1.0}}', "wasps is none of the classes"),
    ],
)
def test_what_is_not_an_answer_says_why(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_answer(content)


def test_a_container_under_load_is_asked_again_and_not_for_ever() -> None:
    handlers: dict[str, Any] = {}
    retry_while_busy(
        SimpleNamespace(meta=SimpleNamespace(events=SimpleNamespace(register=handlers.__setitem__)))
    )
    [(event, delay)] = handlers.items()
    assert event == "needs-retry.sagemaker-runtime.InvokeEndpoint"
    http = AWSResponse("", 424, {}, None)
    busy, wrong = ((http, {"OriginalStatusCode": status}) for status in (503, 400))
    for attempt in range(1, ATTEMPTS):
        assert 0 <= delay(attempts=attempt, response=busy, operation=None) <= 0.1 * 2**attempt
    assert delay(attempts=ATTEMPTS, response=busy) is None
    assert delay(attempts=1, response=wrong) is None
    assert delay(attempts=1, response=None) is None
