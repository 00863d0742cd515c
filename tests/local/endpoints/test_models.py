import pytest

from local.endpoints.models import Models
from local.endpoints.registry import Registry
from local.home.home import Home
from local.home.store import Store
from local.wire.errors import ServiceError
from local.wire.operations import ControlPlane

PACKAGE = "arn:aws:sagemaker:us-east-1:123456789012:model-package/digits/1"
ENVIRONMENT = {"A": "1", "B": "1"}
SPECIFICATION = {"Containers": [{"ModelDataUrl": "s3://b/m/model.tar.gz", "Environment": ENVIRONMENT}]}
FOLDER = {"S3Uri": "s3://b/", "S3DataType": "S3Prefix", "CompressionType": "None"}


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "records.sqlite")
    yield store
    store.close()


@pytest.fixture
def registry(tmp_path, store):
    return Registry(Home(tmp_path), store)


@pytest.fixture
def models(tmp_path, store, registry):
    return Models(Home(tmp_path), store, registry)


@pytest.fixture
def call(registry, models):
    return ControlPlane(registry.operations() | models.operations()).call


def refused(call, name, request):
    with pytest.raises(ServiceError) as caught:
        call(name, request)
    return caught.value.code, caught.value.message


def test_models_are_created_once_listed_and_deleted(call):
    arn = "arn:aws:sagemaker:us-east-1:123456789012:model/m"
    request = {"ModelName": "m", "PrimaryContainer": {"ModelDataUrl": "s3://b/k"}}
    assert call("CreateModel", request) == {"ModelArn": arn}
    assert refused(call, "CreateModel", request) == (
        "ValidationException",
        f'Cannot create already existing model "{arn}".',
    )
    assert call("DescribeModel", {"ModelName": "m"})["PrimaryContainer"] == {"ModelDataUrl": "s3://b/k"}
    assert [model["ModelName"] for model in call("ListModels", {})["Models"]] == ["m"]
    call("DeleteModel", {"ModelName": "m"})
    assert refused(call, "DescribeModel", {"ModelName": "m"}) == (
        "ValidationException",
        f'Could not find model "{arn}".',
    )


def test_a_model_serves_what_its_package_names_with_its_own_environment_first(call, models):
    request = {"ModelPackageGroupName": "digits", "InferenceSpecification": SPECIFICATION}
    arn = call("CreateModelPackage", request)["ModelPackageArn"]
    container = {"ModelPackageName": arn, "Environment": {"B": "2"}}
    call("CreateModel", {"ModelName": "m", "Containers": [container]})
    served = models.container("m")
    assert served.model_data_url == "s3://b/m/model.tar.gz"
    assert served.environment == {"A": "1", "B": "2"}


def test_a_model_of_an_unknown_package_is_refused(call):
    request = {"ModelName": "m", "PrimaryContainer": {"ModelPackageName": PACKAGE}}
    assert refused(call, "CreateModel", request)[1] == f"ModelPackage {PACKAGE} does not exist."


@pytest.mark.parametrize(
    ("definition", "complaint"),
    [
        ({"Containers": [{"ModelDataUrl": "s3://b/1"}, {"ModelDataUrl": "s3://b/2"}]}, "has 2"),
        ({}, "has 0"),
        ({"PrimaryContainer": {"Image": "i"}}, "has no model data"),
        ({"PrimaryContainer": {"ModelDataSource": {"S3DataSource": FOLDER}}}, "S3Prefix"),
    ],
)
def test_a_model_that_cannot_be_served_here_says_why(call, models, definition, complaint):
    call("CreateModel", {"ModelName": "m", **definition})
    with pytest.raises(ServiceError, match=complaint):
        models.container("m")


def test_a_model_data_source_of_one_archive_is_served(call, models):
    source = {"S3Uri": "s3://b/m.tar.gz", "S3DataType": "S3Object", "CompressionType": "Gzip"}
    container = {"ModelDataSource": {"S3DataSource": source}}
    call("CreateModel", {"ModelName": "m", "PrimaryContainer": container})
    assert models.container("m").model_data_url == "s3://b/m.tar.gz"
