from __future__ import annotations

import pytest
from starlette.exceptions import HTTPException

from entrypoints.serving.app import negotiate


@pytest.mark.parametrize(
    ("accept", "answer"),
    [
        ("*/*", "application/json"),
        ("", "application/json"),
        ("application/*", "application/json"),
        ("application/x-npy", "application/x-npy"),
        ("application/json;q=0.5, application/x-npy", "application/x-npy"),
        ("application/json;q=0, */*", "application/x-npy"),
        ("text/html, application/json; q=0.1", "application/json"),
        ("text/html, */*;q=0.1", "application/json"),
        ("APPLICATION/X-NPY ; q=0.9", "application/x-npy"),
    ],
)
def test_negotiate(accept: str, answer: str) -> None:
    assert negotiate(accept) == answer


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("text/html", 406),
        ("application/json;q=0", 406),
        ("*/*;q=0.0", 406),
        ("application/json;q=high", 400),
        ("application/json;q=", 400),
    ],
)
def test_what_cannot_be_negotiated(accept: str, status: int) -> None:
    with pytest.raises(HTTPException) as caught:
        negotiate(accept)
    assert caught.value.status_code == status
