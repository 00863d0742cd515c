"""The service's HTTP endpoint with boto3: routing, errors, keep-alive, start and stop."""

import contextlib
import errno
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPResponse

import pytest
from botocore.exceptions import ClientError

from local.application import application
from local.home.home import ACCOUNT
from local.s3.operations import S3
from local.server import THREADS, Server
from local.wire.errors import ModelError, ServiceError
from local.wire.http import HttpResponse
from local.wire.operations import ControlPlane

NPY = "application/x-npy"


def list_models(request):
    arn = f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:model/m"
    name = request.get("NameContains", "any")
    return {"Models": [{"ModelName": name, "ModelArn": arn, "CreationTime": 0, "Own": 1}]}


def describe_model(_request):
    raise ServiceError("ValidationException", 'Could not find model "m".')


def list_model_packages(_request):
    raise OSError(errno.ENOSPC, "No space left on device", "/home/x")


def delete_model(_request):
    raise ZeroDivisionError("a defect")


def invoke(name, body, headers):
    if name == "broken":
        raise ModelError(500, "out of memory", "the log")
    if name != "there":
        raise ServiceError("ValidationError", f"Endpoint {name} of account {ACCOUNT} not found.")
    told = {"accept": headers["accept"], "custom": headers["x-amzn-sagemaker-custom-attributes"]}
    answer = {"content-type": headers["content-type"], "x-amzn-invoked-production-variant": "all"}
    return 200, answer, json.dumps(told).encode() + body


def functions(method, path, query, _headers, body):
    told = {"FunctionName": f"{method} {path}", "Description": f"{dict(query)} {body.decode()}"}
    return 200, {"content-type": "application/json"}, json.dumps(told).encode()


def browse(request):
    return HttpResponse(200, {"content-type": "text/html"}, b"<p>") if request.path == "/page" else None


@pytest.fixture
def server(home):
    operations = {
        "ListModels": list_models,
        "DescribeModel": describe_model,
        "DeleteModel": delete_model,
        "ListModelPackages": list_model_packages,
    }
    server = Server(application(S3(home).handle, ControlPlane(operations), invoke, functions, browse))
    server.start()
    yield server
    server.stop()


def error(call, *arguments, **keywords):
    with pytest.raises(ClientError) as caught:
        call(*arguments, **keywords)
    return caught.value.response


def get(server, path, headers=None):
    connection = HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


def test_a_full_disk_is_reported_and_not_logged_as_a_defect(client, caplog):
    refusal = error(client("sagemaker").list_model_packages)
    assert refusal["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert "No space left on device" in refusal["Error"]["Message"]
    assert caplog.text == ""


def test_sagemaker_operations(client):
    sagemaker = client("sagemaker")
    models = sagemaker.list_models(NameContains="m")
    assert [(model["ModelName"], "Own" in model) for model in models["Models"]] == [("m", False)]
    assert models["ResponseMetadata"]["RequestId"]


def test_errors_of_sagemaker_operations(client, caplog):
    sagemaker = client("sagemaker")
    refused = error(sagemaker.describe_model, ModelName="m")
    assert refused["Error"] == {"Code": "ValidationException", "Message": 'Could not find model "m".'}
    assert refused["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert "CreateCluster" in error(sagemaker.create_cluster, ClusterName="c")["Error"]["Message"]
    failed = error(sagemaker.delete_model, ModelName="m")
    assert failed["Error"] == {"Code": "InternalFailure", "Message": "ZeroDivisionError: a defect"}
    assert failed["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert "ZeroDivisionError" in caplog.text


def test_invoke_endpoint(client):
    runtime = client("sagemaker-runtime")
    answer = runtime.invoke_endpoint(
        EndpointName="there",
        Body=b"!",
        ContentType=NPY,
        Accept="application/json",
        CustomAttributes="trace=1",
    )
    assert (answer["ContentType"], answer["InvokedProductionVariant"]) == (NPY, "all")
    assert answer["Body"].read() == b'{"accept": "application/json", "custom": "trace=1"}!'


def test_errors_of_invoke_endpoint(client):
    runtime = client("sagemaker-runtime")
    failed = error(runtime.invoke_endpoint, EndpointName="broken", Body=b"")
    assert failed["Error"]["Code"] == "ModelError"
    assert failed["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert (failed["OriginalStatusCode"], failed["OriginalMessage"]) == (500, "out of memory")
    assert failed["LogStreamArn"] == "the log"
    unknown = error(runtime.invoke_endpoint, EndpointName="other", Body=b"")["Error"]
    assert unknown == {
        "Code": "ValidationError",
        "Message": f"Endpoint other of account {ACCOUNT} not found.",
    }


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "text/xml", "multipart/form-data; boundary=b"]
)
def test_errors_of_invoke_endpoint_are_json_whatever_the_model_takes(client, kind):
    runtime = client("sagemaker-runtime")
    failed = error(runtime.invoke_endpoint, EndpointName="broken", Body=b"a=1", ContentType=kind, Accept=kind)
    assert (failed["Error"]["Code"], failed["OriginalStatusCode"]) == ("ModelError", 500)
    unknown = error(runtime.invoke_endpoint, EndpointName="other", Body=b"a=1", ContentType=kind)
    assert unknown["Error"]["Code"] == "ValidationError"


def test_the_other_invocations_are_refused_by_name(client):
    runtime = client("sagemaker-runtime")
    streamed = error(runtime.invoke_endpoint_with_response_stream, EndpointName="there", Body=b"")["Error"]
    later = error(runtime.invoke_endpoint_async, EndpointName="there", InputLocation="s3://b/k")["Error"]
    assert {streamed["Code"], later["Code"]} == {"NotImplemented"}
    for refused, name in ((streamed, "InvokeEndpointWithResponseStream"), (later, "InvokeEndpointAsync")):
        assert refused["Message"] == f"The local service has no {name}; use InvokeEndpoint instead"


def test_lambda_reaches_the_functions(client):
    answer = client("lambda").get_function_configuration(FunctionName="f", Qualifier="1")
    assert answer["FunctionName"] == "GET /2015-03-31/functions/f/configuration"
    assert answer["Description"] == "{'Qualifier': ['1']} "


def test_other_services_come_from_moto(client):
    assert client("sts").get_caller_identity()["Account"] == ACCOUNT
    iam = client("iam")
    role = {"RoleName": "from-the-local-server", "AssumeRolePolicyDocument": "{}"}
    arn = iam.create_role(**role)["Role"]["Arn"]
    assert arn == f"arn:aws:iam::{ACCOUNT}:role/from-the-local-server"
    assert iam.get_role(RoleName=role["RoleName"])["Role"]["Arn"] == arn
    assert error(iam.get_role, RoleName="missing")["Error"]["Code"] == "NoSuchEntity"
    iam.delete_role(RoleName=role["RoleName"])


def test_metrics_come_from_moto(client):
    cloudwatch = client("cloudwatch")
    cloudwatch.put_metric_data(Namespace="Own", MetricData=[{"MetricName": "m", "Value": 1.0}])
    assert [metric["MetricName"] for metric in cloudwatch.list_metrics(Namespace="Own")["Metrics"]] == ["m"]


def test_what_moto_lacks_is_an_error_in_the_clients_protocol(client):
    refused = error(client("iam").simulate_custom_policy, PolicyInputList=["{}"], ActionNames=["s3:Get"])
    assert refused["Error"]["Code"] == "NotImplemented"
    assert "simulate_custom_policy" in refused["Error"]["Message"]


def test_a_service_that_nobody_has_is_refused(client, caplog):
    with pytest.raises(ClientError) as caught:
        client("translate").list_languages()
    assert caught.value.response["Error"]["Code"] == "UnknownOperationException"
    assert not caplog.records


@pytest.mark.parametrize("length", ["Content-Length: 1000000000", "Transfer-Encoding: chunked"])
def test_a_foreign_sites_body_is_refused_before_it_comes(server, length):
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = f"POST /x HTTP/1.1\r\nHost: {host}\r\nOrigin: http://evil.example\r\n{length}\r\n\r\n"
        connection.sendall(head.encode())
        with connection.makefile("rb") as whole:
            answer = whole.read().decode()
    assert answer.startswith("HTTP/1.1 403 ") and "http://evil.example" in answer


def test_requests_without_credentials(server):
    status, headers, body = get(server, "/")
    assert (status, headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert b"AWS_ENDPOINT_URL" in body
    assert get(server, "/page")[2] == b"<p>"
    status, headers, body = get(server, "/pictures/a")
    assert (status, json.loads(body)["__type"]) == (403, "MissingAuthenticationToken")


@pytest.mark.parametrize(
    ("target", "body", "expected"),
    [
        ("SageMaker.ListModels", b"{", "SerializationException"),
        ("SageMaker.ListModels", b'{"MaxResults": "many"}', "ValidationException"),
        ("Other.ListModels", b"{}", "UnknownOperationException"),
    ],
)
def test_malformed_requests(server, target, body, expected):
    scope = "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/sagemaker/aws4_request, Signature=0"
    connection = HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    with contextlib.closing(connection):
        connection.request("POST", "/", body, {"Authorization": scope, "X-Amz-Target": target})
        answer = connection.getresponse()
        assert answer.headers["x-amzn-errortype"] == expected
        assert json.loads(answer.read())["__type"] == expected


def test_one_connection_serves_many_requests(server):
    connection = HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    with contextlib.closing(connection):
        for _ in range(3):
            connection.request("GET", "/")
            assert connection.getresponse().read()
            own = connection.sock.getsockname()
        assert connection.sock.getsockname() == own


def test_a_taken_port_is_one_clear_line(server):
    port = int(server.url.rpartition(":")[2])
    before = threading.active_count()
    with pytest.raises(OSError, match=rf"^port {port} of 127.0.0.1 is taken; "):
        Server(lambda *_: [], port).start()
    assert threading.active_count() == before


def credential(service):
    return {"authorization": f"AWS4-HMAC-SHA256 Credential=k/20261129/us-east-1/{service}/aws4_request, S=x"}


def unfinished(server, head, *sent):
    """The status and body of the answer to a request of which only this part is ever sent."""
    with socket.create_connection(
        ("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=10
    ) as connection:
        connection.sendall(head.encode() + b"\r\n")
        for block in sent:
            connection.sendall(block)
        answer = HTTPResponse(connection)
        answer.begin()
        return answer.status, answer.read()


@pytest.mark.parametrize(
    ("service", "path", "limit", "code"),
    [
        ("sagemaker", "/endpoints/there/invocations", 25_000_000, "413"),
        ("sagemaker", "/", 25_000_000, "413"),
        (None, "/endpoints/there/invocations", 25_000_000, "413"),
        ("lambda", "/2015-03-31/functions", 69_905_067, "RequestEntityTooLargeException"),
    ],
)
def test_a_body_that_is_too_long_is_refused_before_it_is_received(server, service, path, limit, code):
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    if service:
        head += f"Authorization: {credential(service)['authorization']}\r\n"
    status, body = unfinished(server, f"{head}Content-Length: {1 << 30}\r\n", b"x" * 1000)
    assert status == 413
    assert json.loads(body)["__type"] == code
    assert str(limit) in json.loads(body)["message"]
    expecting = f"{head}Content-Length: {limit + 1}\r\nExpect: 100-continue\r\n"
    assert unfinished(server, expecting)[0] == 413


def test_a_body_in_chunks_is_refused_once_it_is_too_long(server):
    head = "POST /endpoints/there/invocations HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n"
    chunk = b"f4240\r\n" + b"x" * 1_000_000 + b"\r\n"
    status, body = unfinished(server, head, *[chunk] * 26)
    assert (status, json.loads(body)["__type"]) == (413, "413")


def test_a_client_that_sends_too_much_reads_why(client):
    refusal = error(client("sagemaker-runtime").invoke_endpoint, EndpointName="there", Body=bytes(60_000_000))
    assert refusal["Error"] == {"Code": "413", "Message": "HTTP content length exceeded 25000000 bytes."}
    assert refusal["ResponseMetadata"]["HTTPStatusCode"] == 413


def test_a_connection_may_be_closed_twice_and_the_server_continues(server):
    with socket.create_connection(
        ("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=10
    ) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert connection.recv(1000)
        [channel] = server._server.active_channels.values()
        closed = threading.Event()

        def close_twice():
            channel.handle_close()
            channel.handle_close()
            closed.set()

        # In the server's own thread, which alone closes connections.
        server._server.trigger.pull_trigger(close_twice)
        assert closed.wait(10)
    assert get(server, "/")[0] == 200


def test_a_body_of_the_greatest_length_arrives_and_s3_takes_longer_ones(server, client):
    headers = {"Content-Type": NPY, "accept": "a", "x-amzn-sagemaker-custom-attributes": "c"}
    connection = HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    with contextlib.closing(connection):
        body = bytes(25_000_000)
        path = "/endpoints/there/invocations"
        connection.request("POST", path, body, headers | credential("sagemaker"))
        assert connection.getresponse().read().endswith(body)
    s3 = client("s3")
    s3.create_bucket(Bucket="endpoints")
    s3.put_object(Bucket="endpoints", Key="there/invocations", Body=bytes(25_000_001))
    assert s3.head_object(Bucket="endpoints", Key="there/invocations")["ContentLength"] == 25_000_001


def test_requests_that_wait_for_others_keep_none_from_being_answered(caplog):
    count = 60
    together = threading.Barrier(count, timeout=10)

    def app(environ, start_response):
        start_response("200 OK", [])
        if environ["PATH_INFO"] == "/inner":
            return [b"inner"]
        together.wait()
        return [get(server, "/inner")[2]]

    server = Server(app)
    server.start()
    try:
        with ThreadPoolExecutor(count) as pool:
            answers = list(pool.map(lambda _: get(server, "/outer")[2], range(count)))
        threads = threading.active_count()
        assert get(server, "/inner")[2] == b"inner"
        assert threading.active_count() == threads  # the existing ones answer
    finally:
        server.stop()
    assert answers == [b"inner"] * count
    assert caplog.text == ""


def test_without_another_thread_a_request_waits_for_one_of_those_there_are(monkeypatch):
    def refuse(*_arguments):
        raise RuntimeError("can't start new thread")

    def app(_environ, start_response):
        time.sleep(0.05)
        start_response("200 OK", [])
        return [b"answered"]

    server = Server(app)
    server.start()
    monkeypatch.setattr(server._server.task_dispatcher, "start_new_thread", refuse)
    try:
        with ThreadPoolExecutor(2 * THREADS) as pool:
            answers = list(pool.map(lambda _: get(server, "/")[2], range(2 * THREADS)))
    finally:
        server.stop()
    assert answers == [b"answered"] * 2 * THREADS


def test_stopping_is_quick_and_ends_the_threads_and_the_port():
    before = threading.active_count()
    server = Server(lambda *_: [])
    server.start()
    assert threading.active_count() == before + 1 + THREADS
    host, port = server.url.removeprefix("http://").split(":")
    assert host == "127.0.0.1"
    with socket.create_connection((host, port), timeout=10):
        begun = time.monotonic()
        server.stop()
        assert time.monotonic() - begun < 2
    # waitress stops counting a thread a moment before it ends.
    while threading.active_count() > before:
        assert time.monotonic() - begun < 5
        time.sleep(0.01)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port), timeout=10)
