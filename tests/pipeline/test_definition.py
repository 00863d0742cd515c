import hashlib
import json

import pytest

from pipeline.definition import canonical, diff, digest, sealed


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


def test_a_definition_names_its_own_digest(definition):
    """Anybody can verify it: the text that SageMaker holds, with zeros in place of the digest."""
    text = canonical(definition)
    named = digest(text)
    assert text.count(named) == 1
    assert hashlib.sha256(text.replace(named, 64 * "0").encode()).hexdigest() == named
    assert sealed(text) == text


def test_a_definition_that_differs_in_anything_has_another_digest(definition):
    named = digest(definition)
    definition["Parameters"][0]["DefaultValue"] = "s3://elsewhere/"
    assert digest(definition) != named
    assert digest(definition) in sealed(definition)


def test_a_definition_without_a_card_has_a_digest_too():
    assert sealed({"Steps": []}) == canonical({"Steps": []})
    assert len(digest({"Steps": []})) == 64
