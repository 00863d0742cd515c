"""AWS's answers to requests that it refuses."""

from __future__ import annotations


class ServiceError(Exception):
    """An error that AWS would answer: its code (e.g. ValidationException), a sentence, the HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


def invalid(message: str) -> ServiceError:
    """SageMaker's answer to a request that it cannot accept."""
    return ServiceError("ValidationException", message)


class ModelError(ServiceError):
    """InvokeEndpoint's 424: the model's own server answered an error, or nothing (original status 0)."""

    def __init__(self, original_status: int, original_message: str, log_stream_arn: str) -> None:
        side = "client" if 400 <= original_status < 500 else "server"
        super().__init__(
            "ModelError",
            f'Received {side} error ({original_status}) from primary with message "{original_message}". '
            f"See {log_stream_arn} for more information.",
            424,
        )
        self.original_status = original_status
        self.original_message = original_message
        self.log_stream_arn = log_stream_arn
