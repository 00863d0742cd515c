"""The records of a transform job, without a server."""

import io

import pytest

from local.jobs.records import Refused, batches, data_processing

CSV, JSON, JSON_LINES = "text/csv", "application/json", "application/jsonlines"


def job(content_type, accept, split=None, assemble=None, **filters):
    source = {"ContentType": content_type, **({"SplitType": split} if split else {})}
    target = {"Accept": accept, **({"AssembleWith": assemble} if assemble else {})}
    return {"TransformInput": source, "TransformOutput": target, "DataProcessing": filters}


@pytest.mark.parametrize("limit", [1, 5, 6, 11, 12, 100])
def test_a_batch_has_as_many_lines_as_fit(limit):
    lines = [b"aaaaa", b"", b"b", b"ccccc"]
    content = io.BytesIO(b"\n".join(lines))
    if limit < 5:
        with pytest.raises(Refused, match="larger than MaxPayloadInMB"):
            list(batches(content, True, False, limit, bytes))
        return
    made = list(batches(content, True, False, limit, bytes))
    assert [record for batch in made for record in batch.records] == lines
    for batch, after in zip(made, [*made[1:], None], strict=True):
        assert batch.payload == b"\n".join(batch.records)
        assert len(batch.payload) <= limit
        assert after is None or len(batch.payload) + 1 + len(after.records[0]) > limit


def test_one_json_document_is_joined_as_a_whole():
    processing = data_processing(job(JSON, JSON, JoinSource="Input"))
    assert processing.kept((b'{"a":\n1}',), b'{\n"b": "\xc3\xa9"}') == [
        '{"a":1,"SageMakerOutput":{"b":"é"}}'.encode()
    ]
    assert processing.kept((b"[1]",), b"2") == [b'{"SageMakerInput":[1],"SageMakerOutput":2}']


@pytest.mark.parametrize(
    ("content_type", "records", "answer", "message"),
    [
        (CSV, (b"1", b"2"), b"1\n", "2 records cannot be joined with the 1 of the answer"),
        (CSV, (b'"1',), b"1", "the record is not a row of CSV"),
        (CSV, (b"1",), b"\xff", "the answer is not a row of CSV"),
        (JSON_LINES, (b"{}",), b"<html>", "the answer is not a JSON document"),
    ],
)
def test_what_cannot_be_joined_is_refused(content_type, records, answer, message):
    processing = data_processing(job(content_type, content_type, "Line", "Line", JoinSource="Input"))
    with pytest.raises(Refused, match=message):
        processing.kept(records, answer)


def test_the_defaults_keep_answers_as_they_come():
    filters = {"InputFilter": "$", "OutputFilter": "$", "JoinSource": "None"}
    assert data_processing(job("image/jpeg", JSON, **filters)) is None


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (job("image/jpeg", JSON, JoinSource="Input"), "one format"),
        (job(CSV, JSON, "Line", "Line", JoinSource="Input"), "one format"),
        (job(CSV, CSV, JoinSource="Input"), "text/csv needs SplitType and AssembleWith Line"),
        (job(JSON_LINES, JSON_LINES, "Line", JoinSource="Input"), "they are Line and None"),
        (job(JSON, JSON, "Line", "None", JoinSource="Input"), "they are Line and None"),
        (job(CSV, CSV, "Line", "Line", OutputFilter="$.id"), "has indexes and no names"),
    ],
)
def test_formats_that_do_not_go_together_are_refused(record, message):
    with pytest.raises(ValueError, match=message):
        data_processing(record)
