"""The reading operations of Service Quotas. This service limits no number of instances, so it lists no quota.

AWS lists, for the service code sagemaker, a quota for each instance type and use, such as "ml.m5.large for
training job usage". moto lacks both operations.
"""

from __future__ import annotations

from local.wire.errors import ServiceError
from local.wire.operations import ControlPlane, Request, Response

# Of the services that answer here, those that AWS has quotas for (`aws service-quotas list-services`).
_SERVICES = {"iam", "lambda", "logs", "monitoring", "s3", "sagemaker", "scheduler"}


def control_plane(region: str) -> ControlPlane:
    """Answers requests to Service Quotas; other operations are refused."""
    return ControlPlane(
        {"ListServiceQuotas": _list, "ListAWSDefaultServiceQuotas": _list},
        region,
        "service-quotas",
        "IllegalArgumentException",
    )


def _list(request: Request) -> Response:
    if request["ServiceCode"] not in _SERVICES:
        # The code and the words: moto's of GetServiceQuota, which were recorded from AWS.
        told = (
            "This service is not available in the current Region. Choose a different Region or a different "
            "service."
        )
        raise ServiceError("NoSuchResourceException", told)
    if "NextToken" in request:
        raise ServiceError("InvalidPaginationTokenException", "Invalid pagination token was provided.")
    return {"Quotas": []}
