"""Errors of boto3: what they mean, and one line that says what to do."""

from __future__ import annotations

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

from entrypoints.program import printable

_REMEDIES = {
    "AccessDenied": "check which credentials are in use (aws sts get-caller-identity) and what they may do",
    "NoSuchBucket": "set bucket in pipeline.toml, or with --set bucket=NAME, to one that exists there",
    "ExpiredToken": "renew the credentials, e.g. with aws sso login",
    "InvalidAccessKeyId": "check AWS_ACCESS_KEY_ID or the AWS profile",
    "SignatureDoesNotMatch": "check AWS_SECRET_ACCESS_KEY, and this machine's clock",
    "ResourceLimitExceeded": "ask for a higher quota in AWS Service Quotas, or choose another instance type",
    "ThrottlingException": "wait a minute and try again",
}
_SAME_AS = {
    "AccessDeniedException": "AccessDenied",
    "UnauthorizedOperation": "AccessDenied",
    "403": "AccessDenied",
    "ExpiredTokenException": "ExpiredToken",
    "RequestExpired": "ExpiredToken",
    "UnrecognizedClientException": "InvalidAccessKeyId",
    "InvalidClientTokenId": "InvalidAccessKeyId",
    "InvalidSignatureException": "SignatureDoesNotMatch",
    "Throttling": "ThrottlingException",
}


def is_missing(error: ClientError) -> bool:
    """Whether the error says that there is no such thing; SageMaker has several ways to say it."""
    details = error.response.get("Error", {})
    if details.get("Code") in {"ValidationException", "ValidationError"}:
        return any(
            words in details.get("Message", "").lower() for words in ("not find", "not found", "not exist")
        )
    return details.get("Code") in {"ResourceNotFound", "ResourceNotFoundException"}


def is_denied(error: ClientError) -> bool:
    """Whether these credentials lack a permission."""
    code = error.response.get("Error", {}).get("Code", "Unknown")
    return _SAME_AS.get(code, code) == "AccessDenied"


def explain(error: BotoCoreError | ClientError) -> str:
    """One line for an error of boto3: what happened, where, and, if known, what to do."""
    if isinstance(error, ClientError):
        details = error.response.get("Error", {})
        code = details.get("Code", "Unknown")
        message = details.get("Message") or "no message"
        if bucket := details.get("BucketName"):
            message += f" ({bucket})"
        remedy = _REMEDIES.get(_SAME_AS.get(code, code))
        return one_line(f"AWS refused {error.operation_name}: {code}: {message}") + (
            f"; {remedy}" if remedy else ""
        )
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        return (
            f"no usable AWS credentials ({one_line(str(error))}); run aws configure or aws sso login, "
            "or use --local URL with a running local service"
        )
    if isinstance(error, SSOError | TokenRetrievalError):
        return f"the AWS sign-in is not valid ({one_line(str(error))}); run aws sso login"
    if isinstance(error, ProfileNotFound):
        return f"{one_line(str(error))}; check AWS_PROFILE"
    if isinstance(error, NoRegionError):
        return "no AWS region; set region in pipeline.toml, or with --set region=us-east-1"
    if isinstance(error, ConnectionError | HTTPClientError):
        return f"{one_line(str(error))}; check the network, or the URL of --local and whether it still runs"
    return f"boto3: {one_line(str(error))}"


def one_line(text: str) -> str:
    """A text without line breaks and escape sequences."""
    return printable(" ".join(text.split()))
