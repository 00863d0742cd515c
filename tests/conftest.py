"""Setup for all tests."""

import gc
import signal
import sys
from collections.abc import Iterator

import pytest

from tests import service_models  # noqa: F401

# Whole trainings and pipelines: the longest modules, first, so that no worker ends long after the other.
LONG = (
    "tests/test_manual.py",
    "tests/scripts/test_run_local.py",
    "tests/scripts/test_run_local_failures.py",
    "tests/scripts/test_upsert_pipeline.py",
    "tests/entrypoints/test_distributed.py",
    "tests/local/test_sdk.py",
    "tests/local/jobs/test_forks.py",
    "tests/pipeline/test_searched.py",
    "tests/entrypoints/test_checkpoint.py",
    "tests/entrypoints/test_toolkit.py",
    "tests/entrypoints/test_debugger.py",
)


# Processes that a shell without job control starts in the background ignore Ctrl-C, and so would all commands
# that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest modules first; the others stay in their random order."""
    items.sort(key=lambda item: item.nodeid.partition("::")[0] not in LONG)


def pytest_collection_finish() -> None:
    """A garbage collection need not visit the million objects of the modules, which stay."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def forget_moto() -> Iterator[None]:
    """moto keeps its records in this process: without this, a test would see the previous test's records.

    The local service has moto load AWS's managed policies, which takes 0.3 s after each reset: tests of moto
    alone would all pay for one test of the service.
    """
    yield
    if "moto.core.base_backend" in sys.modules:
        from moto.core.base_backend import BackendDict
        from moto.core.config import default_user_config
        from moto.core.model_instances import reset_model_data

        default_user_config["iam"]["load_aws_managed_policies"] = False
        BackendDict.reset()
        reset_model_data()
