"""The values of a definition's expressions in one execution."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from local.definition.definition import Definition
from local.definition.expressions import ExpressionError, Reference, evaluate, lookup
from local.home.store import Record
from local.pipelines.calls import iso_time
from local.pipelines.record import ExecutionRecord

# A property file's limit (developer guide, "Amazon SageMaker Pipelines quotas").
_MAX_PROPERTY_FILE_BYTES = 2 * 1024 * 1024


class Values:
    """The values of references and property files, as far as the execution has run."""

    def __init__(self, record: ExecutionRecord, definition: Definition, client: Callable[[str], Any]) -> None:
        self._record = record
        self._definition = definition
        self._client = client

    def evaluate(self, tree: Any, job_name: str = "") -> Any:
        """A parsed expression with its values filled in; `job_name` is the step's own job.

        Raises:
            ExpressionError: a missing value, or a property file that cannot be read.
        """
        return evaluate(tree, partial(self._get, job_name, functools.cache(self._record.read)), self._read)

    def _get(self, job_name: str, read: Callable[[], Record], reference: Reference) -> Any:
        record = read()
        if reference.root == "Parameters":
            return record["_parameters"][reference.name]
        if reference.root == "Execution":
            return self._execution_variable(reference.name, record, job_name)
        properties = record["_steps"].get(reference.name, {}).get("_properties", {})
        try:
            if reference.path[0] == "PropertyFiles":
                file = self._definition.steps[reference.name].property_files[str(reference.path[1])]
                folder = lookup(
                    properties, ("ProcessingOutputConfig", "Outputs", file.output, "S3Output", "S3Uri")
                )
                return f"{folder.rstrip('/')}/{file.path}"
            return lookup(properties, reference.path)
        except LookupError:
            raise ExpressionError(f"Get {reference.text}: the step has no such value") from None

    def _execution_variable(self, name: str, record: Record, job_name: str) -> str:
        variables: dict[str, str] = {
            "StartDateTime": iso_time(record["CreationTime"]),
            "CurrentDateTime": iso_time(time.time()),
            "PipelineName": record["_pipeline"],
            "PipelineArn": record["PipelineArn"],
            "PipelineExecutionId": self._record.arn.rpartition("/")[2],
            "PipelineExecutionArn": self._record.arn,
            "TrainingJobName": job_name,
            "ProcessingJobName": job_name,
        }
        return variables[name]

    def _read(self, uri: str) -> str:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        try:
            answer = self._client("s3").get_object(Bucket=bucket, Key=key)
        except ClientError as error:
            raise ExpressionError(f"cannot read {uri}: {error.response['Error']['Message']}") from None
        body: bytes = answer["Body"].read(_MAX_PROPERTY_FILE_BYTES + 1)
        if len(body) > _MAX_PROPERTY_FILE_BYTES:
            raise ExpressionError(f"{uri} is larger than {_MAX_PROPERTY_FILE_BYTES} bytes")
        try:
            return str(body, "utf-8")
        except UnicodeDecodeError as error:
            raise ExpressionError(f"{uri} is not valid UTF-8: {error}") from None
