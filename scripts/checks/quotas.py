"""Service Quotas of the instances that an execution takes, and what takes them now.

A new account's quota is 0 for many instance types, and AWS would say so when split and trials are paid for:
"The account-level service limit 'ml.m5.2xlarge for endpoint usage' is 0 Instances".
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from config.settings import Settings
from entrypoints.contract import SERVERLESS_CONFIG
from scripts import aws_errors
from scripts.checks.check import Result, Subject

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.client import SageMakerClient

NAME = "quotas"
MAX_LISTED = 100  # of the account's running jobs, and of its endpoints: as many requests each, about 0.1 s


@dataclass(frozen=True)
class Need:
    """Instances of a type that an execution takes at the same time, for one use in Service Quotas' words."""

    instance_type: str
    use: str
    count: int
    by: str

    @property
    def quota(self) -> str:
        """Its quota's name, which a ResourceLimitExceeded quotes."""
        return f"{self.instance_type} for {self.use}"


def needs(subject: Subject) -> list[Need]:
    """What an execution with these parameters takes at most, the largest need of each quota.

    An older definition may lack some of the parameters; nothing is known of what it takes there.
    """
    settings, given = subject.settings, subject.parameters
    training = "spot training job usage" if settings.use_spot else "training job usage"
    trials = int(given.get("TrainingInstanceCount") or 1) * settings.tuning.parallel_jobs
    served = int(given.get("EndpointInstanceCount") or 1)
    largest: dict[str, Need] = {}
    for parameter, use, count, by in (
        ("TrainingInstanceType", training, trials, "TuneHyperparameters"),
        ("ProcessingInstanceType", "processing job usage", 1, "SplitDataset"),
        ("EvaluationInstanceType", "processing job usage", 1, "EvaluateModel"),
        ("VerificationInstanceType", "processing job usage", 1, "VerifyEndpoint"),
        ("EndpointInstanceType", "endpoint usage", served, "the endpoint"),
    ):
        if (instance_type := given.get(parameter)) and not (by == "the endpoint" and _serverless(settings)):
            need = Need(instance_type, use, count, by)
            if need.quota not in largest or count > largest[need.quota].count:
                largest[need.quota] = need
    return list(largest.values())


def _serverless(settings: Settings) -> bool:
    """Whether the endpoint takes no instances; Service Quotas counts its requests at once instead."""
    return bool(settings.deployment.serverless)


def as_upserted(settings: Settings, definition: str) -> Settings:
    """The settings with what the live definition has of them, where it decides about instances."""
    steps = json.loads(definition)["Steps"]
    kind: Any = "serverless" if f'"{SERVERLESS_CONFIG}"' in definition else "realtime"
    settings = replace(settings, deployment=replace(settings.deployment, kind=kind))
    tuning = next((step["Arguments"] for step in steps if step["Type"] == "Tuning"), None)
    if tuning is None:
        return settings
    at_once = tuning["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxParallelTrainingJobs"]
    return replace(
        settings,
        use_spot=bool(tuning["TrainingJobDefinition"].get("EnableManagedSpotTraining")),
        tuning=replace(settings.tuning, parallel_jobs=at_once),
    )


def limits(subject: Subject) -> Iterator[Result]:
    """Whether each quota is large enough for the execution alone; asks nothing about what runs."""
    wanted = needs(subject)
    values = _values(subject, {need.quota for need in wanted})
    for need in wanted:
        if need.quota in values and values[need.quota][0] < need.count:
            yield _too_small(subject, need, *values[need.quota])


def quotas(subject: Subject) -> Iterator[Result]:
    """Whether each quota is large enough, also beside what runs now."""
    wanted = needs(subject)
    values = _values(subject, {need.quota for need in wanted})
    if subject.local and not values:
        yield Result(NAME, "ok", "the local service has none")
        return
    running = _running(subject.client("sagemaker"))
    for need in wanted:
        if need.quota not in values:
            yield Result(
                NAME,
                "warning",
                f"Service Quotas has none called {need.quota!r}",
                f"check that {need.instance_type} exists, and is in {subject.settings.region}",
            )
            continue
        value, code = values[need.quota]
        used = running[need.quota]
        told = f"{need.quota}: {value:g}, of which {used} are in use; {need.by} takes {need.count}"
        if value < need.count:
            yield _too_small(subject, need, value, code)
        elif value - used < need.count:
            yield Result(
                NAME,
                "warning",
                told,
                f"wait until they are free, or {_request(subject, code, used + need.count)}",
            )
        elif need.use == "endpoint usage" and value - used < 2 * need.count:
            # A blue/green update starts the new instances beside the old ones (developer guide, "Blue/Green
            # Deployments").
            yield Result(
                NAME,
                "warning",
                f"{told}, and an update of it as many again",
                _request(subject, code, used + 2 * need.count),
            )
        else:
            yield Result(NAME, "ok", told)


def _too_small(subject: Subject, need: Need, value: float, code: str) -> Result:
    return Result(
        NAME,
        "failure",
        f"the quota {need.quota!r} is {value:g}, and {need.by} takes {need.count}",
        f"{_request(subject, code, need.count)}, or choose another instance type",
    )


def _request(subject: Subject, code: str, wanted: int) -> str:
    return subject.aws(
        *("service-quotas", "request-service-quota-increase", "--service-code=sagemaker"),
        *(f"--quota-code={code}", f"--desired-value={wanted}"),
    )


def _values(subject: Subject, names: set[str]) -> dict[str, tuple[float, str]]:
    """Value and code of quotas by name. AWS lists a quota's value only where it was applied (API reference,
    ListServiceQuotas); the others have AWS's default.
    """
    client = subject.client("service-quotas")
    found: dict[str, tuple[float, str]] = {}
    for operation in ("list_service_quotas", "list_aws_default_service_quotas"):
        missing = names - found.keys()
        if not missing:
            break
        for page in client.get_paginator(operation).paginate(ServiceCode="sagemaker"):
            for quota in page["Quotas"]:
                if quota["QuotaName"] in missing:
                    found[quota["QuotaName"]] = quota["Value"], quota["QuotaCode"]
    return found


def _running(sagemaker: SageMakerClient) -> Counter[str]:
    """Instances in use now, by their quota's name, of the account's newest jobs and endpoints."""
    used: Counter[str] = Counter()
    for name in _listed(sagemaker, "list_training_jobs", "TrainingJob", StatusEquals="InProgress"):
        job = sagemaker.describe_training_job(TrainingJobName=name)
        use = "spot training job usage" if job.get("EnableManagedSpotTraining") else "training job usage"
        _add(used, job["ResourceConfig"], use)
    for name in _listed(sagemaker, "list_processing_jobs", "ProcessingJob", StatusEquals="InProgress"):
        described = sagemaker.describe_processing_job(ProcessingJobName=name)
        _add(used, described["ProcessingResources"]["ClusterConfig"], "processing job usage")
    for name in _listed(sagemaker, "list_endpoints", "Endpoint"):
        try:
            endpoint = sagemaker.describe_endpoint(EndpointName=name)
            config = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
        except ClientError as error:
            if not aws_errors.is_missing(error):
                raise
            continue  # deleted meanwhile, or without a config, which alone says the type
        types = {item["VariantName"]: item.get("InstanceType") for item in config["ProductionVariants"]}
        for variant in endpoint.get("ProductionVariants", []):
            group = {
                "InstanceType": types.get(variant["VariantName"]),
                "InstanceCount": variant.get("CurrentInstanceCount", 0),
            }
            _add(used, group, "endpoint usage")
    return used


def _listed(sagemaker: Any, operation: str, kind: str, **filters: str) -> list[str]:
    pages = sagemaker.get_paginator(operation).paginate(
        SortBy="CreationTime", SortOrder="Descending", PaginationConfig={"MaxItems": MAX_LISTED}, **filters
    )
    found: list[str] = []
    for page in pages:
        members = next(value for key, value in page.items() if key in {f"{kind}Summaries", f"{kind}s"})
        found += [item[f"{kind}Name"] for item in members]
    return found


def _add(used: Counter[str], resources: Any, use: str) -> None:
    """Count a job's instances; those of a heterogeneous cluster are in groups."""
    for group in resources.get("InstanceGroups") or [resources]:
        if group.get("InstanceType"):
            used[f"{group['InstanceType']} for {use}"] += group.get("InstanceCount", 0)
