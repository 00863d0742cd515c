"""The Pipelines service: pipelines, their executions, and the operations on both."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from local.home import clock
from local.home.home import Home
from local.home.store import Record, Store
from local.home.tags import add_tags, forget_tags
from local.pipelines.executions import NOBODY, RUNNING, ExecutionService, parsed, refuse_versions
from local.pipelines.lists import page_of
from local.pipelines.record import EXECUTIONS
from local.wire.errors import ServiceError
from local.wire.operations import Operation, Request, Response

PIPELINES = "pipelines"


class PipelineService:
    """The operations on pipelines and their executions; each execution runs in its own thread.

    `client` gives a thread-safe boto3 client of a service, bound to the local endpoint.
    """

    def __init__(self, home: Home, store: Store, client: Callable[[str], Any]) -> None:
        self._home = home
        self._store = store
        self._client = functools.cache(client)
        self._executions = ExecutionService(store, self._client, self._pipeline)

    def operations(self) -> dict[str, Operation]:
        """The operations that this service answers."""
        return {
            "CreatePipeline": self._create,
            "UpdatePipeline": self._update,
            "DescribePipeline": self._describe,
            "ListPipelines": self._list,
            "DeletePipeline": self._delete,
            **self._executions.operations(),
        }

    def recover(self, resume: bool) -> None:
        """Close the executions that an earlier service left, or prepare to continue them.

        Call it before the first request. Raises OSError if the disk is full.
        """
        self._executions.recover(resume)

    def resume(self) -> list[str]:
        """Continue what `recover` prepared, once the service answers; return the executions' ARNs."""
        return self._executions.resume()

    def running(self) -> list[str]:
        """The ARNs of the running executions."""
        return self._executions.running()

    def stop(self) -> None:
        """Leave running executions to a later service, accept no more and wait; jobs must still answer."""
        self._executions.stop()

    def _create(self, request: Request) -> Response:
        name = request["PipelineName"]
        definition = self._definition_text(request)
        record = {
            "PipelineArn": self._home.arn("pipeline", name),
            "PipelineName": name,
            "PipelineDisplayName": request.get("PipelineDisplayName", name),
            "PipelineDescription": request.get("PipelineDescription"),
            "PipelineDefinition": definition,
            "RoleArn": request["RoleArn"],
            "ParallelismConfiguration": request.get("ParallelismConfiguration"),
            "PipelineStatus": "Active",
            "CreationTime": clock.now(),
            "LastModifiedTime": clock.now(),
            "CreatedBy": NOBODY,
            "LastModifiedBy": NOBODY,
            "_token": request["ClientRequestToken"],
        }
        try:
            self._store.create(PIPELINES, name, record)
        except KeyError:
            existing = self._store.get(PIPELINES, name)
            if existing["_token"] != request["ClientRequestToken"]:
                raise ServiceError(
                    "ValidationException",
                    "Pipeline names must be unique within an AWS account and region."
                    f" Pipeline with name ({name}) already exists.",
                ) from None
            return existing
        add_tags(self._store, record["PipelineArn"], request.get("Tags", []))
        return record

    def _update(self, request: Request) -> Response:
        self._pipeline(request)
        keys = ("PipelineDisplayName", "PipelineDescription", "RoleArn", "ParallelismConfiguration")
        changes = {key: request[key] for key in keys if key in request}
        if "PipelineDefinition" in request or "PipelineDefinitionS3Location" in request:
            changes["PipelineDefinition"] = self._definition_text(request)
        changes["LastModifiedTime"] = clock.now()
        return self._store.update(PIPELINES, request["PipelineName"], lambda record: record.update(changes))

    def _describe(self, request: Request) -> Response:
        refuse_versions(request)
        record = self._pipeline(request)
        return {**record, "LastRunTime": self._last_run(record)}

    def _list(self, request: Request) -> Response:
        prefix = request.get("PipelineNamePrefix", "")
        answer = page_of(self._store, PIPELINES, request, "PipelineSummaries", name="Name", prefix=prefix)
        for record in answer["PipelineSummaries"]:
            record["LastExecutionTime"] = self._last_run(record)
        return answer

    def _delete(self, request: Request) -> Response:
        record = self._pipeline(request)
        runs = self._store.summaries(EXECUTIONS, parent=record["PipelineArn"])
        if any(run["PipelineExecutionStatus"] in RUNNING for run in runs):
            raise ServiceError(
                "ConflictException",
                f"Pipeline {record['PipelineArn']} has running executions; stop them before you delete it.",
            )
        self._store.delete(PIPELINES, record["PipelineName"])
        forget_tags(self._store, record["PipelineArn"])
        return record

    def _pipeline(self, request: Request) -> Record:
        name = request["PipelineName"].rpartition("/")[2]
        try:
            return self._store.get(PIPELINES, name)
        except KeyError:
            arn = self._home.arn("pipeline", name)
            raise ServiceError("ResourceNotFound", f"Pipeline '{arn}' does not exist.") from None

    def _last_run(self, pipeline: Record) -> float | None:
        newest = self._store.summaries(EXECUTIONS, parent=pipeline["PipelineArn"], count=1)
        return next((run["CreationTime"] for run in newest), None)

    def _definition_text(self, request: Request) -> str:
        """The definition that a request carries or points at, checked."""
        text, location = request.get("PipelineDefinition"), request.get("PipelineDefinitionS3Location")
        if (text is None) == (location is None):
            raise ServiceError(
                "ValidationException",
                "Exactly one of PipelineDefinition and PipelineDefinitionS3Location must be provided.",
            )
        if location is not None:
            try:
                body = self._client("s3").get_object(Bucket=location["Bucket"], Key=location["ObjectKey"])[
                    "Body"
                ]
                text = str(body.read(), "utf-8")
            except (ClientError, UnicodeDecodeError) as error:
                uri = f"s3://{location['Bucket']}/{location['ObjectKey']}"
                raise ServiceError(
                    "ValidationException", f"The definition {uri} cannot be read: {error}"
                ) from None
        parsed(str(text))
        return str(text)
