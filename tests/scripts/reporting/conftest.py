"""A report of an execution in an AWS account that a test may damage first."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from scripts.reporting import page, plots, sources
from scripts.reporting.parts import Report
from tests.scripts.reporting.account import Account
from tests.scripts.reporting.answers import EXECUTION

CLASSES = ("daisies", "roses", "tulips")
PLOTS = (
    *("objective", "loss", "accuracy", "learning_rate", "cpu", "memory"),
    *("confusion", "reliability", "thresholds"),
)


@pytest.fixture(autouse=True, scope="session")
def drawn_once() -> Iterator[None]:
    """Plots of the same numbers are drawn once: most tests damage what one of nine plots shows."""
    with pytest.MonkeyPatch.context() as patch:
        for name in PLOTS:
            patch.setattr(plots, name, once(getattr(plots, name)))
        yield


def once(draw: Callable[..., Any]) -> Callable[..., Any]:
    drawn: dict[bytes, Any] = {}

    def remembered(*arguments: Any) -> Any:
        key = pickle.dumps(arguments)
        if key not in drawn:
            drawn[key] = draw(*arguments)
        return drawn[key]

    return remembered


@pytest.fixture(scope="session")
def first_account(tmp_path_factory: pytest.TempPathFactory) -> Account:
    return Account(tmp_path_factory.mktemp("account"), CLASSES, test_images=60)


@pytest.fixture
def account(first_account: Account, tmp_path: Path) -> Account:
    return first_account.copied(tmp_path / "account")


@pytest.fixture
def collect(account: Account) -> Callable[[], Report]:
    """The report of the account's execution, in the account's current state."""
    return lambda: report_of(account)


@pytest.fixture(scope="session")
def report(first_account: Account) -> Report:
    """The report of an undamaged execution."""
    return report_of(first_account)


@pytest.fixture(scope="session")
def html(report: Report) -> str:
    """Its page."""
    return page.render(report)


def report_of(account: Account) -> Report:
    """The report of an account's execution."""
    with account.serve() as url, pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", url)
        environment.setenv("AWS_ACCESS_KEY_ID", "local")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "local")
        return sources.collect(boto3.Session(region_name="us-east-1"), EXECUTION)
