"""The services of jobs, behind the control plane."""

import pytest

from tests.local.job_requests import control_plane, job_services


@pytest.fixture
def services(home, store):
    with job_services(home, store) as services:
        yield services


@pytest.fixture
def control(services):
    return control_plane(services)
