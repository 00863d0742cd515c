"""What S3 answers about the configuration of an unconfigured bucket or object.

Buckets here are configured like new ones. Changes are refused by name: nothing is accepted and then ignored.
"""

from __future__ import annotations

import functools

from local.home.home import ACCOUNT
from local.s3.xml import Xml, document, element
from local.wire.errors import ServiceError
from local.wire.http import HttpResponse
from local.wire.operations import service_model

_OWNER = element("Owner", element("ID", ACCOUNT))
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_GRANTEE = f'<Grantee xmlns:xsi="{_XSI}" xsi:type="CanonicalUser"><ID>{ACCOUNT}</ID></Grantee>'
_GRANT = element("Grant", _GRANTEE + element("Permission", "FULL_CONTROL"))
_ACL = ("AccessControlPolicy", _OWNER + element("AccessControlList", _GRANT))
_ENCRYPTION = element("ApplyServerSideEncryptionByDefault", element("SSEAlgorithm", "AES256"))
_BLOCKED = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
_NO_MORE = element("IsTruncated", "false")

# Subresource -> the root of its document and its content (API reference, Get... of each; the defaults of
# new buckets: user guide, "Default encryption FAQ", since 2023-01-05, "Blocking public access" and "Object
# Ownership", since 2023-04).
_BUCKET: dict[str, tuple[str, Xml]] = {
    "accelerate": ("AccelerateConfiguration", ""),
    "acl": _ACL,
    "analytics": ("ListBucketAnalyticsConfigurationResult", _NO_MORE),
    "encryption": (
        "ServerSideEncryptionConfiguration",
        element("Rule", _ENCRYPTION + element("BucketKeyEnabled", "false")),
    ),
    "intelligent-tiering": ("ListBucketIntelligentTieringConfigurationsOutput", _NO_MORE),
    "inventory": ("ListInventoryConfigurationsResult", _NO_MORE),
    "logging": ("BucketLoggingStatus", ""),
    "metrics": ("ListMetricsConfigurationsResult", _NO_MORE),
    "notification": ("NotificationConfiguration", ""),
    "ownershipControls": (
        "OwnershipControls",
        element("Rule", element("ObjectOwnership", "BucketOwnerEnforced")),
    ),
    "publicAccessBlock": (
        "PublicAccessBlockConfiguration",
        "".join(element(name, "true") for name in _BLOCKED),
    ),
    "requestPayment": ("RequestPaymentConfiguration", element("Payer", "BucketOwner")),
    "versioning": ("VersioningConfiguration", ""),
}
_OBJECT: dict[str, tuple[str, Xml]] = {
    "acl": _ACL,
    "tagging": ("Tagging", element("TagSet", "")),
}
# Subresource -> the error for "none" (API reference, "Error responses", and Get... of each).
_NO_POLICY = ("NoSuchBucketPolicy", "The bucket policy does not exist", 404)
_NO_CONFIGURATION = ("NoSuchConfiguration", "The specified configuration does not exist.", 404)
_MISSING: dict[tuple[str, str], tuple[str, str, int]] = {
    ("bucket", "cors"): ("NoSuchCORSConfiguration", "The CORS configuration does not exist", 404),
    ("bucket", "lifecycle"): (
        "NoSuchLifecycleConfiguration",
        "The lifecycle configuration does not exist",
        404,
    ),
    ("bucket", "object-lock"): (
        "ObjectLockConfigurationNotFoundError",
        "Object Lock configuration does not exist for this bucket",
        404,
    ),
    ("bucket", "policy"): _NO_POLICY,
    ("bucket", "policyStatus"): _NO_POLICY,
    ("bucket", "replication"): (
        "ReplicationConfigurationNotFoundError",
        "The replication configuration was not found",
        404,
    ),
    ("bucket", "tagging"): ("NoSuchTagSet", "The TagSet does not exist", 404),
    ("bucket", "website"): (
        "NoSuchWebsiteConfiguration",
        "The specified bucket does not have a website configuration",
        404,
    ),
    **{
        ("bucket", f"{kind}&id" if kind < "id" else f"id&{kind}"): _NO_CONFIGURATION
        for kind in ("analytics", "intelligent-tiering", "inventory", "metrics")
    },
    ("object", "legal-hold"): ("InvalidRequest", "Bucket is missing Object Lock Configuration", 400),
    ("object", "retention"): ("InvalidRequest", "Bucket is missing Object Lock Configuration", 400),
}


def answers(level: str, subresource: str) -> bool:
    """Whether a GET of this subresource of a bucket or an object (`level`) is answered here."""
    return (level, subresource) in _MISSING or subresource in (_BUCKET if level == "bucket" else _OBJECT)


def answer(level: str, subresource: str) -> HttpResponse:
    """The answer to such a GET.

    Raises:
        ServiceError: S3's error for a missing configuration.
    """
    if (level, subresource) in _MISSING:
        raise ServiceError(*_MISSING[level, subresource])
    root, content = (_BUCKET if level == "bucket" else _OBJECT)[subresource]
    return document(root, content)


@functools.cache
def operation_name(method: str, level: str, subresource: str) -> str:
    """AWS's name of the operation, e.g. PutBucketPolicy; "" if it has none."""
    uri = {"service": "/", "bucket": "/{Bucket}", "object": "/{Bucket}/{Key+}"}[level]
    wanted = f"{uri}?{subresource.partition('&')[0]}" if subresource else uri
    model = service_model("s3")
    # If an operation has an older form (PutBucketLifecycle), the current one has the longer name.
    names = [
        name for name in model.operation_names
        if (http := model.operation_model(name).http)["method"] == method
        and http["requestUri"].partition("&")[0] == wanted
    ]  # fmt: skip
    return max(names, key=len, default="")
