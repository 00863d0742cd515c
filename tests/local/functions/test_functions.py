import base64
import contextlib
import hashlib
import io
import json
import re
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import boto3
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from local.application import application
from local.functions.functions import FunctionService
from local.home.store import Store
from local.processes import opt_ml
from local.s3.operations import S3
from local.server import Server
from local.wire.errors import ServiceError
from local.wire.operations import ControlPlane
from tests.local.machine import machine

ARN = "arn:aws:lambda:us-east-1:123456789012:function:deploy"
ROLE = "arn:aws:iam::123456789012:role/lambda"

HANDLER = """
import os
import sys
import time


def handler(event, context):
    print("got", event)
    kind = event.get("kind")
    if kind == "raise":
        raise ValueError("no such endpoint")
    if kind == "exit":
        os._exit(9)
    if kind == "sleep":
        time.sleep(60)
    if kind == "object":
        return object()
    if kind == "write":
        os.makedirs("/opt" + "/ml/cache", exist_ok=True)
    if kind == "big":
        return "x" * (7 << 20)
    return {
        "event": event,
        "name": context.function_name,
        "arn": context.invoked_function_arn,
        "remaining": context.get_remaining_time_in_millis(),
        "region": os.environ["AWS_REGION"],
        "setting": os.environ.get("SETTING"),
        "path": sys.path[0],
    }
"""


def zipped(**files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "/") + ".py", text)
    return data.getvalue()


@contextlib.contextmanager
def serving(home):
    """A function service over a home folder, and boto3's client of it through a real server."""
    store = Store(home.database)
    service = FunctionService(
        home, store, lambda: {"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": server.url}
    )
    server = Server(application(S3(home).handle, ControlPlane({}), refuse, service.handle, lambda _: None))
    server.start()
    try:
        yield (
            service,
            boto3.client(
                "lambda",
                endpoint_url=server.url,
                region_name="us-east-1",
                aws_access_key_id="local",
                aws_secret_access_key="local",
                config=Config(retries={"total_max_attempts": 1}, max_pool_connections=50),
            ),
        )
    finally:
        service.stop()
        server.stop()
        store.close()


def refuse(*_arguments):
    raise ServiceError("ValidationError", "this test has no endpoints")


@pytest.fixture
def running(home):
    before = set(psutil.Process().children(recursive=True))
    with serving(home) as pair:
        yield pair
    assert set(psutil.Process().children(recursive=True)) <= before


@pytest.fixture
def service(running):
    return running[0]


@pytest.fixture
def aws(running):
    return running[1]


def create(aws, code=None, **more):
    request = {
        "FunctionName": "deploy",
        "Runtime": "python3.12",
        "Role": ROLE,
        "Handler": "entrypoints.deploy.handler",
        "Timeout": 20,
        "Code": {"ZipFile": code or zipped(entrypoints____init__="", entrypoints__deploy=HANDLER)},
    }
    return aws.create_function(**(request | more))


def invoke(aws, event, **more):
    answer = aws.invoke(FunctionName="deploy", Payload=json.dumps(event), **more)
    return answer, json.loads(answer["Payload"].read())


def test_a_function_is_created_active_and_described(aws):
    code = zipped(entrypoints____init__="", entrypoints__deploy=HANDLER)
    created = create(aws, code, Tags={"team": "a"})
    assert created["FunctionArn"] == ARN
    assert created["CodeSha256"] == base64.b64encode(hashlib.sha256(code).digest()).decode()
    assert created["CodeSize"] == len(code)
    for name in ("deploy", ARN):
        described = aws.get_function(FunctionName=name)
        assert described["Configuration"]["State"] == "Active"
        assert described["Configuration"]["LastUpdateStatus"] == "Successful"
        assert described["Tags"] == {"team": "a"}
    aws.get_waiter("function_active_v2").wait(FunctionName="deploy")
    aws.get_waiter("function_updated_v2").wait(FunctionName="deploy")
    assert [function["FunctionName"] for function in aws.list_functions()["Functions"]] == ["deploy"]


def test_a_function_answers_with_its_event_context_and_environment(aws):
    create(aws, Environment={"Variables": {"SETTING": "7"}})
    answer, payload = invoke(aws, {"a": ["ä", 1.5, None]})
    assert answer["StatusCode"] == 200
    assert "FunctionError" not in answer
    assert payload["event"] == {"a": ["ä", 1.5, None]}
    assert (payload["name"], payload["arn"]) == ("deploy", ARN)
    assert 0 < payload["remaining"] <= 20_000
    assert (payload["region"], payload["setting"]) == ("us-east-1", "7")
    assert "functions/deploy" in payload["path"]


def test_a_function_changes_nothing_in_the_machines_opt_ml(aws, monkeypatch):
    """Also as root, who could write there: without its own /opt/ml it is refused the folder, or the
    invocation."""
    before = machine()
    create(aws)
    answer, payload = invoke(aws, {"kind": "write"})
    assert ("FunctionError" in answer) == bool(opt_ml._obstacle("own")), payload
    monkeypatch.setenv(opt_ml.VARIABLE, opt_ml.REWRITTEN)
    answer, payload = invoke(aws, {"kind": "write"})
    assert payload["errorType"] == "PermissionError"
    assert machine() == before
    monkeypatch.setattr(opt_ml, "_writable", lambda: True)
    monkeypatch.setattr(opt_ml, "_obstacle", lambda way: f"{way} is not to be had")
    with pytest.raises(ClientError, match="a program could write into the machine's own /opt/ml"):
        invoke(aws, {"kind": "write"})


def test_what_the_handler_prints_is_its_log(aws, home):
    create(aws)
    answer, _ = invoke(aws, {"a": 1}, LogType="Tail")
    log = base64.b64decode(answer["LogResult"]).decode()
    assert log.startswith("START RequestId: ")
    assert "\ngot {'a': 1}\nEND RequestId: " in log
    assert home.folder("functions", "deploy").joinpath("function.log").read_text() == log


def test_an_exception_is_reported_with_its_type_and_trace(aws):
    create(aws)
    answer, payload = invoke(aws, {"kind": "raise"})
    assert (answer["StatusCode"], answer["FunctionError"]) == (200, "Unhandled")
    assert (payload["errorType"], payload["errorMessage"]) == ("ValueError", "no such endpoint")
    (frame,) = payload["stackTrace"]
    assert "in handler" in frame


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("exit", "Runtime.ExitError", "exit status 9"),
        ("object", "Runtime.MarshalError", "Unable to marshal response: Object of type object"),
        ("big", "Function.ResponseSizeTooLarge", "exceeded maximum allowed payload size"),
    ],
)
def test_a_function_that_does_not_answer_is_reported(aws, kind, error, message):
    create(aws)
    answer, payload = invoke(aws, {"kind": kind})
    assert answer["FunctionError"] == "Unhandled"
    assert payload["errorType"] == error
    assert message in payload["errorMessage"]


@pytest.mark.parametrize(
    ("handler", "error", "message"),
    [
        (
            "nowhere.handler",
            "Runtime.ImportModuleError",
            "Unable to import module 'nowhere': ",
        ),
        (
            "entrypoints.deploy.run",
            "Runtime.HandlerNotFound",
            "Handler 'run' missing on module ",
        ),
    ],
)
def test_a_handler_that_is_not_there_is_reported(aws, handler, error, message):
    create(aws, Handler=handler)
    answer, payload = invoke(aws, {})
    assert answer["FunctionError"] == "Unhandled"
    assert payload["errorType"] == error
    assert payload["errorMessage"].startswith(message)


def invocations():
    """The processes of invocations."""
    return [child for child in psutil.Process().children() if "runtime.py" in " ".join(child.cmdline())]


def test_a_function_past_its_timeout_is_ended(aws):
    create(aws, Timeout=1)
    begin = time.monotonic()
    answer, payload = invoke(aws, {"kind": "sleep"})
    assert answer["FunctionError"] == "Unhandled"
    assert payload["errorMessage"].endswith("Task timed out after 1.00 seconds")
    assert time.monotonic() - begin < 10
    assert not invocations()


def test_functions_that_call_back_do_not_wait_for_each_other(aws):
    code = "from http.client import HTTPConnection\nimport os\ndef handler(event, context):\n"
    code += "    connection = HTTPConnection(os.environ['AWS_ENDPOINT_URL'][7:])\n"
    code += "    connection.request('GET', '/')\n    return connection.getresponse().status"
    create(aws, zipped(callback=code), Handler="callback.handler", Timeout=60)
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: invoke(aws, {})[1], range(40)))
    assert answers == [200] * 40


def test_one_function_too_many_is_refused_and_a_later_one_not(aws, service, monkeypatch):
    create(aws)
    monkeypatch.setattr(service, "_free", threading.Semaphore(1))
    with service._concurrent(), pytest.raises(ClientError) as caught:
        invoke(aws, {})
    assert caught.value.response["Error"]["Code"] == "TooManyRequestsException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert invoke(aws, {})[1]["name"] == "deploy"


def test_stopping_the_service_ends_a_running_invocation(service, aws):
    create(aws)
    results = []
    thread = threading.Thread(
        target=lambda: results.append(
            service.handle("POST", "/2015-03-31/functions/deploy/invocations", {}, {}, b'{"kind": "sleep"}')
        )
    )
    thread.start()
    deadline = time.monotonic() + 10
    while not invocations() and time.monotonic() < deadline:
        time.sleep(0.01)
    service.stop()
    thread.join(10)
    ((status, headers, _),) = results
    assert (status, headers["X-Amz-Function-Error"]) == (200, "Unhandled")


def test_new_code_and_configuration_take_effect(aws):
    first = create(aws)
    second = aws.update_function_code(
        FunctionName="deploy", ZipFile=zipped(main="def run(e, c): return 'new'")
    )
    assert second["CodeSha256"] != first["CodeSha256"]
    assert second["RevisionId"] != first["RevisionId"]
    third = aws.update_function_configuration(FunctionName="deploy", Handler="main.run", Timeout=7)
    assert (third["Handler"], third["Timeout"]) == ("main.run", 7)
    assert invoke(aws, {})[1] == "new"


def link(name, target):
    member = zipfile.ZipInfo(name)
    member.create_system, member.external_attr = 3, 0o120777 << 16
    return member, target


def unsafe(*members):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return data.getvalue()


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ([(f"{n}", bytes(50 << 20)) for n in range(5)], "Unzipped size must be smaller than 262144000 bytes"),
        ([("../../outside.py", "x")], "'../../outside.py' leads out of it"),
        ([("/etc/outside.py", "x")], "'/etc/outside.py' leads out of it"),
        ([link("main.py", "/etc/passwd")], "'main.py' is a link or a device"),
        (None, "damaged: BadZipFile"),
    ],
    ids=["bomb", "way out", "absolute", "link", "no zip"],
)
def test_code_that_would_do_harm_is_refused_and_the_service_lives_on(aws, home, members, complaint):
    """With InvalidParameterValueException (API reference, CreateFunction)."""
    code = b"no archive" if members is None else unsafe(*members)
    path = home.object_path("s3://bucket/code/f.zip")
    path.parent.mkdir(parents=True)
    path.write_bytes(code)
    with pytest.raises(ClientError, match=re.escape(complaint)) as created:
        create(aws, code)
    assert aws.list_functions()["Functions"] == []
    good = create(aws, zipped(main="def run(e, c): return 'good'"), Handler="main.run")
    with pytest.raises(ClientError, match=re.escape(complaint)) as updated:
        aws.update_function_code(FunctionName="deploy", ZipFile=code)
    with pytest.raises(ClientError, match=re.escape(complaint)) as from_s3:
        aws.update_function_code(FunctionName="deploy", S3Bucket="bucket", S3Key="code/f.zip")
    for caught in (created, updated, from_s3):
        assert caught.value.response["Error"]["Code"] == "InvalidParameterValueException"
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert aws.get_function_configuration(FunctionName="deploy")["CodeSha256"] == good["CodeSha256"]
    assert invoke(aws, {})[1] == "good"
    digest = base64.b64decode(good["CodeSha256"]).hex()
    assert {path.name for path in home.folder("functions", "deploy").glob("*")} >= {digest, f"{digest}.zip"}
    assert not list(home.root.rglob("outside.py")) and not list(home.root.rglob("*.partial"))


def test_code_may_lie_in_s3(aws, home):
    path = home.object_path("s3://bucket/code/f.zip")
    path.parent.mkdir(parents=True)
    path.write_bytes(zipped(main="def run(e, c): return 'from s3'"))
    create(aws, Handler="main.run", Code={"S3Bucket": "bucket", "S3Key": "code/f.zip"})
    assert invoke(aws, {})[1] == "from s3"
    with pytest.raises(ClientError, match=r"NoSuchKey.*s3://bucket/other.zip does not exist"):
        aws.update_function_code(FunctionName="deploy", S3Bucket="bucket", S3Key="other.zip")


def test_functions_outlive_the_process(aws, home):
    create(aws)
    with serving(home) as (_, again):
        assert invoke(again, {"a": 1})[1]["event"] == {"a": 1}


def test_a_deleted_function_is_gone(aws, home):
    create(aws)
    aws.delete_function(FunctionName="deploy")
    assert not home.folder("functions", "deploy").exists()
    for call in (aws.get_function, aws.get_function_configuration, aws.delete_function, aws.invoke):
        with pytest.raises(aws.exceptions.ResourceNotFoundException, match=f"Function not found: {ARN}"):
            call(FunctionName="deploy")


def test_a_function_of_another_region_is_not_reachable(aws):
    create(aws)
    told = r"Functions from 'eu-west-1' are not reachable in this region \('us-east-1'\)"
    for call in (aws.get_function, aws.delete_function, aws.invoke):
        with pytest.raises(aws.exceptions.ResourceNotFoundException, match=told):
            call(FunctionName=ARN.replace("us-east-1", "eu-west-1"))


def test_tags_are_added_and_removed(aws):
    create(aws, Tags={"a": "1"})
    aws.tag_resource(Resource=ARN, Tags={"b": "2", "c & d": "3"})
    assert aws.list_tags(Resource=ARN)["Tags"] == {"a": "1", "b": "2", "c & d": "3"}
    aws.untag_resource(Resource=ARN, TagKeys=["a", "c & d", "absent"])
    assert aws.list_tags(Resource=ARN)["Tags"] == {"b": "2"}


def test_a_second_function_of_the_name_is_refused(aws):
    create(aws)
    with pytest.raises(aws.exceptions.ResourceConflictException, match="Function already exist: deploy"):
        create(aws)


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"Code": {"ZipFile": b"not a zip"}}, "Could not unzip uploaded file"),
        ({"Code": {}}, "Please provide a source"),
        ({"Runtime": "nodejs22.x"}, "only Python functions, not nodejs22.x"),
        ({"PackageType": "Image"}, "not from images"),
        ({"Layers": [f"{ARN}:1"]}, "does not support Layers"),
        ({"FunctionName": "a:b"}, "is not the name of a function"),
    ],
)
def test_what_cannot_run_here_is_refused_at_creation(aws, more, complaint):
    with pytest.raises(aws.exceptions.InvalidParameterValueException, match=complaint):
        create(aws, **more)
    assert aws.list_functions()["Functions"] == []


def test_what_the_service_does_not_do_is_said(aws, service):
    create(aws)
    with pytest.raises(ClientError, match="no Lambda operation PublishVersion"):
        aws.publish_version(FunctionName="deploy")
    with pytest.raises(aws.exceptions.InvalidParameterValueException, match="only synchronously"):
        aws.invoke(FunctionName="deploy", InvocationType="Event")
    with pytest.raises(aws.exceptions.InvalidRequestContentException, match="Could not parse request body"):
        aws.invoke(FunctionName="deploy", Payload=b"{")
    with pytest.raises(aws.exceptions.InvalidParameterValueException, match="Marker 'next'"):
        aws.list_functions(Marker="next")
    with pytest.raises(aws.exceptions.RequestTooLargeException):
        aws.invoke(FunctionName="deploy", Payload=b'"' + b"x" * (7 << 20) + b'"')
    assert service.handle("GET", "/nowhere", {}, {}, b"")[0] == 404


def test_functions_are_listed_in_pages(aws):
    for name in "abc":
        create(aws, FunctionName=name)
    pages = aws.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 2})
    assert [[function["FunctionName"] for function in page["Functions"]] for page in pages] == [
        ["a", "b"],
        ["c"],
    ]
