import time

import pytest

from local.definition.cache import CacheConfig, cache_key, duration_s, parse_cache_config
from local.pipelines.record import EXECUTIONS
from tests.local.definitions import document, get, processing

HOUR, DAY = 3600, 86_400
CACHED = {"CacheConfig": {"Enabled": True, "ExpireAfter": "PT1H"}}


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


def test_a_cached_step_takes_over_the_earlier_run(run, aws):
    text = document(
        processing("Split", get("Parameters.P"), **CACHED),
        processing("Use", get("Steps.Split.ProcessingJobName")),
        parameters=[{"Name": "P", "DefaultValue": "a"}],
    )
    first = run(text, execution_id="first")
    run(text, execution_id="second")
    third = run(text, execution_id="third")
    split = third["_steps"]["Split"]
    assert split["CacheHitResult"] == {"SourcePipelineExecutionArn": first["PipelineExecutionArn"]}
    assert split["Metadata"] == first["_steps"]["Split"]["Metadata"]
    jobs = [request["ProcessingJobName"] for request in aws.created("CreateProcessingJob")]
    assert [name.split("-")[2] for name in jobs] == ["Split", "Use", "Use", "Use"]
    assert aws.created("CreateProcessingJob")[-1]["AppSpecification"]["ContainerArguments"] == [jobs[0]]
    fourth = run(text, [{"Name": "P", "Value": "b"}], execution_id="fourth")
    assert "CacheHitResult" not in fourth["_steps"]["Split"]


def test_neither_a_failed_nor_an_old_run_is_taken_over(run, aws, store):
    text = document(processing("Split", **CACHED))
    aws.endings["Split"] = [("Failed", "AlgorithmError: x"), ("Completed", "")]
    run(text, execution_id="failed")
    second = run(text, execution_id="second")
    assert "CacheHitResult" not in second["_steps"]["Split"]
    store.update(
        EXECUTIONS,
        second["PipelineExecutionArn"],
        lambda record: record["_steps"]["Split"].update(EndTime=time.time() - 3601),
    )
    assert "CacheHitResult" not in run(text, execution_id="third")["_steps"]["Split"]
