import json

import pytest

from pipeline.definition import canonical, diff


def test_equal_definitions_have_equal_text():
    one = {"Steps": [{"Name": "A", "Type": "Fail"}], "Version": "2020-12-01"}
    other = '{"Version": "2020-12-01", "Steps": [{"Type":"Fail","Name":"A"}]}'
    assert canonical(one) == canonical(other)
    assert json.loads(canonical(one)) == one
    assert canonical(canonical(one)) == canonical(one)


def test_the_order_of_lists_is_kept():
    assert canonical({"Steps": [1, 2]}) != canonical({"Steps": [2, 1]})


def test_letters_stay_readable_and_numbers_stay_numbers():
    text = canonical({"Name": "Gräser", "Rate": 0.1, "Count": 1, "None": None})
    assert "Gräser" in text
    assert json.loads(text) == {"Name": "Gräser", "Rate": 0.1, "Count": 1, "None": None}


def test_what_is_not_json_is_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"Rate": float("nan")})


def test_the_difference_is_read_line_by_line():
    live = {"Parameters": [{"Name": "Epochs", "DefaultValue": 10}], "Steps": []}
    new = {"Steps": [], "Parameters": [{"Name": "Epochs", "DefaultValue": 12}]}
    lines = diff(json.dumps(live), new)
    assert [line for line in lines if line[0] in "+-"] == [
        "--- live",
        "+++ new",
        '-      "DefaultValue": 10,',
        '+      "DefaultValue": 12,',
    ]
    assert diff(live, live) == []
