"""Hyperband: after how many reports of the objective a trial may be stopped, and when."""

from __future__ import annotations

import re
from dataclasses import dataclass

from local.home.store import Record
from local.wire.errors import invalid

# HyperbandStrategyConfig in the API reference: where the service looks for a missing MaxResource.
_EPOCHS = ("epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs")
_MOST = 20_000
_WHOLE = re.compile("[0-9]{1,9}")


@dataclass(frozen=True)
class Resources:
    """Counted in reports of the objective, one per epoch.

    No trial is stopped before `least`; a trial is stopped at `most` unless
    `ends_itself`.
    """

    least: int
    most: int
    ends_itself: bool


def resources(record: Record) -> Resources:
    """The resources of a tuning job's trials: HyperbandStrategyConfig, or else the static number of epochs.

    Raises:
        ServiceError: there is no maximum, it is above 20,000, or it is below the minimum.
    """
    config = record["HyperParameterTuningJobConfig"]
    given = config.get("StrategyConfig", {}).get("HyperbandStrategyConfig", {})
    static = record["TrainingJobDefinition"].get("StaticHyperParameters", {})
    found = [int(static[key]) for key in _EPOCHS if _WHOLE.fullmatch(static.get(key, "").strip())]
    epochs = found[0] if found else None
    least, most = given.get("MinResource", 1), given.get("MaxResource", epochs)
    if most is None:
        raise invalid(
            "Strategy Hyperband needs HyperbandStrategyConfig.MaxResource, or a whole number in one of the"
            f" static hyperparameters {', '.join(_EPOCHS)}"
        )
    if not least <= most <= _MOST:
        raise invalid(
            f"HyperbandStrategyConfig: MaxResource {most} must be MinResource {least} or more"
            f" and at most {_MOST}"
        )
    return Resources(least, most, ends_itself=epochs is not None and epochs <= most)
