"""A local service, attacks that other web sites may try, and their traces."""

from __future__ import annotations

import base64
import io
import json
import socket
import zipfile
from http.client import HTTPResponse
from pathlib import Path

from local.service import LocalService
from tests.local.endpoint_service import pack

SIGNED = "X-Amz-Credential=any/20260101/us-east-1/{}/aws4_request"
ROLE = "arn:aws:iam::123456789012:role/any"
# A page for GET, and a file that grows with every POST.
APP = """
import os


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["method"] == "POST":
        with open(os.environ["INVOKED"], "a") as file:
            file.write("x")
    sent = [(b"content-type", b"text/html"), (b"access-control-allow-origin", b"*")]
    await send({"type": "http.response.start", "status": 200, "headers": sent})
    await send({"type": "http.response.body", "body": b"<title>Endpoint</title>own page"})
"""
# Attacks of a foreign page: path, body. All are requests that need no permission (no preflight).
ATTACKS = (
    (f"/2015-03-31/functions?{SIGNED.format('lambda')}", "FUNCTION"),
    (f"/2015-03-31/functions/evil/invocations?{SIGNED.format('lambda')}", "{}"),
    (f"/pictures?delete&{SIGNED.format('s3')}", "<Delete><Object><Key>a</Key></Object></Delete>"),
    (f"/endpoints/e/invocations?{SIGNED.format('sagemaker')}", "picture"),
    ("/endpoints/e/invocations", "picture"),
    (f"/?Action=CreateUser&UserName=evil&Version=2010-05-08&{SIGNED.format('iam')}", ""),
    (f"/moto-api/recorder/start-recording?{SIGNED.format('iam')}", ""),
    (f"/moto-api/recorder/reset-recording?{SIGNED.format('iam')}", ""),
)


class Scene:
    """A local service with an object, an endpoint and the traces that an attack would leave."""

    def __init__(self, folder: Path, service: LocalService) -> None:
        self.service = service
        self.port = int(service.url.rpartition(":")[2])
        self.ran, self.invoked = folder / "ran", folder / "invoked"
        self.s3, self.functions, self.iam = map(service.client, ("s3", "lambda", "iam"))
        s3, sagemaker = self.s3, service.client("sagemaker")
        s3.create_bucket(Bucket="pictures")
        s3.put_object(Bucket="pictures", Key="a", Body=b"own object", ContentType="text/plain")
        pack(service.home, "m.tar.gz", app_py=APP)
        container = {"ModelDataUrl": "s3://bucket/m.tar.gz", "Environment": {"INVOKED": str(self.invoked)}}
        sagemaker.create_model(
            ModelName="m", PrimaryContainer={**container, "Image": "i"}, ExecutionRoleArn=ROLE
        )
        variant = {
            "VariantName": "v",
            "ModelName": "m",
            "InitialInstanceCount": 1,
            "InstanceType": "ml.m5.large",
        }
        sagemaker.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
        sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
        waiter = sagemaker.get_waiter("endpoint_in_service")
        waiter.wait(EndpointName="e", WaiterConfig={"Delay": 1, "MaxAttempts": 60})

    @property
    def attacks(self) -> list[tuple[str, str]]:
        """ATTACKS, with a function that would leave the file `ran`."""
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr(
                "go.py", f"def handler(event, context):\n    open({str(self.ran)!r}, 'w').close()"
            )
        function = {
            "FunctionName": "evil",
            "Runtime": "python3.12",
            "Role": ROLE,
            "Handler": "go.handler",
            "Code": {"ZipFile": base64.b64encode(code.getvalue()).decode()},
        }
        return [(path, json.dumps(function) if body == "FUNCTION" else body) for path, body in ATTACKS]

    def harm(self) -> list[str]:
        """The traces of an attack."""
        users = self.iam.list_users()["Users"]  # moto would record this
        objects = self.s3.list_objects_v2(Bucket="pictures").get("Contents", [])
        done = {
            "an object was deleted": not objects,
            "a function was created": self.functions.list_functions()["Functions"],
            "a function ran": self.ran.exists(),
            "the endpoint was invoked": self.invoked.exists(),
            "a user was created": users,
            "moto recorded": Path("moto_recording").exists(),
        }
        return [what for what, happened in done.items() if happened]

    def send(self, line: str, *headers: str, body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        """The answer to a request of exactly these lines: status, headers in lower case, body."""
        lines = (line, *headers, f"Content-Length: {len(body)}", "Connection: close")
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as client:
            client.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
            answer = HTTPResponse(client, method=line.split()[0])
            answer.begin()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, told, answer.read()
