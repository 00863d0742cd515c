import pytest

from local.cache import CacheConfig, cache_key, duration_s, parse_cache_config

HOUR, DAY = 3600, 86_400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30d", 30 * DAY),
        ("P30d", 30 * DAY),
        ("p30D", 30 * DAY),
        ("5y", 5 * 365 * DAY),
        ("T16m", 16 * 60),
        ("30dT5h", 30 * DAY + 5 * HOUR),
        ("PT1H", HOUR),
        ("P4DT12H", 4 * DAY + 12 * HOUR),
        ("P2M", 60 * DAY),
    ],
)
def test_durations_in_the_forms_that_the_service_takes(text, seconds):
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "P", "PT", "1", "1 day", "5h", None, 30])
def test_other_durations_are_refused(text):
    with pytest.raises(ValueError, match="not an ISO 8601 duration"):
        duration_s(text)


def test_only_an_enabled_cache_counts():
    assert parse_cache_config(None) is None
    assert parse_cache_config({"Enabled": False, "ExpireAfter": "nonsense"}) is None
    assert parse_cache_config({"Enabled": True}) == CacheConfig(None)
    assert parse_cache_config({"Enabled": True, "ExpireAfter": "PT1H"}) == CacheConfig(HOUR)
    with pytest.raises(ValueError, match="Enabled is 'yes'"):
        parse_cache_config({"Enabled": "yes"})


def test_the_key_depends_on_the_named_arguments_alone():
    arguments = {"A": 1, "B": {"C": 2, "D": 3}, "E": 4}
    key = cache_key(arguments, ("A", "B.C", "Absent", "Absent.C"))
    assert key == cache_key({**arguments, "E": 5, "B": {"C": 2, "D": 9}}, ("A", "B.C", "Absent", "Absent.C"))
    assert key != cache_key({**arguments, "B": {"C": 3}}, ("A", "B.C", "Absent", "Absent.C"))
