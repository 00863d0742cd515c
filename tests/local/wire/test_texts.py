"""JSON and whole numbers in requests that Python would accept, or fail on, and AWS would not."""

import json

import pytest

from local.definition.definition import DefinitionError, parse_definition
from local.functions.functions import FunctionService
from local.wire.texts import DEPTH_MAX, json_value, whole_number
from tests.local.definitions import document


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("depth", [DEPTH_MAX + 1, 900, 5000, 1_000_000])
def test_deep_json_is_refused(opening, depth):
    closing = "]" if opening == "[" else "}"
    for text in (opening * depth, opening * depth + "1" + closing * depth):
        with pytest.raises(ValueError, match=r"nests more than 100|Expecting"):
            json_value(text.encode())
    assert json_value("[" * DEPTH_MAX + "]" * DEPTH_MAX)


@pytest.mark.parametrize(
    "text", [b"NaN", b"[-Infinity]", b'"\\ud800"', b'{"\\udc80": 1}', b'"\xed\xa0\x80"', b"\xff", b"9" * 5000]
)
def test_what_is_no_json_elsewhere_is_refused(text):
    with pytest.raises(ValueError):
        json_value(text)


def test_json_is_taken():
    value = {"a": [1, 2.5, None, True, "日本 \U0001f41d"], "é": {}}
    assert (
        json_value(json.dumps(value)) == json_value(json.dumps(value, ensure_ascii=False).encode()) == value
    )


@pytest.mark.parametrize("text", ["", "-1", "+1", " 1", "1_0", "²", "١", "1e3", "9" * 19, "9" * 5000])
def test_what_is_no_whole_number_is_refused(text):
    with pytest.raises(ValueError, match="is not a whole number"):
        whole_number(text)
    assert whole_number("0" + "9" * 17) == 10**17 - 1


DEEP = "[" * 100_000 + "]" * 100_000


def test_a_definition_that_nests_without_end_is_refused():
    with pytest.raises(DefinitionError, match="not valid JSON: it nests more than 100"):
        parse_definition(DEEP)
    nested = '{"Std:Join": {"On": "", "Values": [' * 400 + '"x"' + "]}}" * 400
    with pytest.raises(DefinitionError, match="not valid JSON: it nests more than 100"):
        parse_definition(
            document({"Name": "F", "Type": "Fail", "Arguments": {"ErrorMessage": "M"}}).replace('"M"', nested)
        )


@pytest.mark.parametrize(
    ("path", "method"), [("/2015-03-31/functions", "POST"), ("/2015-03-31/functions/f/configuration", "PUT")]
)
def test_lambda_refuses_deep_json(home, store, path, method):
    status, _, body = FunctionService(home, store, dict).handle(method, path, {}, {}, DEEP.encode())
    assert status == 400
    assert b"nests more than 100" in body
