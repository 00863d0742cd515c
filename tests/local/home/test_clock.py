"""Times in records never go backwards, whatever happens to the machine's clock."""

import time

import pytest

from local.home import clock


@pytest.fixture
def wall(monkeypatch):
    """The readings of the machine's two clocks."""
    said = {"time": 1_000_000.0, "monotonic": 50.0}
    for name in said:
        monkeypatch.setattr(time, name, lambda name=name: said[name])
    monkeypatch.setattr(clock, "_said", 0.0)
    monkeypatch.setattr(clock, "_said_at", 0.0)
    return said


def test_the_time_of_records_is_that_of_the_clock(wall):
    assert clock.now() == 1_000_000
    wall["time"] += 8 * 3600  # the lid was closed: the monotonic clock stood still
    wall["monotonic"] += 1
    assert clock.now() == 1_000_000 + 8 * 3600


def test_it_continues_when_the_clock_is_set_back(wall):
    began = clock.now()
    wall["time"] -= 7200
    wall["monotonic"] += 60
    assert clock.now() - began == 60
    wall["monotonic"] += 60
    wall["time"] += 7260  # and right again
    assert clock.now() - began == 120


@pytest.mark.usefixtures("wall")
def test_it_is_after_what_an_earlier_service_has_recorded():
    assert clock.now(2_000_000.0, None) == 2_000_000
    assert clock.now() == 1_000_000
