"""boto3 clients for the local service, whatever the user's AWS configuration says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import boto3
from botocore.config import Config

# The credentials of programs that the service starts. Only presigned URLs are checked.
ACCESS_KEY = SECRET_KEY = "local"


def client(service: str, environment: Mapping[str, str], **config: Any) -> Any:
    """A thread-safe client of a service.

    Args:
        environment: the variables that make boto3 in a child process talk to the local service.
        config: botocore.config.Config's.
    """
    # A separate session: boto3's default one is not thread-safe.
    create: Any = boto3.session.Session().client
    return create(
        service,
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=environment["AWS_DEFAULT_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        config=Config(**config),
    )
