"""A thing that belongs to a deployment: what it is, what it costs, how it goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

import scripts.command as command
from config.settings import DEPLOYMENT_TAG
from scripts import aws_errors

POLL_S = 5.0
WAIT_S = 1800.0  # for what is being stopped or deleted: an instance that is being found takes minutes
# CloudFormation puts it on what it makes (user guide, "Resource tag").
STACK_TAG = "aws:cloudformation:stack-name"


@dataclass(frozen=True)
class Thing:
    """Something of a deployment in the account.

    Args:
        kind: in SageMaker's or the service's own words.
        name: what a person knows it by.
        remove: takes it away, and returns when it is gone.
        by_hand: the command that a person can type instead.
        cost: a month, in words; "" for what is free.
        after: kinds of things that must be gone before: what they are, or use, would break.
    """

    kind: str
    name: str
    remove: Callable[[], object]
    by_hand: str
    cost: str = ""
    after: tuple[str, ...] = ()


class NotGoneError(Exception):
    """Something is still there; the message says in which state."""


def remove(thing: Thing) -> str:
    """Remove it; why it is still there, or an empty string. What is gone already is no problem."""
    try:
        thing.remove()
    except ClientError as error:
        return "" if is_gone(error) else aws_errors.explain(error)
    except (NotGoneError, command.Failure) as error:
        return str(error)
    return ""


def is_gone(error: ClientError) -> bool:
    """Whether an error says that there is no such thing, in the words of any of the services."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    words = ("NoSuch", "NotFound", "NonExistent", "DoesNotExist")
    return aws_errors.is_missing(error) or any(word in code for word in words)


def wait_until(gone: Callable[[], str], what: str, poll_s: float | None = None) -> None:
    """Wait until `gone` returns "", instead of the state that something is in.

    Raises:
        NotGoneError: that takes too long.
    """
    deadline = time.monotonic() + WAIT_S
    with command.status(f"waiting for {what}"):
        while state := gone():
            if time.monotonic() > deadline:
                raise NotGoneError(f"{what} is still {state} after {WAIT_S / 60:.0f} minutes")
            time.sleep(POLL_S if poll_s is None else poll_s)


def ours(tags: Mapping[str, Any], name: str) -> bool:
    """Whether no stack made a thing with these tags, and it has no other deployment's tag."""
    return STACK_TAG not in tags and tags.get(DEPLOYMENT_TAG, name) == name
