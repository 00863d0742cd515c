import pytest

from local.endpoints.registry import Registry
from local.home.store import Store
from local.wire.errors import ServiceError
from local.wire.operations import ControlPlane

GROUP = "arn:aws:sagemaker:us-east-1:123456789012:model-package-group/digits"
PACKAGE = "arn:aws:sagemaker:us-east-1:123456789012:model-package/digits"
SPECIFICATION = {
    "Containers": [
        {"Image": "image", "ModelDataUrl": "s3://b/m/model.tar.gz", "Environment": {"A": "1", "B": "1"}}
    ]
}


@pytest.fixture
def call(home, store):
    return ControlPlane(Registry(home, store).operations()).call


def refused(call, name, request):
    with pytest.raises(ServiceError) as caught:
        call(name, request)
    return caught.value.code, caught.value.message


def register(call, **more):
    request = {"ModelPackageGroupName": "digits", "InferenceSpecification": SPECIFICATION, **more}
    return call("CreateModelPackage", request)["ModelPackageArn"]


def test_a_group_is_created_once_and_described(call):
    created = call("CreateModelPackageGroup", {"ModelPackageGroupName": "digits"})
    assert created == {"ModelPackageGroupArn": GROUP}
    described = call("DescribeModelPackageGroup", {"ModelPackageGroupName": GROUP})
    assert described["ModelPackageGroupName"] == "digits"
    assert described["ModelPackageGroupStatus"] == "Completed"
    assert not [key for key in described if key.startswith("_")]
    assert refused(call, "CreateModelPackageGroup", {"ModelPackageGroupName": "digits"}) == (
        "ValidationException",
        f"Model Package Group already exists: {GROUP}",
    )


def test_an_unknown_group_and_an_unknown_package_are_refused_by_their_arn(call):
    assert refused(call, "DescribeModelPackageGroup", {"ModelPackageGroupName": "digits"}) == (
        "ValidationException",
        f"ModelPackageGroup {GROUP} does not exist.",
    )
    for name in (f"{PACKAGE}/7", "digits/7"):
        assert refused(call, "DescribeModelPackage", {"ModelPackageName": name}) == (
            "ValidationException",
            f"ModelPackage {PACKAGE}/7 does not exist.",
        )
    other = "arn:aws:sagemaker:eu-west-1:123456789012:model-package/digits/1"
    register(call)
    assert refused(call, "DescribeModelPackage", {"ModelPackageName": other})[0] == "ValidationException"


def test_registering_counts_versions_and_never_gives_one_twice(call):
    assert [register(call), register(call)] == [f"{PACKAGE}/1", f"{PACKAGE}/2"]
    call("DeleteModelPackage", {"ModelPackageName": f"{PACKAGE}/2"})
    assert register(call) == f"{PACKAGE}/3"
    described = call("DescribeModelPackage", {"ModelPackageName": f"{PACKAGE}/3"})
    assert described["ModelPackageVersion"] == 3
    assert described["ModelPackageGroupName"] == "digits"
    assert described["ModelPackageStatus"] == "Completed"
    assert described["ModelApprovalStatus"] == "PendingManualApproval"
    assert described["InferenceSpecification"] == SPECIFICATION


def test_a_group_with_packages_cannot_be_deleted(call):
    arn = register(call)
    code, message = refused(call, "DeleteModelPackageGroup", {"ModelPackageGroupName": "digits"})
    assert code == "ConflictException"
    assert GROUP in message
    call("DeleteModelPackage", {"ModelPackageName": arn})
    call("DeleteModelPackageGroup", {"ModelPackageGroupName": "digits"})
    assert call("ListModelPackageGroups", {}) == {"ModelPackageGroupSummaryList": []}


def test_packages_are_listed_by_group_and_approval_in_pages(call):
    for number in range(5):
        register(call, ModelApprovalStatus="Approved" if number % 2 else "Rejected")
    register(call, ModelPackageGroupName="letters")
    pages, token = [], {}
    while not pages or token:
        answer = call("ListModelPackages", {"ModelPackageGroupName": "digits", "MaxResults": 2, **token})
        pages.append([item["ModelPackageVersion"] for item in answer["ModelPackageSummaryList"]])
        token = {key: answer[key] for key in ("NextToken",) if key in answer}
    assert pages == [[1, 2], [3, 4], [5]]
    newest = call(
        "ListModelPackages",
        {
            "ModelPackageGroupName": "digits",
            "ModelApprovalStatus": "Approved",
            "SortBy": "CreationTime",
            "SortOrder": "Descending",
            "MaxResults": 1,
        },
    )
    assert [item["ModelPackageArn"] for item in newest["ModelPackageSummaryList"]] == [f"{PACKAGE}/4"]


def test_an_unversioned_package_has_a_name_of_its_own(call):
    assert call("CreateModelPackage", {"ModelPackageName": "shared"})["ModelPackageArn"].endswith("/shared")
    register(call)
    listed = call("ListModelPackages", {})["ModelPackageSummaryList"]
    assert [item["ModelPackageName"] for item in listed] == ["shared"]
    both = call("ListModelPackages", {"ModelPackageType": "Both"})["ModelPackageSummaryList"]
    assert len(both) == 2
    assert refused(call, "CreateModelPackage", {"ModelPackageName": "shared"})[0] == "ValidationException"
    assert refused(call, "CreateModelPackage", {})[0] == "ValidationException"


def test_a_package_is_approved_and_its_metadata_changed(call):
    arn = register(call, CustomerMetadataProperties={"a": "1", "b": "2"})
    answer = call(
        "UpdateModelPackage",
        {
            "ModelPackageArn": arn,
            "ModelApprovalStatus": "Approved",
            "ApprovalDescription": "good",
            "CustomerMetadataProperties": {"c": "3"},
            "CustomerMetadataPropertiesToRemove": ["a"],
        },
    )
    assert answer == {"ModelPackageArn": arn}
    described = call("DescribeModelPackage", {"ModelPackageName": arn})
    assert described["ModelApprovalStatus"] == "Approved"
    assert described["ApprovalDescription"] == "good"
    assert described["CustomerMetadataProperties"] == {"b": "2", "c": "3"}
    assert described["LastModifiedTime"] >= described["CreationTime"]
    code, message = refused(call, "UpdateModelPackage", {"ModelPackageArn": f"{PACKAGE}/9"})
    assert (code, message) == ("ValidationException", f"ModelPackage {PACKAGE}/9 does not exist.")


def test_the_registry_outlives_the_process(call, home):
    arn = register(call)
    again = Store(home.database)
    try:
        plane = ControlPlane(Registry(home, again).operations())
        assert plane.call("DescribeModelPackage", {"ModelPackageName": arn})["ModelPackageArn"] == arn
    finally:
        again.close()


def test_a_package_keeps_its_card_and_refuses_one_that_aws_would(call):
    content = '{"model_overview": {"model_creator": "us"}}'
    arn = register(call, ModelCard={"ModelCardContent": content, "ModelCardStatus": "Draft"})
    described = call("DescribeModelPackage", {"ModelPackageName": arn})
    assert described["ModelCard"] == {"ModelCardContent": content, "ModelCardStatus": "Draft"}
    bad = {"ModelCardContent": '{"risk": "Low"}'}
    request = {"ModelPackageGroupName": "digits", "InferenceSpecification": SPECIFICATION, "ModelCard": bad}
    assert "does not follow the schema" in refused(call, "CreateModelPackage", request)[1]
    assert "ModelCard" not in call("DescribeModelPackage", {"ModelPackageName": register(call)})
    assert (
        "does not follow the schema"
        in refused(call, "UpdateModelPackage", {"ModelPackageArn": arn, "ModelCard": bad})[1]
    )


def test_a_card_is_updated_member_by_member_until_it_is_archived(call):
    arn = register(call, ModelCard={"ModelCardContent": "{}", "ModelCardStatus": "Draft"})

    def update(**card):
        call("UpdateModelPackage", {"ModelPackageArn": arn, "ModelCard": card})
        return call("DescribeModelPackage", {"ModelPackageName": arn})["ModelCard"]

    assert update(ModelCardStatus="Approved") == {"ModelCardContent": "{}", "ModelCardStatus": "Approved"}
    assert update(ModelCardStatus="Archived")["ModelCardStatus"] == "Archived"
    card = {"ModelCardContent": '{"model_overview": {}}'}
    assert refused(call, "UpdateModelPackage", {"ModelPackageArn": arn, "ModelCard": card}) == (
        "ValidationException",
        "Model Card is in Archived state",
    )
