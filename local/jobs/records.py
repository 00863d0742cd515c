"""The records of a transform job: from objects to the model's input, and from its answers to lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from local.home.store import Record
from local.jobs.json_path import JsonPath, parse_path

CSV = "text/csv"
JSON_TYPES = ("application/json", "application/jsonlines")
TOO_LARGE = "the record is larger than MaxPayloadInMB"


class Refused(Exception):
    """Why an object is not transformed.

    Args:
        side: who is to blame, as in a FailureReason: ClientError or AlgorithmError.
        headline: the first line in the job's log.
        message: the details, perhaps many lines.
    """

    def __init__(self, side: str, headline: str, message: str = "") -> None:
        super().__init__(headline)
        self.side = side
        self.headline = headline
        self.message = message


@dataclass(frozen=True)
class Batch:
    """The payload of one request, and the records that it was made of."""

    records: tuple[bytes, ...]
    payload: bytes


@dataclass(frozen=True)
class DataProcessing:
    """Which part of a record goes to the model, and which parts of record and answer are kept."""

    input_filter: JsonPath
    output_filter: JsonPath
    joins: bool
    is_csv: bool

    def sent(self, record: bytes) -> bytes:
        """The part of a record that goes to the model.

        Raises:
            Refused: the record does not have the content type, or lacks what the filter selects.
        """
        if self.input_filter.everything:
            return record
        return self._write(self._select(self.input_filter, self._read(record, "the record")))

    def kept(self, records: tuple[bytes, ...], answer: bytes) -> list[bytes]:
        """What is kept of records and the model's answer to them, record by record.

        Raises:
            Refused: the answer does not have the content type, or not one item per record.
        """
        one_document = len(records) == 1 and not self.is_csv
        answers = [answer] if one_document else answer.removesuffix(b"\n").split(b"\n")
        if len(answers) != len(records):
            raise Refused(
                "ClientError",
                f"{len(records)} records cannot be joined with the {len(answers)} of the answer",
            )
        return [self._kept(record, given) for record, given in zip(records, answers, strict=True)]

    def _kept(self, record: bytes, answer: bytes) -> bytes:
        result = self._read(answer, "the answer")
        if self.joins:
            result = self._joined(self._read(record, "the record"), result)
        return self._write(self._select(self.output_filter, result))

    def _joined(self, record: Any, answer: Any) -> Any:
        if self.is_csv:
            return [*record, *answer]
        if isinstance(record, dict):
            return {**record, "SageMakerOutput": answer}
        return {"SageMakerInput": record, "SageMakerOutput": answer}

    def _read(self, text: bytes, what: str) -> Any:
        """A JSON document, or a row of CSV as a list of strings."""
        try:
            if not self.is_csv:
                return json.loads(text)
            (row,) = csv.reader([text.decode()], strict=True)
        except (ValueError, csv.Error) as error:
            form = "a row of CSV" if self.is_csv else "a JSON document"
            raise Refused("ClientError", f"{what} is not {form}: {error}", _shown(text)) from None
        return row

    def _write(self, value: Any) -> bytes:
        if not self.is_csv:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        text = io.StringIO()
        csv.writer(text, lineterminator="").writerow(value if isinstance(value, list) else [value])
        return text.getvalue().encode()

    def _select(self, path: JsonPath, document: Any) -> Any:
        try:
            return path.select(document)
        except ValueError as error:
            raise Refused("ClientError", str(error)) from None


def data_processing(job: Record) -> DataProcessing | None:
    """The DataProcessing of a transform job; None where answers are kept unchanged.

    Raises:
        ValueError: a filter is not a JSONPath, or the job's formats do not allow it. AWS documents the rules
            (developer guide, "Associate Prediction Results with Input Records"), not when it checks them.
    """
    asked = job.get("DataProcessing", {})
    joins = asked.get("JoinSource", "None") == "Input"
    paths = [parse_path(asked.get(name, "$")) for name in ("InputFilter", "OutputFilter")]
    if not joins and all(path.everything for path in paths):
        return None
    source, target = job["TransformInput"], job["TransformOutput"]
    types = [_plain(source.get("ContentType", "")), _plain(target.get("Accept", ""))]
    is_csv = CSV in types
    if not all(name in ((CSV,) if is_csv else JSON_TYPES) for name in types):
        raise ValueError(
            f"DataProcessing needs a ContentType and an Accept of one format, {CSV} or"
            f" {' or '.join(JSON_TYPES)}; they are {types[0] or 'missing'} and {types[1] or 'missing'}"
        )
    split, assembled = source.get("SplitType", "None"), target.get("AssembleWith", "None")
    if split != assembled or (split != "Line" and types != ["application/json"] * 2):
        raise ValueError(
            f"DataProcessing of {types[0]} needs SplitType and AssembleWith Line"
            f" (both None for one application/json document per object); they are {split} and {assembled}"
        )
    if is_csv and any(path.names for path in paths):
        raise ValueError("a row of CSV has indexes and no names: its filters are like $[0] or $[1:]")
    return DataProcessing(paths[0], paths[1], joins, is_csv)


def batches(
    content: BinaryIO, by_lines: bool, single: bool, limit_bytes: int, sent: Callable[[bytes], bytes]
) -> Iterator[Batch]:
    """The batches of an object.

    Args:
        by_lines: whether each line is a record; otherwise the whole object is one, even an empty one.
        single: whether a batch has one record; otherwise it has as many as fit.
        limit_bytes: of a payload.
        sent: gives the part of a record that goes to the model.

    Raises:
        Refused: a record is too large, or `sent` refuses it.
    """
    records: list[bytes] = []
    parts: list[bytes] = []
    size = 0
    for record in _records(content, by_lines, limit_bytes):
        part = sent(record)
        if len(part) > limit_bytes:
            raise Refused("ClientError", TOO_LARGE)
        if records and (single or size + 1 + len(part) > limit_bytes):
            yield Batch(tuple(records), b"\n".join(parts))
            records, parts, size = [], [], 0
        size += len(part) + (1 if records else 0)
        records.append(record)
        parts.append(part)
    if records:
        yield Batch(tuple(records), b"\n".join(parts))


def _records(content: BinaryIO, by_lines: bool, limit_bytes: int) -> Iterator[bytes]:
    """The records, without their final newlines; at most the limit is read of each."""
    reads = (
        iter(lambda: content.readline(limit_bytes + 1), b"") if by_lines else [content.read(limit_bytes + 1)]
    )
    for read in reads:
        record = read.removesuffix(b"\n") if by_lines else read
        if len(record) > limit_bytes:
            raise Refused("ClientError", TOO_LARGE)
        yield record


def _plain(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _shown(text: bytes) -> str:
    return text[:200].decode("utf-8", "replace")
