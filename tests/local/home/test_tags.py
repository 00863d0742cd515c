import pytest

from local.endpoints.registry import Registry
from local.home.home import Home
from local.home.store import Store
from local.home.tags import operations
from local.wire.errors import ServiceError
from local.wire.operations import ControlPlane

GROUP = "arn:aws:sagemaker:us-east-1:123456789012:model-package-group/digits"


@pytest.fixture
def call(tmp_path):
    store = Store(tmp_path / "records.sqlite")
    yield ControlPlane(Registry(Home(tmp_path), store).operations() | operations(store)).call
    store.close()


def test_tags_are_set_replaced_and_removed(call):
    tags = [{"Key": "team", "Value": "a"}]
    call("CreateModelPackageGroup", {"ModelPackageGroupName": "digits", "Tags": tags})
    assert call("ListTags", {"ResourceArn": GROUP}) == {"Tags": tags}
    changed = [{"Key": "team", "Value": "b"}, {"Key": "cost", "Value": "7"}]
    assert call("AddTags", {"ResourceArn": GROUP, "Tags": changed}) == {"Tags": changed}
    call("DeleteTags", {"ResourceArn": GROUP, "TagKeys": ["team"]})
    assert call("ListTags", {"ResourceArn": GROUP}) == {"Tags": changed[1:]}
    call("DeleteModelPackageGroup", {"ModelPackageGroupName": "digits"})
    call("CreateModelPackageGroup", {"ModelPackageGroupName": "digits"})
    assert call("ListTags", {"ResourceArn": GROUP}) == {"Tags": []}


def test_what_there_is_not_has_no_tags(call):
    for operation, more in (("ListTags", {}), ("AddTags", {"Tags": []}), ("DeleteTags", {"TagKeys": ["a"]})):
        for arn in (GROUP, GROUP.replace("model-package-group", "app"), f"{GROUP}/execution/x"):
            with pytest.raises(ServiceError, match=f"Requested resource not found: {arn}") as caught:
                call(operation, {"ResourceArn": arn, **more})
            assert caught.value.code == "ValidationException"
