"""Lambda functions on disk: records and code outlive the process; each invocation is a process."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from local.functions.code import PARTIAL_CODE, code_folder, invalid_parameter, kept_code
from local.functions.invocation import LOG_TAIL_BYTES, PAYLOAD_BYTES, invoke
from local.home.files import make_file
from local.home.home import ACCOUNT, Home
from local.home.recovery import sweep
from local.home.store import Record, Store
from local.processes.environment import base_environment
from local.processes.log_times import mark, marks
from local.processes.start import Started
from local.wire import rest_json
from local.wire.errors import ServiceError
from local.wire.operations import Operation, Request, Response, service_model
from local.wire.texts import json_value, whole_number

FUNCTIONS = "functions"
LOG = "function.log"
LOG_GROUPS = "/aws/lambda/"
# What a function has unless the request says otherwise (API reference, CreateFunction).
DEFAULT_TIMEOUT_S = 3
DEFAULT_MEMORY_MB = 128
# At the same time; AWS allows 1,000 per account ("Lambda quotas"). Each uses one of the server's 1,000
# connections, and more for the function's own requests.
CONCURRENT_MAX = 500
CONFIGURATION = (
    *("Runtime", "Role", "Handler", "Description", "Timeout", "MemorySize", "VpcConfig", "Environment"),
    *("DeadLetterConfig", "TracingConfig", "KMSKeyArn", "EphemeralStorage", "SnapStart", "LoggingConfig"),
)


class FunctionService:
    """Lambda's API for Python functions; `environment` gives the variables that reach the local service."""

    def __init__(self, home: Home, store: Store, environment: Callable[[], Mapping[str, str]]) -> None:
        self._home = home
        self._store = store
        self._environment = environment
        self._running: set[Started] = set()
        self._lock = threading.Lock()
        self._free = threading.Semaphore(CONCURRENT_MAX)
        self._stopping = False
        self._operations: dict[str, Operation] = {
            "CreateFunction": self._create,
            "GetFunction": self._get,
            "GetFunctionConfiguration": self._get_configuration,
            "UpdateFunctionCode": self._update_code,
            "UpdateFunctionConfiguration": self._update_configuration,
            "DeleteFunction": self._delete,
            "ListFunctions": self._list,
            "Invoke": self._invoke,
            "TagResource": self._tag,
            "UntagResource": self._untag,
            "ListTags": self._list_tags,
        }

    def handle(
        self, method: str, path: str, query: Mapping[str, list[str]], headers: Mapping[str, str], body: bytes
    ) -> rest_json.HttpAnswer:
        """Answer one request of Lambda's rest-json API: status, headers, body.

        Args:
            headers: names in lower case.
        """
        try:
            operation, parts = rest_json.routed(service_model("lambda"), method, path)
            function = self._operations.get(operation.name)
            if function is None:
                message = f"the local service has no Lambda operation {operation.name}"
                raise ServiceError("UnknownOperationException", message)
            request = rest_json.parsed(operation, parts, query, headers, body)
            return rest_json.rendered(operation, function(request))
        except ServiceError as error:
            return rest_json.rendered_error(error)

    def recover(self) -> None:
        """Remove what a killed service left: invocations, and code that was being unpacked."""
        sweep(self._home.invocations.glob("*"))
        sweep((self._home.root / FUNCTIONS).glob(f"*/{PARTIAL_CODE}"))

    def stop(self) -> None:
        """End the running invocations; no more can start."""
        with self._lock:
            self._stopping = True
            running = list(self._running)
        for process in running:
            process.end(0)

    # Records

    def _create(self, request: Request) -> Response:
        name = self._name(request["FunctionName"])
        _refuse_unsupported(request)
        if "Handler" not in request or "Runtime" not in request:
            raise invalid_parameter(
                "Runtime and Handler are mandatory for functions created with deployment packages."
            )
        arn = self._arn(name)
        record: Record = {
            "FunctionName": name,
            "FunctionArn": arn,
            "Description": "",
            "Timeout": DEFAULT_TIMEOUT_S,
            "MemorySize": DEFAULT_MEMORY_MB,
            "Version": "$LATEST",
            "PackageType": "Zip",
            "TracingConfig": {"Mode": "PassThrough"},
            "Architectures": request.get("Architectures", ["x86_64"]),
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "_tags": request.get("Tags", {}),
            **{key: request[key] for key in CONFIGURATION if key in request},
            **kept_code(self._home, self._folder(name), request["Code"]),
            **_revision(),
        }
        try:
            self._store.create(FUNCTIONS, name, record)
        except KeyError:
            message = f"Function already exist: {name}"
            raise ServiceError("ResourceConflictException", message, 409) from None
        return record

    def _name(self, name_or_arn: str) -> str:
        """The function's name from its name or ARN; refuses an ARN of another region in Lambda's words."""
        region = re.match(r"arn:aws[a-z-]*:lambda:([a-z0-9-]+):", name_or_arn)
        if region and region[1] != self._home.region:
            message = f"Functions from '{region[1]}' are not reachable in this region ('{self._home.region}')"
            raise ServiceError("ResourceNotFoundException", message, 404)
        return _name(name_or_arn)

    def _found(self, request: Request) -> Record:
        name = self._name(request["FunctionName"])
        if request.get("Qualifier", "$LATEST") != "$LATEST":
            raise self._unknown(f"{name}:{request['Qualifier']}")
        try:
            return self._store.get(FUNCTIONS, name)
        except KeyError:
            raise self._unknown(name) from None

    def _unknown(self, name: str) -> ServiceError:
        return ServiceError("ResourceNotFoundException", f"Function not found: {self._arn(name)}", 404)

    def _arn(self, name: str) -> str:
        return f"arn:aws:lambda:{self._home.region}:{ACCOUNT}:function:{name}"

    def _get(self, request: Request) -> Response:
        record = self._found(request)
        archive = code_folder(self._folder(record["FunctionName"]), record).with_suffix(".zip")
        code = {"RepositoryType": "S3", "Location": archive.resolve().as_uri()}
        return {"Configuration": record, "Code": code, "Tags": record["_tags"] or None}

    def _get_configuration(self, request: Request) -> Response:
        return self._found(request)

    def _update_code(self, request: Request) -> Response:
        record = self._found(request)
        _refuse_unsupported(request)
        name = record["FunctionName"]
        if request.get("DryRun"):
            return record
        changes = {**kept_code(self._home, self._folder(name), request), **_revision()}
        return self._store.update(FUNCTIONS, name, lambda record: record.update(changes))

    def _update_configuration(self, request: Request) -> Response:
        name = self._found(request)["FunctionName"]
        _refuse_unsupported(request)
        changes = {**{key: request[key] for key in CONFIGURATION if key in request}, **_revision()}
        return self._store.update(FUNCTIONS, name, lambda record: record.update(changes))

    def _delete(self, request: Request) -> Response:
        name = self._found(request)["FunctionName"]
        self._store.delete(FUNCTIONS, name)
        shutil.rmtree(self._folder(name))
        return {"StatusCode": 204}

    def _list(self, request: Request) -> Response:
        records = sorted(self._store.list(FUNCTIONS), key=lambda record: str(record["FunctionName"]))
        marker, count = request.get("Marker", "0"), request.get("MaxItems", 50)
        try:
            start = whole_number(marker)
        except ValueError:
            raise invalid_parameter(f"Marker {marker!r} is not valid") from None
        more = str(start + count) if start + count < len(records) else None
        return {"Functions": records[start : start + count], "NextMarker": more}

    def _tag(self, request: Request) -> Response:
        name = self._found({"FunctionName": request["Resource"]})["FunctionName"]
        self._store.update(FUNCTIONS, name, lambda record: record["_tags"].update(request["Tags"]))
        return {}

    def _untag(self, request: Request) -> Response:
        name = self._found({"FunctionName": request["Resource"]})["FunctionName"]

        def change(record: Record) -> None:
            for key in request["TagKeys"]:
                record["_tags"].pop(key, None)

        self._store.update(FUNCTIONS, name, change)
        return {}

    def _list_tags(self, request: Request) -> Response:
        return {"Tags": self._found({"FunctionName": request["Resource"]})["_tags"]}

    def _folder(self, name: str) -> Path:
        return self._home.folder(FUNCTIONS, name)

    # Invocations

    def _invoke(self, request: Request) -> Response:
        record = self._found(request)
        kind = request.get("InvocationType", "RequestResponse")
        if kind == "DryRun":
            return {"StatusCode": 204, "Payload": b""}
        if kind != "RequestResponse":
            raise invalid_parameter(f"the local service invokes functions only synchronously, not as {kind}")
        event = request["Payload"] or b"{}"
        if len(event) > PAYLOAD_BYTES:
            message = f"Request must be smaller than {PAYLOAD_BYTES} bytes for the InvokeFunction operation"
            raise ServiceError("RequestTooLargeException", message, 413)
        try:
            json_value(event)
        except ValueError as error:
            message = f"Could not parse request body into json: {error}"
            raise ServiceError("InvalidRequestContentException", message) from None
        folder = self._folder(record["FunctionName"])
        with self._concurrent():
            result = invoke(
                self._home,
                code_folder(folder, record),
                record["Handler"],
                event,
                arn=record["FunctionArn"],
                timeout_s=record["Timeout"],
                environment=self._function_environment(record),
                running=self._watched,
            )
        make_file(folder / LOG)
        with self._lock, (folder / LOG).open("ab") as log:
            log.write(result.log)
        mark(folder / LOG)
        tail = base64.b64encode(result.log[-LOG_TAIL_BYTES:]).decode()
        return {
            "StatusCode": 200,
            "FunctionError": "Unhandled" if result.failed else None,
            "LogResult": tail if request.get("LogType") == "Tail" else None,
            "ExecutedVersion": "$LATEST",
            "Payload": result.payload,
        }

    @contextlib.contextmanager
    def _concurrent(self) -> Iterator[None]:
        """Take one of the CONCURRENT slots; without a free one the invocation is refused, and never waits."""
        if not self._free.acquire(blocking=False):
            raise ServiceError("TooManyRequestsException", "Rate Exceeded.", 429)  # API reference, Invoke
        try:
            yield
        finally:
            self._free.release()

    @contextlib.contextmanager
    def _watched(self, process: Started) -> Iterator[None]:
        """Register a process so that `stop` ends it."""
        with self._lock:
            self._running.add(process)
            if self._stopping:
                process.end(0)
        try:
            yield
        finally:
            with self._lock:
                self._running.remove(process)

    def _function_environment(self, record: Record) -> dict[str, str]:
        name = record["FunctionName"]
        return {
            **base_environment({}),
            **record.get("Environment", {}).get("Variables", {}),
            **self._environment(),
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{record['Runtime']}",
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(record["MemorySize"]),
            "AWS_LAMBDA_LOG_GROUP_NAME": f"{LOG_GROUPS}{name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": log_stream(name, self._folder(name) / LOG),
            "LAMBDA_TASK_ROOT": str(code_folder(self._folder(name), record)),
            "_HANDLER": record["Handler"],
        }


def log_stream(name: str, log: Path) -> str:
    """A function's log stream, e.g. 2026/11/29/[$LATEST]6f1e..., with the day on which its log begins.

    Lambda has one per execution environment of the function; here there is one.
    """
    begun = marks(log)[:1] or [(int(time.time() * 1000), 0)]
    day = datetime.fromtimestamp(begun[0][0] / 1000, UTC)
    return f"{day:%Y/%m/%d}/[$LATEST]{hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()}"


def _name(name_or_arn: str) -> str:
    """The function's name from its name, its ARN or a partial ARN.

    Raises:
        ServiceError: none of these, or one with a version or alias.
    """
    name = name_or_arn.rpartition("function:")[2].removesuffix(":$LATEST")
    if not re.fullmatch(r"[a-zA-Z0-9-_]{1,64}", name):
        raise invalid_parameter(
            f"{name_or_arn} is not the name of a function: up to 64 letters, digits, hyphens and "
            "underscores, without a version or an alias"
        )
    return name


def _refuse_unsupported(request: Request) -> None:
    """Refuse what the local service would otherwise have to ignore."""
    runtime = request.get("Runtime", "python3")
    if not runtime.startswith("python3"):
        raise invalid_parameter(f"the local service runs only Python functions, not {runtime}")
    if request.get("PackageType", "Zip") != "Zip":
        raise invalid_parameter("the local service runs functions only from zip archives, not from images")
    for member in ("Layers", "FileSystemConfigs", "Publish"):
        if request.get(member):
            raise invalid_parameter(f"the local service does not support {member} of a function")


def _revision() -> Record:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {"LastModified": now.replace("+00:00", "+0000"), "RevisionId": str(uuid.uuid4())}
