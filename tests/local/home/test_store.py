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


def test_a_change_that_fails_leaves_the_record_as_it_was(store):
    store.create("job", "a", {"status": "InProgress"})

    def change(record):
        record["status"] = "Completed"
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.update("job", "a", change)
    assert store.get("job", "a") == {"status": "InProgress"}


def test_a_file_that_is_no_database_is_an_error_that_names_it(tmp_path):
    (tmp_path / "records.sqlite").write_text("not a database" * 100)
    with pytest.raises(OSError, match=r"records\.sqlite cannot be used: .*; move it away"):
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
