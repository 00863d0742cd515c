"""The ranges of a tuning job as distributions."""

import optuna
import pytest

from local.tuning.ranges import distributions
from local.wire.errors import ServiceError


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (("0.0001", "0.1", "Logarithmic"), optuna.distributions.FloatDistribution(1e-4, 0.1, log=True)),
        (("0.0001", "0.1", "Auto"), optuna.distributions.FloatDistribution(1e-4, 0.1, log=True)),
        (("0", "1", "Auto"), optuna.distributions.FloatDistribution(0, 1)),
        (("0.0001", "0.1", "Linear"), optuna.distributions.FloatDistribution(1e-4, 0.1)),
        (("0.5", "0.75", "ReverseLogarithmic"), optuna.distributions.FloatDistribution(0.25, 0.5, log=True)),
    ],
)
def test_scaling_types(entry, expected):
    low, high, scaling = entry
    range_ = {"Name": "x", "MinValue": low, "MaxValue": high, "ScalingType": scaling}
    assert distributions({"ContinuousParameterRanges": [range_]}) == {"x": expected}


@pytest.mark.parametrize(
    ("low", "high", "scaling", "message"),
    [
        ("2", "1", "Linear", "is above"),
        ("0", "1", "Logarithmic", "above 0"),
        ("0.5", "1", "ReverseLogarithmic", r"\[0, 1\)"),
        ("-1", "1", "Logarithmic", "above 0"),
        ("-0.1", "0.5", "ReverseLogarithmic", r"\[0, 1\)"),
        ("a", "1", "Linear", "range of x"),
        ("nan", "1", "Linear", "must be finite"),
        ("0", "inf", "Auto", "must be finite"),
    ],
)
def test_ranges_that_sagemaker_refuses(low, high, scaling, message):
    range_ = {"Name": "x", "MinValue": low, "MaxValue": high, "ScalingType": scaling}
    with pytest.raises(ServiceError, match=message):
        distributions({"ContinuousParameterRanges": [range_]})


def test_an_integer_range_takes_whole_numbers_above_0_on_a_logarithmic_scale():
    for low, message in (("0.5", "range of x"), ("0", "above 0")):
        range_ = {"Name": "x", "MinValue": low, "MaxValue": "4", "ScalingType": "Logarithmic"}
        with pytest.raises(ServiceError, match=message):
            distributions({"IntegerParameterRanges": [range_]})


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ([{"Name": "x", "Values": [str(value) for value in range(31)]}], "31 values, at most 30"),
        ([{"Name": f"x{number}", "Values": ["1"]} for number in range(31)], "31 ranges; at most 30"),
        ([{"Name": "x", "Values": ["1"]}, {"Name": "x", "Values": ["2"]}], "more than one range for x"),
    ],
)
def test_more_than_sagemaker_searches(ranges, message):
    with pytest.raises(ServiceError, match=message):
        distributions({"CategoricalParameterRanges": ranges})
