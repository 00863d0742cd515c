import contextlib
import json
import math
import re
import sqlite3
import threading
import time

import pytest

from local.home.disk import NotRecorded
from local.home.store import Store
from tests.local.full_disk import MESSAGE, fill, make_room


def test_records_are_listed_newest_first_and_by_the_beginning_of_their_name(store):
    for name in ("a-1", "a%1", "b-1", "a-2"):
        store.create("job", name, {"name": name})
    store.create("model", "a-3", {"name": "a-3"})
    assert [record["name"] for record in store.list("job")] == ["a-2", "b-1", "a%1", "a-1"]
    assert [record["name"] for record in store.list("job", prefix="a-")] == ["a-2", "a-1"]


def executions(store, pipeline, times, **more):
    for time_s in times:
        name = f"{pipeline}-{time_s}"
        record = {"PipelineArn": pipeline, "Name": name, "CreationTime": time_s, "_token": f"t{time_s}"}
        store.create("pipeline-executions", name, record | more)


def test_summaries_are_selected_sorted_and_cut_where_the_records_lie(store):
    executions(store, "p", (3, 1, 2, 4), _definition="x" * 9000, PipelineDefinition="y")
    executions(store, "q", (5,))

    def names(**selection):
        found = store.summaries("pipeline-executions", **selection)
        assert all(record.keys() == {"PipelineArn", "Name", "CreationTime"} for record in found)
        return [record["Name"] for record in found]

    assert names() == ["q-5", "p-4", "p-3", "p-2", "p-1"]
    assert names(parent="p", start=1, count=2) == ["p-3", "p-2"]
    assert names(parent="p", ascending=True, created=(2, 3)) == ["p-2", "p-3"]
    assert names(prefix="p-", by_name=True, ascending=True) == ["p-1", "p-2", "p-3", "p-4"]
    assert names(parent="x") == []


def test_a_record_is_found_by_its_token_and_by_what_it_holds(store):
    executions(store, "p", (1, 2))
    executions(store, "q", (2,), _key="abc")

    def names(**selection):
        return [record["Name"] for record in store.list("pipeline-executions", **selection)]

    assert names(token="t2", parent="p") == ["p-2"]
    assert names(token="t2") == ["q-2", "p-2"]
    assert names(holding="abc") == ["q-2"]
    store.update("pipeline-executions", "p-1", lambda record: record.update(_key="abc", Status="Failed"))
    assert names(holding="abc", parent="p") == ["p-1"]
    assert store.summaries("pipeline-executions", parent="p")[-1]["Status"] == "Failed"


def test_pages_and_single_children_are_read_by_an_index(store):
    statements = []
    store._connection.set_trace_callback(statements.append)
    store.summaries("pipeline-executions", parent="p", count=1)
    store.list("model-packages", token="t")
    store.summaries("pipelines", count=100)
    store._connection.set_trace_callback(None)
    plans = [store._connection.execute(f"EXPLAIN QUERY PLAN {each}").fetchall() for each in statements]
    told = [" ".join(row[-1] for row in plan) for plan in plans]
    used = [plan.split(" USING INDEX ")[1].split()[0] for plan in told]
    assert used == ["by_parent", "by_token", "by_time"]
    assert not any("TEMP B-TREE" in told[at] for at in (0, 2))  # nothing is sorted


def test_a_home_of_an_older_service_keeps_its_records_and_gets_the_indexes(tmp_path):
    path = tmp_path / "records.sqlite"
    kind = "pipeline-executions"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as older:
        older.execute("PRAGMA journal_mode=WAL")
        older.execute(
            "CREATE TABLE records (kind TEXT, name TEXT, created REAL, body TEXT, PRIMARY KEY (kind, name))"
        )
        for at in (1, 2):
            record = {
                "PipelineArn": "p",
                "Name": f"e{at}",
                "CreationTime": at,
                "_token": f"t{at}",
                "x": math.nan,
            }
            older.execute("INSERT INTO records VALUES (?, ?, ?, ?)", (kind, f"e{at}", at, json.dumps(record)))
        older.execute("INSERT INTO records VALUES ('tags', 'a', 7.5, '{\"b\": \"c\"}')")
    for _ in range(2):  # the second time there is nothing to update
        store = Store(path)
        assert [record["Name"] for record in store.summaries(kind, parent="p")] == ["e2", "e1"]
        assert store.list(kind, token="t1")[0]["_token"] == "t1"
        assert store.get("tags", "a") == {"b": "c"}
        store.close()


def test_a_change_that_fails_leaves_the_record_as_it_was(store):
    store.create("job", "a", {"status": "InProgress"})

    def change(record):
        record["status"] = "Completed"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.update("job", "a", change)
    assert store.get("job", "a") == {"status": "InProgress"}


def no_database(path):
    path.write_text("not a database" * 100)


def truncated(path):
    path.write_bytes(path.read_bytes()[:5000])


def overwritten(path):
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"x" * (len(content) - 4096))


@pytest.mark.parametrize("damage", [no_database, truncated, overwritten])
def test_a_damaged_file_is_set_aside_with_its_date_and_a_new_one_begun(tmp_path, damage):
    path = tmp_path / "records.sqlite"
    store = Store(path)
    assert store.damaged is None
    for number in range(200):
        store.create("job", str(number), {"more": "x" * 200})
    store.close()
    damage(path)
    damaged = path.read_bytes()
    store = Store(path)
    assert re.fullmatch(r"records\.damaged-\d{8}-\d{6}\.sqlite", store.damaged.name)
    assert store.damaged.read_bytes() == damaged
    assert store.list("job") == []
    store.create("job", "a", {})
    store.close()
    store = Store(path)
    assert (store.damaged, store.list("job")) == (None, [{}])
    store.close()


def test_a_file_that_cannot_be_opened_is_an_error_that_names_it(tmp_path):
    (tmp_path / "records.sqlite").mkdir()
    with pytest.raises(OSError, match=r"records\.sqlite"):
        Store(tmp_path / "records.sqlite")


def test_a_full_disk_is_told_with_what_to_do_and_leaves_the_record_as_it_was(store):
    store.create("job", "a", {"status": "InProgress"})
    fill(store)
    for change in (
        lambda: store.create("job", "b", {"status": "InProgress", "more": "x" * 5000}),
        lambda: store.update("job", "a", lambda record: record.update(more="x" * 5000)),
    ):
        with pytest.raises(NotRecorded, match=MESSAGE):
            change()
    assert store.list("job") == [{"status": "InProgress"}]
    make_room(store)
    store.update("job", "a", lambda record: record.update(more="x" * 5000))
    assert len(store.get("job", "a")["more"]) == 5000


def test_a_change_is_tried_again_until_there_is_room_or_patience_is_over(store):
    store.create("job", "a", {})
    fill(store)
    began = time.monotonic()
    with pytest.raises(NotRecorded):
        store.update("job", "a", lambda record: record.update(more="x" * 5000), patience_s=0.3)
    assert 0.3 <= time.monotonic() - began < 5
    later = threading.Timer(0.3, make_room, [store])
    later.start()
    store.update("job", "a", lambda record: record.update(more="x" * 5000), patience_s=30)
    later.join()
    assert len(store.get("job", "a")["more"]) == 5000


def test_what_is_kept_is_read_by_all_and_written_once_there_is_room(home, store):
    store.create("job", "a", {"status": "InProgress"})
    store.create("job", "b", {"status": "InProgress"})
    fill(store)
    ended = {"status": "Completed", "more": "x" * 5000}
    store.keep("job", "a", lambda record: record.update(status="Completed"))
    store.keep("job", "a", lambda record: record.update(more="x" * 5000))
    assert store.get("job", "a") == ended
    assert store.list("job") == [{"status": "InProgress"}, ended]
    other = Store(home.database)
    assert other.get("job", "a") != ended
    make_room(store)
    assert store.get("job", "b") == {"status": "InProgress"}
    assert other.get("job", "a") == ended
    other.close()


def test_what_is_kept_and_never_finds_room_ends_with_the_service(home):
    first = Store(home.database)
    first.create("job", "a", {"status": "InProgress"})
    fill(first)
    first.keep("job", "a", lambda record: record.update(status="Completed", more="x" * 5000))
    first.close()
    second = Store(home.database)
    assert second.get("job", "a") == {"status": "InProgress"}
    second.close()


def test_a_record_that_waits_for_room_can_be_changed_and_deleted(store):
    store.create("job", "a", {})
    fill(store)
    store.keep("job", "a", lambda record: record.update(more="x" * 5000))
    make_room(store)
    assert store.update("job", "a", lambda record: record.update(status="Stopped"))["more"] == "x" * 5000
    fill(store)
    store.keep("job", "a", lambda record: record.update(more="x" * 50_000))
    make_room(store)
    store.delete("job", "a")
    assert store.list("job") == []


def test_a_disk_that_takes_nothing_for_another_reason_names_the_file(store):
    store.create("job", "a", {})
    store._connection.execute("PRAGMA query_only=1")
    with pytest.raises(
        NotRecorded, match=r"records\.sqlite cannot be written \(.*readonly.*\); check its disk"
    ):
        store.update("job", "a", lambda record: record.update(status="Stopped"))
    store.keep("job", "a", lambda record: record.update(status="Stopped"))
    assert store.get("job", "a") == {"status": "Stopped"}
