"""All prefixes in requests end in a slash: for S3, "flowers-2/1.png" begins with "flowers"."""

import re

from config.parameters import check_assignments, execution_parameters
from config.settings import load

# URIs of one object: an archive, or the file of a step's ModelArtifacts. FindChampion answers with an
# existing archive (entrypoints/champion.py), or a marker's prefix with its slash (test_champion.py).
OBJECT = re.compile(
    r"\.ModelArtifacts\.S3ModelArtifacts$|\.tar\.gz$|^Steps\.FindChampion\.OutputParameters\['champion_url'\]$"
)


def inputs(value):
    """The S3Uri of every input of a job, at any place."""
    if isinstance(value, dict):
        source = value.get("S3Input") or value.get("S3DataSource")
        if source and source["S3DataType"] == "S3Prefix":
            yield source["S3Uri"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from inputs(item)


def end(uri, parameters):
    """The last characters of an S3 URI as the definition writes it."""
    if isinstance(uri, str):
        return uri
    if "Std:Join" in uri:
        return end(uri["Std:Join"]["Values"][-1], parameters)
    name = uri["Get"]
    return parameters[name.removeprefix("Parameters.")] if name.startswith("Parameters.") else name


def test_every_input_of_the_definition_is_a_prefix_with_a_slash_or_one_object(definition):
    parameters = {entry["Name"]: entry.get("DefaultValue") for entry in definition["Parameters"]}
    ends = [end(uri, parameters) for uri in inputs(definition["Steps"])]
    assert len(ends) == 15
    assert [uri for uri in ends if not uri.endswith("/") and not OBJECT.search(uri)] == []


def test_a_dataset_given_at_a_start_becomes_a_prefix_with_a_slash():
    parameters = execution_parameters(load(), "")
    for given in ("s3://bucket/flowers", "s3://bucket/flowers/"):
        assert check_assignments(parameters, [f"InputDataUrl={given}"]) == {
            "InputDataUrl": "s3://bucket/flowers/"
        }
    # One object or a prefix: only the user knows.
    weights = ["PretrainedWeightsUrl=s3://bucket/weights.pth"]
    assert check_assignments(parameters, weights) == {"PretrainedWeightsUrl": "s3://bucket/weights.pth"}
