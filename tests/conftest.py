"""What holds for every test."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def forget_moto() -> Iterator[None]:
    """moto keeps its records in this process: without this a test would see those of the one before."""
    yield
    if "moto.core.base_backend" in sys.modules:
        from moto.core.base_backend import BackendDict
        from moto.core.model_instances import reset_model_data

        BackendDict.reset()
        reset_model_data()
