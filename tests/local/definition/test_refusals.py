"""How a refusal quotes an expression: as the definition's own JSON, for any content at any place."""

import copy
import importlib.util
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.definition.conditions import holds
from local.definition.definition import DefinitionError, parse_definition
from local.definition.expressions import ExpressionError, as_text, evaluate, parse, written
from local.definition.images import ALGORITHMS, REGISTRIES, not_run
from local.definition.unsupported import unsupported
from tests.local.definitions import (
    EQUAL,
    condition,
    document,
    function,
    get,
    join,
    model,
    processing,
    register,
    training,
    tuning,
)

PARAMETERS = [{"Name": kind, "Type": kind} for kind in ("String", "Integer", "Float", "Boolean")]
# Python's words for values, our classes, and the samples that replace expressions in botocore's check.
PYTHON = re.compile(r"\b(None|True|False)\b|(Reference|Join|JsonGet)\(|<class|object at 0x|\{'|x{64}|1000\.5")

GETS = st.sampled_from(
    [
        *(get(f"Parameters.{kind['Name']}") for kind in PARAMETERS),
        get("Parameters.missing"),
        get("Execution.PipelineName"),
        get("Steps.first.ProcessingOutputConfig.Outputs['result'].S3Output.S3Uri"),
        get("Steps.first.ProcessingJobName"),
        get("Steps.missing.a"),
        get("nothing"),
    ]
)
LITERALS = st.one_of(st.none(), st.booleans(), st.integers(0, 9), st.floats(0, 1), st.sampled_from(["a", ""]))
VALUES = st.recursive(
    GETS | LITERALS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(
            st.sampled_from(["a", "Get", "Std:Join", "Std:JsonGet", "Std:Sum"]), inner, max_size=2
        ),
        st.lists(inner, max_size=2).map(lambda values: join("/", *values)),
        inner.map(lambda uri: {"Std:JsonGet": {"S3Uri": uri, "Path": "a"}}),
    ),
    max_leaves=4,
)
STEPS = [
    processing("step", "one"),
    training("step"),
    tuning("step"),
    model("step", "s3://bucket/a"),
    register("step", "s3://bucket/a"),
    condition("step", [EQUAL, {"Type": "In", "QueryValue": "a", "Values": ["a"]}]),
    function("step", {"a": 1}, {"a": "String"}),
    {"Name": "step", "Type": "Callback", "SqsQueueUrl": "https://q", "Arguments": {"a": 1}},
]


def places(tree, path=()):
    """The paths of all values inside a JSON document."""
    if path:
        yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


PLACES = [(step, path) for step in STEPS for path in places(step)]


def replaced(step, path, value):
    changed = copy.deepcopy(step)
    *way, last = path
    inner = changed
    for key in way:
        inner = inner[key]
    inner[last] = value
    return changed


def refusals(text):
    try:
        return unsupported(parse_definition(text))
    except DefinitionError as error:
        return [str(error)]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PLACES), VALUES)
def test_no_refusal_of_a_definition_shows_python_s_own_words(place, value):
    for refusal in refusals(document(processing("first"), replaced(*place, value), parameters=PARAMETERS)):
        assert not PYTHON.search(refusal), refusal
        assert "\n" not in refusal


@settings(max_examples=100, deadline=None)
@given(VALUES, VALUES, st.sampled_from(["Equals", "LessThan"]))
def test_no_failure_of_a_step_shows_python_s_own_words(left, right, kind):
    def value(tree):
        return evaluate(parse(tree), lambda _: right, lambda _: json.dumps(right))

    for attempt in (
        lambda: as_text(value(left)),
        lambda: holds({"Type": kind, "LeftValue": value(left), "RightValue": value(right)}),
    ):
        try:
            attempt()
        except ExpressionError as error:
            assert not PYTHON.search(str(error)), error


@given(VALUES)
def test_what_was_parsed_is_written_as_it_was(value):
    try:
        parsed = parse(value)
    except ExpressionError:
        return
    assert written(parsed) == value


def test_a_reference_of_the_wrong_type_is_shown_with_its_type_and_the_one_that_fits():
    step = training("Train", {"epochs": get("Parameters.Integer")})
    assert refusals(document(step, parameters=PARAMETERS)) == [
        "step 'Train': Arguments do not fit CreateTrainingJob: Invalid type for parameter "
        'HyperParameters.epochs, value: {"Get": "Parameters.Integer"}, type: Integer, valid types: String'
    ]


def test_an_image_that_is_an_expression_is_shown_as_the_definition_has_it():
    step = processing("Own")
    step["Arguments"]["AppSpecification"] = {"ImageUri": join("/", "registry", get("Parameters.String"))}
    (reason,) = refusals(document(step, parameters=PARAMETERS))
    image = '{"Std:Join": {"On": "/", "Values": ["registry", {"Get": "Parameters.String"}]}}'
    assert reason == f"step 'Own': no ContainerEntrypoint: the image {image} is not run here"


@pytest.mark.parametrize(
    ("image", "algorithm"),
    [
        ("683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1", "sagemaker-xgboost"),
        ("811284229777.dkr.ecr.us-east-1.amazonaws.com/image-classification:1", "image-classification"),
        ("387376663083.dkr.ecr.cn-northwest-1.amazonaws.com.cn/kmeans:1", "kmeans"),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/kmeans:1", None),  # somebody's own repository
        ("683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3", None),
        ("763104351884.dkr.ecr.us-east-1.amazonaws.com/pytorch-training:2.13.0-cpu-py312", None),
        ("kmeans", None),
    ],
)
def test_only_aws_s_own_images_are_called_its_algorithms(image, algorithm):
    called = f"the image {image}"
    called = f"AWS's built-in algorithm {algorithm} ({called})" if algorithm else called
    assert not_run(image) == f"{called} is not run here"


def test_the_algorithms_are_those_that_the_sdk_lists():
    (sdk,) = importlib.util.find_spec("sagemaker.core").submodule_search_locations
    for repository in ALGORITHMS:
        text = Path(sdk, "image_uri_config", f"{repository.removeprefix('sagemaker-')}.json").read_text()
        assert f'"{repository}"' in text
        blocks = re.findall(r'"registries": *{([^}]*)}', text)
        assert {
            int(account) for block in blocks for account in re.findall(r'"(\d{12})"', block)
        } <= REGISTRIES
