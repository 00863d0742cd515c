"""An endpoint of the local service to verify; its models are a few lines of code."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from pathlib import Path
from typing import Any

from entrypoints.contract import NONE
from local.service import LocalService
from tests import forked
from tests.entrypoints.conftest import ROOT

ENDPOINT = "flowers"
ROLE = "arn:aws:iam::123456789012:role/execution"
RIGHT = {"label": "ants", "probabilities": {"ants": 0.9, "bees": 0.1}}

# Answers each picture with ANSWER, in STATUS, by ENGINE.
APP = """
import os

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    if scope["path"] == "/invocations":
        BEHAVIOUR
    status = 200 if scope["path"] == "/ping" else STATUS
    headers = [(b"x-amzn-sagemaker-custom-attributes", b"engine=ENGINE")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})
"""


class Account:
    """A local service with one endpoint, and the program to verify it."""

    def __init__(self, folder: Path, service: LocalService) -> None:
        self.folder, self.service = folder, service
        self.sagemaker = service.client("sagemaker")
        self.samples = folder / "samples"
        self.samples.mkdir()
        self.questions([{"file": "1.png", "label": "ants", "engine": "fp32", "predicted": "ants", **RIGHT}])

    def questions(self, questions: list[dict[str, Any]]) -> None:
        (self.samples / "1.png").write_bytes(b"a picture")
        (self.samples / "answers.json").write_text(json.dumps(questions))

    def config(
        self,
        name: str,
        answer: object = RIGHT,
        engine: str = "fp32",
        status: int = 200,
        behaviour: str = "pass",
        app: str = APP,
    ) -> str:
        """An endpoint config whose model gives these answers."""
        app = app.replace("ANSWER", repr(json.dumps(answer).encode())).replace("ENGINE", engine)
        app = app.replace("STATUS", str(status)).replace("BEHAVIOUR", behaviour)
        path = self.service.home.object_path(f"s3://bucket/{name}/model.tar.gz")
        path.parent.mkdir(parents=True)
        with tarfile.open(path, "w:gz") as tar:
            member = tarfile.TarInfo("app.py")
            member.size = len(app)
            tar.addfile(member, io.BytesIO(app.encode()))
        container = {"Image": "image", "ModelDataUrl": f"s3://bucket/{name}/model.tar.gz"}
        self.sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
        variant = {"VariantName": "v", "ModelName": name, "InstanceType": "ml.m5.large"}
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[{**variant, "InitialInstanceCount": 1}]
        )
        return name

    def serve(self, first: str, then: str | None = None) -> None:
        """Create the endpoint and, once it is InService, start the update to verify."""
        self.sagemaker.create_endpoint(EndpointName=ENDPOINT, EndpointConfigName=first)
        if then:
            deadline = time.monotonic() + 30
            while self.serves()[0] != "InService":
                assert time.monotonic() < deadline
                time.sleep(0.05)
            self.sagemaker.update_endpoint(EndpointName=ENDPOINT, EndpointConfigName=then)

    def serves(self) -> tuple[str, str]:
        answer = self.sagemaker.describe_endpoint(EndpointName=ENDPOINT)
        return answer["EndpointStatus"], answer["EndpointConfigName"]

    def verify(
        self, config: str, previous: str = NONE, endpoint: str = ENDPOINT, timeout_s: float = 60
    ) -> tuple[int, str, str]:
        """Exit code, exit message, and all that was printed."""
        message = self.folder / "output" / "message"
        done = forked.run(
            [
                *("-m", "entrypoints.verify", "--region", "us-east-1"),
                *("--endpoint", endpoint, "--config", config, "--previous-config", previous),
                *("--samples", str(self.samples), "--message", str(message), "--timeout-s", str(timeout_s)),
            ],
            self.folder,
            {**os.environ, **self.service.environment(), "PYTHONPATH": str(ROOT)},
            timeout_s=120,
        )
        assert "Traceback" not in done.stderr
        if done.returncode:
            assert done.stderr == f"error: {message.read_text()}\n"
        return done.returncode, message.read_text(), done.stdout
