"""Records as the bytes that Pinecone is sent, and requests filled with as many of them as fit. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import orjson

from vectorferry.connector.plugin import DenseVector, SparseVector

_NUMBER_BYTES: Final = 4
_ELEMENT_BYTES: Final = 8
_SENT_AT_ONCE: Final = 16
"""Records that are given to the socket together."""


@dataclass(frozen=True, slots=True)
class EncodedRecord:
    """What one record, update or deletion is in a request. `units_bytes` is its size as Pinecone bills it."""

    id: str
    body: bytes
    units_bytes: int


@dataclass(frozen=True, slots=True)
class Envelope:
    """What stands around the records of a request, and how many of them it takes."""

    before: bytes
    after: bytes
    most: int

    def body(self, records: Sequence[EncodedRecord]) -> Body:
        """The whole request."""
        return Body(self, records)


class Body:
    """What a request sends, as bytes of known length that are put together only while they are sent.

    (Whole bodies, and the copies that sending them makes, took 40 MB of a sync's memory.)
    """

    def __init__(self, envelope: Envelope, records: Sequence[EncodedRecord]) -> None:
        self._envelope = envelope
        self._records = records

    def __len__(self) -> int:
        around = len(self._envelope.before) + len(self._envelope.after)
        return around + sum(len(record.body) for record in self._records) + max(0, len(self._records) - 1)

    def __iter__(self) -> Iterator[bytes]:
        yield self._envelope.before
        for start in range(0, len(self._records), _SENT_AT_ONCE):
            bodies = [record.body for record in self._records[start : start + _SENT_AT_ONCE]]
            yield b",".join([b"", *bodies] if start else bodies)
        yield self._envelope.after


def upsert_envelope(namespace: str, most: int) -> Envelope:
    """For records of `encode_record`."""
    return Envelope(b'{"vectors":[', b'],"namespace":%b}' % orjson.dumps(namespace), most)


def delete_envelope(namespace: str, most: int) -> Envelope:
    """For records of `encode_id`."""
    return Envelope(b'{"ids":[', b'],"namespace":%b}' % orjson.dumps(namespace), most)


def update_envelope(namespace: str) -> Envelope:
    """For a record of `encode_update`; Pinecone takes one at a time."""
    return Envelope(b'{"namespace":%b,' % orjson.dumps(namespace), b"}", 1)


def encode_record(
    record_id: str, vector: DenseVector | None, sparse: SparseVector | None, metadata: Mapping[str, Any]
) -> EncodedRecord:
    """One record to upsert. Numbers are written with the fewest digits that give the same float32 back.

    `metadata` holds what JSON holds. Raises nothing for finite numbers.
    """
    fields: dict[str, Any] = {"id": record_id}
    size = len(record_id)
    if vector is not None:
        fields["values"] = np.ascontiguousarray(vector)
        size += _NUMBER_BYTES * len(vector)
    if sparse is not None:
        fields["sparseValues"] = {"indices": sparse.indices, "values": sparse.values}
        size += _ELEMENT_BYTES * len(sparse.values)
    if metadata:
        text = orjson.dumps(metadata)
        fields["metadata"] = orjson.Fragment(text)
        size += len(text)
    return EncodedRecord(record_id, orjson.dumps(fields, option=orjson.OPT_SERIALIZE_NUMPY), size)


def encode_update(record_id: str, metadata: Mapping[str, Any]) -> EncodedRecord:
    """Metadata to set on a record that is there; keys that are not named stay."""
    text = orjson.dumps({"id": record_id, "setMetadata": metadata})
    return EncodedRecord(record_id, text[1:-1], len(text))


def encode_id(record_id: str) -> EncodedRecord:
    """One record to delete."""
    return EncodedRecord(record_id, orjson.dumps(record_id), len(record_id))


def fill(
    records: Iterable[EncodedRecord], envelope: Envelope, most_bytes: Callable[[], int]
) -> Iterator[list[EncodedRecord]]:
    """The records in the order in which they come, in as few requests as hold them, read only as they are needed.

    A request is at most `most_bytes()` long, which may change on the way; a record that is longer goes alone.
    """
    around = len(envelope.before) + len(envelope.after)
    piece: list[EncodedRecord] = []
    size = around
    for record in records:
        grown = size + len(record.body) + bool(piece)
        if piece and (grown > most_bytes() or len(piece) >= envelope.most):
            yield piece
            piece, grown = [], around + len(record.body)
        piece.append(record)
        size = grown
    if piece:
        yield piece
