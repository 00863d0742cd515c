"""Batch transform jobs: send every object below a prefix to a model, and its answers to S3."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial

from local.definition.step_types import transform_problems
from local.endpoints.model_server import LaunchError, ModelServer, launch
from local.endpoints.models import Models
from local.home.files import make_folder
from local.home.home import Home
from local.home.store import Record
from local.jobs.agent import LOG, Agent
from local.jobs.jobs import JobError, JobKind
from local.jobs.model_client import DEFAULTS, MOST_MB, STRATEGIES
from local.jobs.records import data_processing
from local.jobs.sources import address, sources
from local.processes.environment import base_environment
from local.processes.log_times import times_of
from local.s3.transfer import require_bucket
from local.wire.errors import ServiceError, invalid

FOLDER = "transform-jobs"


def check(models: Models, record: Record) -> None:
    """Refuse what SageMaker refuses, and what does not run on one machine.

    Raises:
        ServiceError: ValidationException that names the member, the model or the rule.
    """
    models.container(record["ModelName"])
    for problem in transform_problems(record):
        raise invalid(problem)
    for uri in (_data_source(record)["S3Uri"], record["TransformOutput"]["S3OutputPath"]):
        address(uri)
    at_once = record.get("MaxConcurrentTransforms", 0)
    largest_mb = record.get("MaxPayloadInMB", DEFAULTS["MaxPayloadInMB"])
    if largest_mb == 0:
        raise invalid("MaxPayloadInMB 0, HTTP chunked encoding, does not run locally, only 1 to 100")
    if largest_mb > MOST_MB:
        raise invalid(f"MaxPayloadInMB is {largest_mb}; it cannot be greater than {MOST_MB} MB")
    if at_once * largest_mb > MOST_MB:
        raise invalid(
            f"MaxConcurrentTransforms * MaxPayloadInMB is {at_once} * {largest_mb};"
            f" it cannot exceed {MOST_MB} MB"
        )
    try:
        data_processing(record)
    except ValueError as error:
        raise invalid(str(error)) from None


def prepare(models: Models, server: str, home: Home, record: Record, service: Mapping[str, str]) -> Agent:
    """Find the objects, and return the agent that will transform them.

    Raises:
        JobError: there are none.
        ValueError: there is no bucket for the results.
    """
    folder = home.folder(FOLDER, record["TransformJobName"])
    require_bucket(home, record["TransformOutput"]["S3OutputPath"])
    try:
        objects = sources(home, _data_source(record))
        container = models.container(record["ModelName"])
    except ServiceError as error:
        raise JobError(f"ClientError: {error.message}") from None
    make_folder(folder)

    def launched() -> ModelServer:
        environment = base_environment(service) | container.environment | _environment(record)
        try:
            archive = home.object_path(container.model_data_url)
            return launch(home, archive, folder, environment, server, LOG)
        except LaunchError as error:
            raise JobError(
                f"ClientError: model {record['ModelName']}, {container.model_data_url}: {error}"
                f" (the image {container.image} is not run here)"
            ) from None

    return Agent(home, record, objects, launched, folder)


def _environment(record: Record) -> dict[str, str]:
    """What SageMaker sets (developer guide, "Use Your Own Inference Code with Batch Transform")."""
    set_by_user = {
        "SAGEMAKER_MAX_CONCURRENT_TRANSFORMS": record.get("MaxConcurrentTransforms"),
        "SAGEMAKER_MAX_PAYLOAD_IN_MB": record.get("MaxPayloadInMB"),
        "SAGEMAKER_BATCH_STRATEGY": STRATEGIES.get(record.get("BatchStrategy", "")),
    }
    given = {name: str(value) for name, value in set_by_user.items() if value is not None}
    return {**given, "SAGEMAKER_BATCH": "true", **record.get("Environment", {})}


def _data_source(record: Record) -> Record:
    source: Record = record["TransformInput"]["DataSource"]["S3DataSource"]
    return source


def _nothing(_home: Home, _record: Record) -> None:
    """The agent itself puts its results into S3, also those of a failed job."""


def clear(home: Home, record: Record) -> None:
    """Remove the job's folder except the log and its times, also after a killed service."""
    folder = home.folder(FOLDER, record["TransformJobName"])
    if folder.is_dir():
        for path in set(folder.iterdir()) - {folder / LOG, times_of(folder / LOG)}:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def kind(models: Models, server: str) -> JobKind:
    """Transform jobs on these models, served by one of model_server.SERVERS."""
    return JobKind(
        key="TransformJob",
        resource="transform-job",
        folder=FOLDER,
        period="Transform",
        check=partial(check, models),
        prepare=partial(prepare, models, server),
        upload=_nothing,
        conclude=_nothing,
        clear=clear,
    )
