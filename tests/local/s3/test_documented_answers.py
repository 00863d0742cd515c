"""S3's answers have all that AWS's documentation shows, and nothing that AWS's model lacks.

The examples of the API reference come with botocore (data/s3/.../examples-1.json).
"""

import contextlib
import xml.etree.ElementTree as ET

import botocore.loaders
import pytest
from botocore.exceptions import ClientError

from local.application import application
from local.home.home import Home
from local.s3.operations import S3
from local.server import Server
from local.wire.operations import ControlPlane, service_model
from tests.local.answer_shapes import missing, problems
from tests.local.conftest import clients, refuse
from tests.local.s3.buckets import MIB

EXAMPLES = botocore.loaders.Loader().load_service_model("s3", "examples-1")["examples"]
# Members in examples that a bucket here does not have, by their name anywhere in an answer.
NO_VERSIONS = "a new bucket keeps no versions"
NOT_HERE = {
    "VersionId": NO_VERSIONS,
    "DeleteMarker": NO_VERSIONS,
    "DeleteMarkerVersionId": NO_VERSIONS,
    "MFADelete": NO_VERSIONS,
    "Status": NO_VERSIONS,
    "DisplayName": "API reference, Owner: S3 stopped to return DisplayName on 2025-11-21",
    "LocationConstraint": "API reference, GetBucketLocation: us-east-1 has null",
    "NextMarker": "API reference, ListObjects: only with a delimiter",
    **dict.fromkeys(
        ("MaxUploads", "KeyMarker", "UploadIdMarker", "NextKeyMarker", "NextUploadIdMarker"),
        "uploads are one page; max-uploads is refused by its name",
    ),
    "TagCount": "objects have no tags",
    "ServerSideEncryption": "there only where the request asks for it",
}
UNCONFIGURED = {"GetBucketNotification", "GetObjectTagging"}  # their examples show configured buckets


def scenario(s3):
    """Every supported operation, with an answer that has all its parts."""
    s3.create_bucket(Bucket="pictures")
    s3.create_bucket(Bucket="empty")
    for key in ("a/1.jpg", "a/2.jpg", "b.jpg"):
        s3.put_object(Bucket="pictures", Key=key, Body=b"x" * 99, Metadata={"of": "mine"})
    s3.list_buckets()
    s3.head_bucket(Bucket="pictures")
    s3.get_bucket_location(Bucket="pictures")
    s3.list_objects(Bucket="pictures", MaxKeys=2)
    s3.list_objects(Bucket="pictures", MaxKeys=1, Delimiter="/")
    s3.list_objects_v2(Bucket="pictures", MaxKeys=2, FetchOwner=True)
    s3.list_object_versions(Bucket="pictures", MaxKeys=2)
    s3.get_object(Bucket="pictures", Key="b.jpg")["Body"].read()
    s3.get_object(Bucket="pictures", Key="b.jpg", Range="bytes=0-9")["Body"].read()
    s3.head_object(Bucket="pictures", Key="b.jpg")
    attributes = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
    s3.get_object_attributes(Bucket="pictures", Key="b.jpg", ObjectAttributes=attributes)
    s3.copy_object(Bucket="pictures", Key="c.jpg", CopySource="pictures/b.jpg")
    for call, name in s3.meta.method_to_api_mapping.items():
        if name.startswith(("GetBucket", "GetPublic", "ListBucket")) and asks_only_for_a_bucket(name):
            with contextlib.suppress(ClientError):  # for unconfigured features
                getattr(s3, call)(Bucket="pictures")
    s3.get_object_acl(Bucket="pictures", Key="b.jpg")
    s3.get_object_tagging(Bucket="pictures", Key="b.jpg")
    place = {"Bucket": "pictures", "Key": "big"}
    for _ in range(2):
        upload = {**place, "UploadId": s3.create_multipart_upload(**place)["UploadId"]}
    s3.list_multipart_uploads(Bucket="pictures")
    first = s3.upload_part(**upload, PartNumber=1, Body=b"x" * 5 * MIB)["ETag"]
    second = s3.upload_part_copy(**upload, PartNumber=2, CopySource="pictures/b.jpg")["CopyPartResult"]
    s3.list_parts(**upload)
    parts = [{"PartNumber": 1, "ETag": first}, {"PartNumber": 2, "ETag": second["ETag"]}]
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    s3.abort_multipart_upload(**place, UploadId=s3.create_multipart_upload(**place)["UploadId"])
    s3.delete_object(Bucket="pictures", Key="c.jpg")
    s3.delete_objects(Bucket="pictures", Delete={"Objects": [{"Key": "b.jpg"}, {"Key": "x" * 2000}]})
    s3.delete_bucket(Bucket="empty")


def asks_only_for_a_bucket(name):
    return service_model("s3").operation_model(name).input_shape.required_members == ["Bucket"]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Each operation's answers: as botocore parses them, and the document itself."""
    found = {}

    def note(http_response, parsed, model, **_):
        if "Error" not in parsed:
            parsed = {key: value for key, value in parsed.items() if key != "ResponseMetadata"}
            found.setdefault(model.name, []).append((parsed, getattr(http_response, "_content", None)))

    home = Home(tmp_path_factory.mktemp("documented") / "home")
    server = Server(application(S3(home).handle, ControlPlane({}), refuse, refuse, refuse))
    server.start()
    s3 = clients(server.url)("s3")
    s3.meta.events.register("after-call.s3", note)
    scenario(s3)
    server.stop()
    return found


def test_an_answer_has_what_the_documentation_shows(answers):
    compared = answers.keys() & EXAMPLES.keys() - UNCONFIGURED
    assert len(compared) >= 20, sorted(compared)
    for operation in compared:
        ours = [parsed for parsed, _ in answers[operation]]
        assert not missing(ours, EXAMPLES[operation], NOT_HERE), operation


def unknown(element, shape, way):
    """The elements of a document that the model of the answer does not have."""
    members = {member.serialization.get("name", name): member for name, member in shape.members.items()}
    for child in element:
        name = child.tag.rpartition("}")[2]
        if name not in members:
            yield f"{way}.{name}"
            continue
        member, inside = members[name], [child]
        if member.type_name == "list":
            inside = inside if member.serialization.get("flattened") else list(child)
            member = member.member
        if member.type_name == "structure":
            for item in inside:
                yield from unknown(item, member, f"{way}.{name}")


def test_an_answer_is_as_the_model_says_and_has_nothing_else(answers):
    for operation, given in answers.items():
        shape = service_model("s3").operation_model(operation).output_shape
        for parsed, content in given if shape is not None else ():
            told = {key: value for key, value in parsed.items() if value is not None}  # us-east-1's location
            assert not problems(told, shape), operation
            if content and content.startswith(b"<?xml"):
                # One member may be the whole document.
                document = shape.members.get(shape.serialization.get("payload"), shape)
                assert not list(unknown(ET.fromstring(content), document, operation))


def test_every_operation_of_the_local_s3_is_asked(answers):
    assert len(answers) >= 30, sorted(answers)
