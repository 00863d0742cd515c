import json

import pytest

from local.definition.expressions import ExpressionError, as_text, evaluate, lookup, parse, references, tokens

VALUES = {"Parameters.Rate": 0.5, "Parameters.Count": 3, "Parameters.On": True, "Execution.PipelineName": "p"}


def value_of(expression, files=None):
    return evaluate(
        parse(expression), lambda reference: VALUES[reference.text], lambda uri: (files or {})[uri]
    )


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a", ("a",)),
        ("a.b[0].c", ("a", "b", 0, "c")),
        ("Result['k'][0]", ("Result", "k", 0)),
        ('Outputs["x"].S3Uri', ("Outputs", "x", "S3Uri")),
        ("Outputs['68ca69fe-f780.default'].S3Output", ("Outputs", "68ca69fe-f780.default", "S3Output")),
        ("Steps.Create-Model.ModelName", ("Steps", "Create-Model", "ModelName")),
        ("a['b]c.d']", ("a", "b]c.d")),
        ("[1].a", (1, "a")),
    ],
)
def test_a_path_is_cut_at_dots_and_brackets_outside_quotes(path, expected):
    assert tokens(path) == expected


@pytest.mark.parametrize("path", ["", "a..b", "a.", ".a", "a[x]", "a['b", "a[0", "a]b", "a['b'c]"])
def test_what_is_not_a_path_is_refused(path):
    with pytest.raises(ExpressionError):
        tokens(path)


@pytest.mark.parametrize(
    ("value", "text"),
    [(3.0, "3.0"), (0.9, "0.9"), (3, "3"), (True, "true"), (False, "false"), ("x", "x"), ("", "")],
)
def test_text_of_a_value(value, text):
    assert as_text(value) == text


@pytest.mark.parametrize("value", [None, [1], {"a": 1}])
def test_what_has_no_text(value):
    with pytest.raises(ExpressionError, match="not a string, a number or a boolean"):
        as_text(value)


def test_a_get_keeps_its_type_and_a_join_makes_text_of_each_type():
    assert value_of({"Get": "Parameters.Count"}) == 3
    nested = {"Std:Join": {"On": "/", "Values": ["s3:/", {"Get": "Execution.PipelineName"}]}}
    join = {"Std:Join": {"On": "-", "Values": [nested, 1, 2.0, {"Get": "Parameters.On"}]}}
    assert value_of(join) == "s3://p-1-2.0-true"


def test_expressions_are_found_wherever_they_stand():
    tree = {"a": [{"b": {"Get": "Parameters.Rate"}}], "c": "plain", "d": None}
    assert value_of(tree) == {"a": [{"b": 0.5}], "c": "plain", "d": None}


def test_json_get_reads_typed_values_from_the_file():
    files = {"s3://b/p/report.json": json.dumps({"m": {"list": [{"v": 0.25}], "dot.ted": "x"}})}
    uri = {"Std:Join": {"On": "/", "Values": ["s3://b", {"Get": "Execution.PipelineName"}, "report.json"]}}
    assert value_of({"Std:JsonGet": {"S3Uri": uri, "Path": "m.list[0].v"}}, files) == 0.25
    assert value_of({"Std:JsonGet": {"S3Uri": uri, "Path": "m['dot.ted']"}}, files) == "x"


@pytest.mark.parametrize(
    ("content", "path", "message"),
    [
        ('{"a": 1}', "b", "no value at b"),
        ('{"a": 1}', "a.b", "no value at a.b"),
        ('{"a": [1]}', "a[1]", r"no value at a\[1\]"),
        ('{"a": [1]}', "a.b", "no value at a.b"),
        ('{"a": {"0": 1}}', "a[0]", r"no value at a\[0\]"),
        ('{"a": ', "a", "not valid JSON"),
        ('{"a": NaN}', "a", "NaN is not JSON"),
    ],
)
def test_json_get_says_what_is_missing(content, path, message):
    with pytest.raises(ExpressionError, match=message):
        value_of({"Std:JsonGet": {"S3Uri": "s3://b/f", "Path": path}}, {"s3://b/f": content})


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ({"Get": "Parameters"}, "expected Parameters.<name>, Execution"),
        ({"Get": "Parameters.A.B"}, "expected Parameters.<name>, Execution"),
        ({"Get": "Steps.A"}, "expected Parameters.<name>, Execution"),
        ({"Get": "Other.A"}, "expected Parameters.<name>, Execution"),
        ({"Get": 3}, "expected Parameters.<name>, Execution"),
        ({"Get": "Parameters.A", "Extra": 1}, "must be the only key; remove Extra"),
        ({"Std:Join": {"Values": []}}, "takes On"),
        ({"Std:Join": {"On": "/", "Values": "x"}}, "not a list"),
        ({"Std:JsonGet": {"Path": "a"}}, "takes PropertyFile or S3Uri"),
        ({"Std:JsonGet": {"S3Uri": "s3://b/f", "Path": 1}}, "not a string"),
        ({"Std:JsonGet": {"PropertyFile": "x", "Path": "a"}}, "PropertyFile is not Get"),
        ({"Std:Split": {}}, "does not know the function Std:Split"),
    ],
)
def test_malformed_expressions_are_refused(expression, message):
    with pytest.raises(ExpressionError, match=message):
        parse([{"deep": expression}])


def test_references_are_those_of_every_nested_expression():
    file = {"Get": "Steps.E.PropertyFiles.R"}
    tree = {
        "a": {"Std:Join": {"On": "", "Values": [{"Get": "Parameters.A"}, {"Get": "Steps.T.ModelName"}]}},
        "b": [{"Std:JsonGet": {"PropertyFile": file, "Path": "x"}}],
    }
    assert [reference.text for reference in references(parse(tree))] == [
        "Parameters.A",
        "Steps.T.ModelName",
        "Steps.E.PropertyFiles.R",
    ]


def test_lists_of_describe_answers_are_addressed_by_name_or_position():
    described = {"Outputs": [{"OutputName": "a.b", "Uri": 1}, {"OutputName": "c", "Uri": 2}]}
    metrics = {"FinalMetricDataList": [{"MetricName": "loss", "Value": 0.5}]}
    assert lookup(described, tokens("Outputs['a.b'].Uri")) == 1
    assert lookup(described, tokens("Outputs[1].Uri")) == 2
    assert lookup(metrics, tokens("FinalMetricDataList['loss'].Value")) == 0.5
    with pytest.raises(LookupError):
        lookup(described, tokens("Outputs['d'].Uri"))
