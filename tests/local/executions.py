"""Results of executions."""

import time


def statuses(record):
    return {name: step["StepStatus"] for name, step in record["_steps"].items()}


def until(predicate):
    deadline = time.monotonic() + 5
    while not predicate():
        assert time.monotonic() < deadline, "it did not happen within 5 s"
        time.sleep(0.002)
