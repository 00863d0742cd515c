"""Parameter ranges and search strategies of tuning jobs, in Optuna's terms."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from local.home.store import Record
from local.wire.errors import invalid

# With ScalingType Auto the service does not say how it picks a scale; two decades are where a
# logarithmic scale starts to pay.
_AUTO_LOGARITHMIC_FROM = 100

_MEMBERS = ("IntegerParameterRanges", "ContinuousParameterRanges", "CategoricalParameterRanges")
# "Resource Limits for Automatic Model Tuning" in the developer guide: training jobs of one tuning job,
# searched hyperparameters, values of a categorical one.
MOST_JOBS = 750
_MOST_RANGES = 30
_MOST_VALUES = 30

optuna.logging.set_verbosity(optuna.logging.WARNING)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)  # constant_liar


def reversed_names(ranges: Record) -> list[str]:
    """The names of the ranges with a reverse logarithmic scale; their trials suggest 1 - x."""
    return [
        entry["Name"]
        for entry in ranges.get("ContinuousParameterRanges", [])
        if entry.get("ScalingType") == "ReverseLogarithmic"
    ]


def distributions(ranges: Record) -> dict[str, BaseDistribution]:
    """ParameterRanges as Optuna's distributions; a reverse logarithmic one is that of 1 - x.

    Raises:
        ServiceError: a bound that is not a number, a minimum above its maximum, a scale that does not fit the
            range, a name used by two ranges, or too many ranges or values.
    """
    names = [entry["Name"] for member in _MEMBERS for entry in ranges.get(member, [])]
    if len(names) > _MOST_RANGES:
        raise invalid(f"ParameterRanges has {len(names)} ranges; at most {_MOST_RANGES} can be searched")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise invalid(f"ParameterRanges has more than one range for {', '.join(twice)}")
    found: dict[str, BaseDistribution] = {}
    numeric: list[tuple[str, Callable[[str], Any], Callable[..., BaseDistribution]]] = [
        ("IntegerParameterRanges", int, IntDistribution),
        ("ContinuousParameterRanges", float, FloatDistribution),
    ]
    for member, number, distribution in numeric:
        for entry in ranges.get(member, []):
            name, scaling = entry["Name"], entry.get("ScalingType", "Auto")
            try:
                low, high = number(entry["MinValue"]), number(entry["MaxValue"])
            except ValueError as error:
                raise invalid(f"range of {name}: {error}") from None
            if not (math.isfinite(low) and math.isfinite(high)):
                raise invalid(f"range of {name}: MinValue {low} and MaxValue {high} must be finite")
            if low > high:
                raise invalid(f"range of {name}: MinValue {low} is above MaxValue {high}")
            if scaling == "ReverseLogarithmic":
                if member.startswith("Integer") or not 0 <= low <= high < 1:
                    raise invalid(f"range of {name}: ReverseLogarithmic needs a continuous range in [0, 1)")
                found[name] = FloatDistribution(1 - high, 1 - low, log=True)
                continue
            if scaling == "Logarithmic" and low <= 0:
                raise invalid(f"range of {name}: Logarithmic needs a MinValue above 0")
            automatic = scaling == "Auto" and low > 0 and high / low >= _AUTO_LOGARITHMIC_FROM
            found[name] = distribution(low, high, log=scaling == "Logarithmic" or automatic)
    for entry in ranges.get("CategoricalParameterRanges", []):
        if len(entry["Values"]) > _MOST_VALUES:
            raise invalid(
                f"range of {entry['Name']}: {len(entry['Values'])} values, at most {_MOST_VALUES} are allowed"
            )
        found[entry["Name"]] = CategoricalDistribution(tuple(entry["Values"]))
    return found


def grid(ranges: dict[str, BaseDistribution]) -> list[dict[str, Any]]:
    """Every combination of categorical ranges, the last name varying fastest."""
    values = [choices.choices for choices in ranges.values() if isinstance(choices, CategoricalDistribution)]
    return [dict(zip(ranges, combination, strict=True)) for combination in itertools.product(*values)]
