"""The JSONPath of a transform job's filters."""

import pytest

from local.jobs.json_path import parse_path


@pytest.mark.parametrize(
    ("path", "document", "selected"),
    [
        ("$", [1], [1]),
        ("$.id", {"id": 1}, 1),
        ("$['id']", {"id": 1}, 1),
        (
            "$['id','SageMakerOutput']",
            {"id": 1, "x": 2, "SageMakerOutput": 3},
            {"id": 1, "SageMakerOutput": 3},
        ),
        ("$.field1.['child1','child2']", {"field1": {"child1": 1, "child2": 2}}, {"child1": 1, "child2": 2}),
        ("$['a:1','b, 2']", {"a:1": 1, "b, 2": 2}, {"a:1": 1, "b, 2": 2}),
        ("$.id.*", {"id": {"a": 1, "b": 2}}, [1, 2]),
        ("$[*].x", [{"x": 1}, {"x": 2}], [1, 2]),
        ("$[1]", ["a", "b"], "b"),
        ("$[-1]", ["a", "b"], "b"),
        ("$[1, 0]", ["a", "b"], ["b", "a"]),
        ("$[1:]", ["a", "b", "c"], ["b", "c"]),
        ("$[-1:]", ["a", "b", "c"], ["c"]),
        ("$[3:]", ["a", "b", "c"], []),
        ("$[0,5:]", [0, 1, 2, 3, 4, 5, 6], [0, 5, 6]),  # API reference, OutputFilter
    ],
)
def test_a_path_selects_what_it_leads_to(path, document, selected):
    assert parse_path(path).select(document) == selected


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("$.x", {"y": 1}),
        ("$['x','y']", {"y": 1}),
        ("$[2]", [1, 2]),
        ("$[4:]", [1]),
        ("$.x", [1]),
        ("$[0]", {}),
    ],
)
def test_a_path_to_nothing_is_an_error(path, document):
    with pytest.raises(ValueError, match="selects nothing in"):
        parse_path(path).select(document)


@pytest.mark.parametrize(
    "path", ["", "id", "$.", "$id", "$..id", "$[?(@.x > 1)]", "$['a'", "$[a]", "$ ", "$[1,]"]
)
def test_other_operators_are_refused(path):
    with pytest.raises(ValueError, match="is not a JSONPath of the operators"):
        parse_path(path)


@pytest.mark.parametrize("path", ["$[1:4]", "$[:5]", "$[0,2:-1]"])
def test_a_slice_with_an_end_of_which_aws_says_two_things_is_refused(path):
    with pytest.raises(ValueError, match=r"write the indexes one by one, as in \$\[1,2,3\]"):
        parse_path(path)


def test_a_path_has_63_characters():
    parse_path("$." + "x" * 61)
    with pytest.raises(ValueError, match="longer than 63 characters"):
        parse_path("$." + "x" * 62)
