"""One region: requests for another one are refused, as by a region's endpoint on AWS."""

from __future__ import annotations

import re
from typing import Any

from botocore.model import Shape

from local.wire.errors import ServiceError, invalid

# Services that answer in every region; clients sign for us-east-1, or wherever they are.
EVERYWHERE = frozenset({"iam", "sts"})
_ARN = re.compile(r"arn:aws[a-z-]*:[a-z0-9-]+:([a-z0-9-]+):\d{12}:.+")


class WrongRegion(ServiceError):
    """S3's refusal, which names the buckets' region: boto3 then retries with that one."""

    def __init__(self, code: str, message: str, region: str) -> None:
        super().__init__(code, message)
        self.region = region


def check_scope(service: str, signed: str, region: str, *, in_query: bool) -> None:
    """Refuse a request that is signed for another region.

    Args:
        signed: the region in the scope of the request's credentials.
        region: the service's region.
        in_query: whether the signature is part of the URL.

    Raises:
        ServiceError: in S3's words (jsoma/flatware#10), or in those of the JSON services (IAM user
            guide, "Troubleshoot signed requests for AWS APIs"), with what to do.
    """
    if signed == region or service in EVERYWHERE:
        return
    wrong = f"the region '{signed}' is wrong; expecting '{region}'"
    if service == "s3" and in_query:
        message = f"Error parsing the X-Amz-Credential parameter; {wrong}"
        raise WrongRegion("AuthorizationQueryParametersError", message, region)
    if service == "s3":
        message = f"The authorization header is malformed; {wrong}"
        raise WrongRegion("AuthorizationHeaderMalformed", message, region)
    raise ServiceError(
        "InvalidSignatureException",
        f"Credential should be scoped to a valid region, not '{signed}'. This service is in {region}: set "
        f"AWS_REGION and AWS_DEFAULT_REGION to {region}, or serve another home with --region {signed}",
    )


def check_arns(request: Any, shape: Shape, region: str) -> None:
    """Refuse a request that names a resource of another region; a resource here may have the same name.

    Checks names and ARNs, not free text: tags, environments, hyperparameters.

    Raises:
        ServiceError: ValidationException that names the member and the ARN. How SageMaker says it is not
            published.
    """
    if shape.type_name == "list":
        for item in request:
            check_arns(item, shape.member, region)  # type: ignore[attr-defined]
    if shape.type_name != "structure":
        return
    for member, value in request.items():
        if not isinstance(value, str):
            check_arns(value, shape.members[member], region)  # type: ignore[attr-defined]
            continue
        arn = _ARN.fullmatch(value) if member.endswith(("Arn", "Name")) else None
        if arn and arn[1] != region:
            raise invalid(f"{member} {value} is in region {arn[1]}; this service is in {region}")
