import pytest

from local.store import Store


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
