"""The parts of an AWS account that the bundles `verify` and `deploy` need: an endpoint, a model package."""

from __future__ import annotations

import contextlib
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CONFIG = "replica-config"
ENDPOINT = "replica"
# Pending, so that the function answers without creating anything.
ANSWERS: dict[str, dict[str, Any]] = {
    "DescribeEndpoint": {
        "EndpointName": ENDPOINT,
        "EndpointArn": f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{ENDPOINT}",
        "EndpointConfigName": CONFIG,
        "EndpointStatus": "InService",
        "CreationTime": 0,
        "LastModifiedTime": 0,
    },
    "DescribeModelPackage": {
        "ModelPackageName": "replica",
        "ModelPackageArn": "arn:aws:sagemaker:us-east-1:123456789012:model-package/replica/1",
        "ModelPackageStatus": "Completed",
        "ModelPackageStatusDetails": {"ValidationStatuses": []},
        "ModelApprovalStatus": "PendingManualApproval",
        "CreationTime": 0,
    },
}


@contextlib.contextmanager
def account(container_url: str) -> Iterator[str]:
    """Answer SageMaker, and pass InvokeEndpoint to the container; yields the URL for AWS_ENDPOINT_URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            if self.path.startswith("/endpoints/"):
                self._invoke(body)
            else:
                operation = self.headers["X-Amz-Target"].rpartition(".")[2]
                self._answer(200, json.dumps(ANSWERS[operation]).encode(), {})

        def _invoke(self, body: bytes) -> None:
            headers = {name: self.headers[name] for name in ("Content-Type", "Accept")}
            request = urllib.request.Request(f"{container_url}/invocations", body, headers)
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    self._answer(answer.status, answer.read(), dict(answer.headers))
            except urllib.error.HTTPError as error:
                self._answer(424, error.read(), {})

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            kept = {k: v for k, v in headers.items() if k.lower().startswith(("content-type", "x-amzn"))}
            for name, value in {**kept, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
