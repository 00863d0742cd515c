import pytest

from local.endpoints.configs import EndpointConfigs
from local.endpoints.models import Models
from local.endpoints.registry import Registry
from local.home.home import Home
from local.home.store import Store
from local.wire.errors import ServiceError
from local.wire.operations import ControlPlane

ARN = "arn:aws:sagemaker:us-east-1:123456789012:endpoint-config/c"
VARIANT = {"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1, "InstanceType": "ml.m5.2xlarge"}
REQUEST = {"EndpointConfigName": "c", "ProductionVariants": [VARIANT]}


@pytest.fixture
def call(tmp_path):
    home, store = Home(tmp_path), Store(tmp_path / "records.sqlite")
    models = Models(home, store, Registry(home, store))
    plane = ControlPlane(models.operations() | EndpointConfigs(home, store, models).operations())
    plane.call("CreateModel", {"ModelName": "m", "PrimaryContainer": {"ModelDataUrl": "s3://b/k"}})
    yield plane.call
    store.close()


def refusal(call, name, request):
    with pytest.raises(ServiceError) as caught:
        call(name, request)
    assert caught.value.code == "ValidationException"
    return caught.value.message


def test_a_configuration_is_created_once_listed_and_deleted(call):
    assert call("CreateEndpointConfig", REQUEST) == {"EndpointConfigArn": ARN}
    expected = f'Cannot create already existing endpoint configuration "{ARN}".'
    assert refusal(call, "CreateEndpointConfig", REQUEST) == expected
    described = call("DescribeEndpointConfig", {"EndpointConfigName": "c"})
    assert described["ProductionVariants"] == [VARIANT]
    listed = call("ListEndpointConfigs", {"NameContains": "c"})["EndpointConfigs"]
    assert [config["EndpointConfigArn"] for config in listed] == [ARN]
    call("DeleteEndpointConfig", {"EndpointConfigName": "c"})
    missing = f'Could not find endpoint configuration "{ARN}".'
    for operation in ("DescribeEndpointConfig", "DeleteEndpointConfig"):
        assert refusal(call, operation, {"EndpointConfigName": "c"}) == missing


CAPTURE = {
    "EnableCapture": True,
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": "s3://b/",
    "CaptureOptions": [{"CaptureMode": "Input"}],
}


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"ProductionVariants": [VARIANT, {**VARIANT, "VariantName": "w"}]}, "one production variant"),
        ({"ShadowProductionVariants": [VARIANT]}, "does not support ShadowProductionVariants"),
        (
            {"AsyncInferenceConfig": {"OutputConfig": {"S3OutputPath": "s3://b/a"}}},
            "does not support AsyncInferenceConfig",
        ),
        ({"DataCaptureConfig": CAPTURE}, "captures no data"),
        ({"ProductionVariants": [{"VariantName": "v"}]}, "has no ModelName"),
        ({"ProductionVariants": [{**VARIANT, "ModelName": "no"}]}, "Could not find model"),
        (
            {"ProductionVariants": [{"VariantName": "v", "ModelName": "m", "InstanceType": "ml.m5.large"}]},
            "has no InitialInstanceCount, and no ServerlessConfig in its place",
        ),
        ({"EndpointConfigName": "../c"}, "must satisfy regular expression pattern"),
        ({"EndpointConfigName": "c" * 64}, "Member must have length less than or equal to 63"),
    ],
)
def test_what_cannot_be_served_here_is_refused_at_creation(call, more, complaint):
    assert complaint in refusal(call, "CreateEndpointConfig", REQUEST | more)
    assert call("ListEndpointConfigs", {}) == {"EndpointConfigs": []}
