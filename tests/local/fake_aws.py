"""A client factory that records requests and simulates jobs, without a server."""

import io
import threading
from collections.abc import Callable
from typing import Any

from botocore import xform_name
from botocore.exceptions import ClientError
from botocore.validate import ParamValidator

from local.wire.operations import service_model

ACCOUNT = "arn:aws:sagemaker:us-east-1:123456789012"
_KINDS = {
    "TrainingJob": "training-job",
    "ProcessingJob": "processing-job",
    "HyperParameterTuningJob": "hyper-parameter-tuning-job",
    "Model": "model",
    "ModelPackage": "model-package",
    "TransformJob": "transform-job",
}


class FakeAws:
    """Jobs complete at their second Describe, unless `endings` or `held` say otherwise for their step."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.endings: dict[str, list[tuple[str, str]]] = {}  # step -> (status, reason) of each attempt
        self.refusals: dict[str, ClientError] = {}  # operation -> error
        self.held: dict[str, threading.Event] = {}  # step -> what its job waits for
        self.files: dict[str, str] = {}
        self.functions: dict[str, Callable[[bytes], dict[str, Any]]] = {}
        self.extra: dict[str, dict[str, Any]] = {}  # step -> more of the Describe answer
        self.trials: list[dict[str, Any]] = []
        self.stopped: list[str] = []
        self.most_running = 0
        self._resources: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def __call__(self, service: str) -> Any:
        assert service in ("sagemaker", "lambda", "s3")
        return self

    def created(self, operation: str) -> list[dict[str, Any]]:
        return [request for name, request in self.requests if name == operation]

    def __getattr__(self, method: str) -> Any:
        for resource in _KINDS:
            for verb in ("Create", "Describe", "Stop"):
                if method == xform_name(verb + resource):
                    return lambda **request: self._call(verb, resource, request)
        raise AttributeError(method)

    def _call(self, verb: str, resource: str, request: dict[str, Any]) -> dict[str, Any]:
        operation = verb + resource
        shape = service_model().operation_model(operation).input_shape
        report = ParamValidator().validate(request, shape)
        assert not report.has_errors(), report.generate_report()
        with self._lock:
            if verb != "Describe":
                self.requests.append((operation, request))
            if operation in self.refusals:
                raise self.refusals[operation]
            if verb == "Create":
                return self._create(resource, request)
            name = request[f"{resource}Name"]
            if name not in self._resources:
                raise client_error(operation, "ValidationException", f"Requested resource not found: {name}")
            if verb == "Stop":
                self.stopped.append(name)
                self._resources[name]["_stopping"] = True
                return {}
            return self._describe(resource, self._resources[name])

    def _create(self, resource: str, request: dict[str, Any]) -> dict[str, Any]:
        for made in self._resources.values():
            if "ClientToken" in request and made.get("ClientToken") == request["ClientToken"]:
                return {f"{resource}Arn": made[f"{resource}Arn"]}
        name = request.get(f"{resource}Name", f"group/{len(self.requests)}")
        arn = f"{ACCOUNT}:{_KINDS[resource]}/{name.lower()}"
        record = {**request, f"{resource}Arn": arn, f"{resource}Name": name, "_looks": 0}
        self._resources[arn if resource == "ModelPackage" else name] = record
        self.most_running = max(
            self.most_running, sum(r.get("_looks", 9) < 2 for r in self._resources.values())
        )
        return {f"{resource}Arn": arn}

    def _describe(self, resource: str, record: dict[str, Any]) -> dict[str, Any]:
        answer = {key: value for key, value in record.items() if not key.startswith("_")}
        if resource in ("Model", "ModelPackage"):
            record["_looks"] = 9
            return answer
        step = record[f"{resource}Name"].split("-")[-2]
        held = self.held.get(step)
        if record.get("_stopping"):
            status, reason = "Stopped", ""
        elif record["_looks"] < 1 or (held is not None and not held.is_set()):
            status, reason = "InProgress", ""
            record["_looks"] = 1
        else:
            record["_looks"] = 9
            if "_ending" not in record:
                endings = self.endings.get(step) or [("Completed", "")]
                record["_ending"] = endings.pop(0) if len(endings) > 1 else endings[0]
            status, reason = record["_ending"]
        answer[f"{resource}Status"] = status
        if reason:
            answer["FailureReason"] = reason
        if resource == "TrainingJob" and status == "Completed":
            folder = record["OutputDataConfig"]["S3OutputPath"]
            model = f"{folder}/{record['TrainingJobName']}/output/model.tar.gz"
            answer["ModelArtifacts"] = {"S3ModelArtifacts": model}
        return {**answer, **self.extra.get(step, {})}

    def list_training_jobs_for_hyper_parameter_tuning_job(self, **request: Any) -> dict[str, Any]:
        self.requests.append(("ListTrainingJobsForHyperParameterTuningJob", request))
        return {"TrainingJobSummaries": self.trials}

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:
        uri = f"s3://{Bucket}/{Key}"
        if uri not in self.files:
            raise client_error("GetObject", "NoSuchKey", "The specified key does not exist.", 404)
        return {"Body": io.BytesIO(self.files[uri].encode())}

    def invoke(self, FunctionName: str, Payload: bytes) -> dict[str, Any]:
        self.requests.append(("Invoke", {"FunctionName": FunctionName, "Payload": Payload}))
        return self.functions[FunctionName](Payload)


def client_error(operation: str, code: str, message: str, status: int = 400) -> ClientError:
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, operation)
