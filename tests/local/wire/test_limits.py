"""Limits in botocore's model that its own validation leaves to the service."""

import pytest

from local.wire.errors import ServiceError
from local.wire.limits import LEFT_OUT, pattern_of, refusal
from local.wire.operations import ControlPlane, service_model

RANGE = {"Name": "a", "MinValue": "0", "MaxValue": "1"}


def shape_of(operation, service="sagemaker"):
    return service_model(service).operation_model(operation).input_shape


def test_a_request_is_refused_in_awss_words():
    plane = ControlPlane({"CreateProcessingJob": lambda _: {}})
    request = {
        "ProcessingJobName": "a_b",
        "RoleArn": "arn:aws:iam::123456789012:role/execution",
        "AppSpecification": {"ImageUri": "image"},
        "ProcessingResources": {
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 1}
        },
    }
    with pytest.raises(ServiceError) as caught:
        plane.call("CreateProcessingJob", request)
    assert (caught.value.code, caught.value.message) == (
        "ValidationException",
        "1 validation error detected: Value 'a_b' at 'processingJobName' failed to satisfy constraint: "
        "Member must satisfy regular expression pattern: [a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}",
    )


@pytest.mark.parametrize(
    ("request_", "told"),
    [
        (
            {"AppSpecification": {"ContainerArguments": ["x", "y" * 257]}},
            "at 'appSpecification.containerArguments.2.member' failed to satisfy constraint: Member must have"
            " length less than or equal to 256",
        ),
        (
            {"AppSpecification": {"ContainerArguments": ["a\nb"]}},
            "Value 'a\\nb' at 'appSpecification.containerArguments.1.member' failed to satisfy constraint:"
            " Member must satisfy regular expression pattern: .*",
        ),
        (
            {"AppSpecification": {"ContainerArguments": ["x"] * 101}},
            "at 'appSpecification.containerArguments' failed to satisfy constraint: Member must have length"
            " less than or equal to 100",
        ),
        ({"Environment": {f"K{number}": "v" for number in range(101)}}, "at 'environment' failed to satisfy"),
        ({"Environment": {"a-b": "v"}}, "at 'environment (key)' failed to satisfy constraint: Member"),
        ({"Environment": {"K": "v" * 257}}, "at 'environment.K' failed to satisfy constraint: Member"),
        (
            {"StoppingCondition": {"MaxRuntimeInSeconds": 777601}},
            "Value 777601 at 'stoppingCondition.maxRuntimeInSeconds' failed to satisfy constraint: Member"
            " must have value less than or equal to 777600",
        ),
        (
            {"ProcessingResources": {"ClusterConfig": {"InstanceCount": 0}}},
            "Member must have value greater than or equal to 1",
        ),
        (
            {"ProcessingInputs": [{"S3Input": {"S3DataType": "Folder"}}]},
            "at 'processingInputs.1.member.s3Input.s3DataType' failed to satisfy constraint: Member must"
            " satisfy enum value set: [ManifestFile, S3Prefix]",
        ),
        ({"Tags": [{"Key": "a!", "Value": ""}]}, "Value 'a!' at 'tags.1.member.key' failed"),
        ({"Tags": [{"Key": "a", "Value": ""}] * 51}, "at 'tags' failed"),
        ({"RoleArn": "execution-role-of-mine"}, "at 'roleArn' failed"),
    ],
)  # fmt: skip
def test_each_kind_of_limit_is_checked(request_, told):
    found = refusal(request_, shape_of("CreateProcessingJob"))
    assert found is not None and found.startswith("1 validation error detected: ") and told in found
    assert len(found) < 700 and "\n" not in found


def test_every_violation_is_reported():
    found = refusal({"RoleArn": "x", "Environment": {"a-b": "v" * 257}}, shape_of("CreateProcessingJob"))
    assert found is not None and found.startswith("3 validation errors detected: Value 'x' at 'roleArn'")


@pytest.mark.parametrize(
    "request_",
    [
        {"Tags": [{"Key": "größe: a/b=c+d-e@f.g", "Value": "東京\u00a0_1"}]},
        {"ProcessingResources": {"ClusterConfig": {"InstanceType": "ml.next-year.large"}}},
        {"AppSpecification": {"ContainerArguments": ["a" * 256, " "]}, "Environment": {"K": "a\nb"}},
    ],
)
def test_what_fits_is_let_through(request_):
    assert refusal(request_, shape_of("CreateProcessingJob")) is None


def patterns(shape, seen):
    """The names and patterns of a shape and of all below it."""
    if shape.name in seen:
        return
    seen.add(shape.name)
    if "pattern" in shape.metadata:
        yield shape.name, shape.metadata["pattern"]
    if shape.type_name == "structure":
        for member in shape.members.values():
            yield from patterns(member, seen)
    elif shape.type_name == "list":
        yield from patterns(shape.member, seen)
    elif shape.type_name == "map":
        yield from patterns(shape.key, seen)
        yield from patterns(shape.value, seen)


@pytest.mark.parametrize("service", ["sagemaker", "logs"])
def test_every_pattern_is_read_or_left_out_by_name(service):
    """Possessive quantifiers and intersections of classes would silently mean something else."""
    seen = set()
    for operation in service_model(service).operation_names:
        shape = shape_of(operation, service)
        for name, pattern in patterns(shape, seen) if shape is not None else ():
            if name not in LEFT_OUT:
                pattern_of(pattern)
                assert not any(java in pattern for java in ("++", "*+", "?+", "&&", r"\Q", r"\h", r"\R")), (
                    pattern
                )
