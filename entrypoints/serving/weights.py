"""Whether all weights of an engine are numbers: onnxruntime loads NaN, and returns or hides it.

The maximum of NaN depends on the processor, so answers do not tell. Reads the file's format (protobuf, field
numbers of onnx.proto) itself, since endpoints lack the package onnx.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np

# ModelProto.graph, GraphProto.node and .initializer, NodeProto.attribute, AttributeProto.t and .g
_GRAPH, _NODE, _INITIALIZER, _ATTRIBUTE, _TENSOR, _SUBGRAPH = 7, 1, 5, 5, 5, 6
# TensorProto.data_type, .float_data, .name, .raw_data, .double_data
_TYPE, _FLOATS, _NAME, _RAW, _DOUBLES = 2, 4, 8, 9, 10
# TensorProto.DataType of engines.py's types with NaN, as stored in raw_data.
_RAW_TYPES = {1: "<f4", 10: "<f2", 11: "<f8"}
# The wire types of protobuf.
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5


def check(engine: Path) -> None:
    """Refuse an engine, already loaded by onnxruntime, with NaN or infinite weights.

    Raises:
        ValueError: it has some; the message is one line.
    """
    with (
        engine.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content) as model,
    ):
        broken = [name for graph in _of(model, _GRAPH) for name in _not_finite(graph)]
    if broken:
        more = f" and {len(broken) - 1} more tensors" if len(broken) > 1 else ""
        raise ValueError(
            f"{engine.name} has weights that are NaN or infinite, in {broken[0]!r}{more}; train the model"
            " again"
        )


def _not_finite(graph: memoryview) -> Iterator[str]:
    """The names of a graph's tensors with values that are not numbers."""
    tensors = list(_of(graph, _INITIALIZER))
    for node in _of(graph, _NODE):
        for attribute in _of(node, _ATTRIBUTE):
            tensors += _of(attribute, _TENSOR)
            for inner in _of(attribute, _SUBGRAPH):
                yield from _not_finite(inner)
    for tensor in tensors:
        kind = next((value for number, value in _fields(tensor) if number == _TYPE), 0)
        raw = _RAW_TYPES.get(kind) if isinstance(kind, int) else None
        types = {_FLOATS: "<f4", _DOUBLES: "<f8", **({_RAW: raw} if raw else {})}
        for number, value in _fields(tensor):
            if not isinstance(value, memoryview) or number not in types:
                continue
            if not np.isfinite(np.frombuffer(value, types[number])).all():
                yield "".join(str(name, "utf-8", "replace") for name in _of(tensor, _NAME))
                break


def _of(message: memoryview, wanted: int) -> Iterator[memoryview]:
    """The parts of a message in one of its fields."""
    for number, value in _fields(message):
        if number == wanted and isinstance(value, memoryview):
            yield value


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """The fields of a message, by number."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        kind, size = key & 7, 0
        if kind == _VARINT:
            value, place = _varint(message, place)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, place = _varint(message, place)
        elif kind in (_FIXED_32, _FIXED_64):
            size = 4 if kind == _FIXED_32 else 8
        else:
            raise ValueError(f"not the protobuf that onnxruntime reads: wire type {kind}")
        yield key >> 3, message[place : place + size]
        place += size


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """A number of 7 bits per byte, lowest first, and the position after it."""
    value = shift = 0
    while True:
        byte = message[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
