"""boto3 clients that talk to the local service, whatever the person's AWS configuration says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import boto3
from botocore.config import Config

# What programs that the service starts sign with. Their requests are not checked; presigned URLs are.
ACCESS_KEY = SECRET_KEY = "local"


def client(service: str, environment: Mapping[str, str], **config: Any) -> Any:
    """A client of a service, safe to share by threads.

    Args:
        environment: the variables that make boto3 in a child process talk to the local service.
        config: botocore.config.Config's.
    """
    # A session of its own: boto3's default one is not made for several threads.
    create: Any = boto3.session.Session().client
    return create(
        service,
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=environment["AWS_DEFAULT_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        config=Config(**config),
    )
