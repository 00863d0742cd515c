"""The tensors of a training job, as its rules read them."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

# What smdebug's readers raise for damaged tensors, besides SMDebugError.
DAMAGE = (ArithmeticError, LookupError, NameError, TypeError, ValueError, struct.error)

Parameters = Mapping[str, str]
Series = list[tuple[int, float]]  # (step, value)


class NothingToJudge(Exception):
    """The job did not save what the rule reads; the message names it."""


class Tensors:
    """What a training job saved: a smdebug trial (smdebug.trials). Each value is read once."""

    def __init__(self, trial: Any) -> None:
        self.trial = trial
        self._known: dict[tuple[str, str, int], float] = {}

    def collection(self, name: str) -> list[str]:
        """The names of a collection's tensors, sorted.

        Raises:
            NothingToJudge: there are none.
        """
        found = sorted(self.trial.tensor_names(collection=name)) if name in self.trial.collections() else []
        if not found:
            raise NothingToJudge(f"no tensor of the collection {name} was saved")
        return found

    def chosen(self, parameters: Parameters) -> list[str]:
        """The tensors that collection_names or tensor_regex name; all without these parameters."""
        collections = words(parameters.get("collection_names", ""))
        patterns = words(parameters.get("tensor_regex", ""))
        if not collections and not patterns:
            return sorted(self.trial.tensor_names())
        names = {name for collection in collections for name in self.collection(collection)}
        return sorted(names.union(self.matching(patterns)))

    def matching(self, patterns: list[str]) -> list[str]:
        """The names of the tensors that match one of some regular expressions, sorted."""
        names = sorted(self.trial.tensor_names())
        return [name for name in names if any(re.match(pattern, name) for pattern in patterns)]

    def losses(self, mode: str, names: list[str]) -> dict[str, Series]:
        """The values of scalar tensors in a mode (TRAIN, EVAL, GLOBAL), by tensor."""
        key = self._mode(mode)
        found = {}
        for tensor in map(self.trial.tensor, names if key else ()):
            found[tensor.name] = [
                (step, self._once(mode, tensor.name, step, lambda t, step: np.mean(t.value(step, mode=key))))
                for step in tensor.steps(mode=key)
            ]
        return {name: series for name, series in found.items() if series}

    def values(self, names: list[str]) -> list[tuple[int, str]]:
        """Where these tensors have values: (global step, name), in the order of the steps."""
        return sorted((step, name) for name in names for step in self.trial.tensor(name).steps())

    def mean_of_absolutes(self, name: str, step: int) -> float:
        """The mean of a tensor's absolute values at a global step, also where only this mean was saved."""
        return self._once("abs", name, step, lambda t, step: t.reduction_value(step, "mean", abs=True))

    def variance(self, name: str, step: int) -> float:
        """The variance of a tensor at a global step."""
        return self._once("variance", name, step, lambda t, step: np.var(t.value(step)))

    def spread(self, name: str, step: int) -> float:
        """The difference of a tensor's 95th and 5th percentile at a global step."""
        return self._once("spread", name, step, lambda t, step: np.ptp(np.percentile(t.value(step), (5, 95))))

    def has_nan(self, name: str, step: int) -> bool:
        """Whether a value of a tensor is not a number at a global step."""
        return self._once("nan", name, step, lambda t, step: np.isnan(t.value(step)).any()) > 0

    def has_infinity(self, name: str, step: int) -> bool:
        """Whether a value of a tensor is infinite at a global step."""
        return self._once("inf", name, step, lambda t, step: np.isinf(t.value(step)).any()) > 0

    def global_step(self, mode: str, step: int) -> int:
        """The global step of a step of a mode."""
        found: int = self.trial.global_step(self._mode(mode), step)
        return found

    def _mode(self, name: str) -> Any:
        """smdebug's key of a mode; None if no step of it was saved. Every step is one of GLOBAL, too."""
        from smdebug.core.modes import ModeKeys  # takes a second; the rules' names alone do not need it

        return next((mode for mode in [*self.trial.modes(), ModeKeys.GLOBAL] if mode.name == name), None)

    def _once(self, kind: str, name: str, step: int, read: Callable[[Any, int], Any]) -> float:
        key = (kind, name, step)
        if key not in self._known:
            try:
                self._known[key] = float(read(self.trial.tensor(name), step))
            except (IndexError, NameError, struct.error):  # smdebug raises a name that it lacks
                raise NothingToJudge(f"the file of {name} at step {step} is cut off or damaged") from None
        return self._known[key]


def words(text: str) -> list[str]:
    """A rule parameter's list: words between commas."""
    return [word.strip() for word in text.split(",") if word.strip()]
