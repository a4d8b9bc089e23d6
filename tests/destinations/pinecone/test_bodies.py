"""Requests say exactly what they should, and are as full as they may be."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.builders import dense, sparse
from vectorferry.connector.plugin import SparseVector
from vectorferry.destinations.pinecone._bodies import (
    Body,
    EncodedRecord,
    delete_envelope,
    encode_id,
    encode_record,
    encode_update,
    fill,
    update_envelope,
    upsert_envelope,
)

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)


@given(st.lists(FLOATS, min_size=1, max_size=20))
def test_numbers_come_back_as_the_same_float32(numbers: list[float]) -> None:
    vector = np.array(numbers, dtype=np.float32)
    sent = orjson.loads(encode_record("a", vector, None, {}).body)
    assert struct.pack(f"{len(numbers)}f", *sent["values"]) == vector.tobytes()


@given(st.dictionaries(st.integers(0, 2**31 - 1), FLOATS, min_size=1, max_size=10))
def test_sparse_numbers_too(elements: dict[int, float]) -> None:
    vector = sparse(elements)
    sent = orjson.loads(encode_record("a", None, vector, {}).body)
    assert sent.keys() == {"id", "sparseValues"}
    assert sent["sparseValues"]["indices"] == vector.indices.tolist()
    assert np.array(sent["sparseValues"]["values"], dtype=np.float32).tobytes() == vector.values.tobytes()


def test_a_float32_is_written_with_the_fewest_digits() -> None:
    assert encode_record("a", dense(0.1, dimension=2), None, {}).body == b'{"id":"a","values":[0.1,1.0]}'


def test_a_record_may_be_dense_and_sparse_with_metadata() -> None:
    record = encode_record("a#1", dense(0.5, dimension=2), sparse({7: 2.0}), {"title": "ä", "tags": ["x"]})
    assert orjson.loads(record.body) == {
        "id": "a#1",
        "values": [0.5, 1.0],
        "sparseValues": {"indices": [7], "values": [2.0]},
        "metadata": {"title": "ä", "tags": ["x"]},
    }


def test_a_vector_that_is_a_slice_of_something_is_written_all_the_same() -> None:
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert orjson.loads(encode_record("a", matrix[:, 1], None, {}).body)["values"] == [1.0, 4.0]


@pytest.mark.parametrize(
    ("vector", "elements", "metadata", "size"),
    [(dense(dimension=100), None, {}, 1 + 400), (None, {1: 1.0, 9: 1.0}, {}, 1 + 16), (None, {1: 1.0}, {"a": "ä"}, 19)],
)
def test_a_record_is_billed_by_float32_size(
    vector: np.ndarray | None, elements: dict[int, float] | None, metadata: dict[str, str], size: int
) -> None:
    given_sparse: SparseVector | None = None if elements is None else sparse(elements)
    assert encode_record("a", vector, given_sparse, metadata).units_bytes == size


def read(body: Body) -> Any:
    """What the store reads, once it is sure that it was sent as much as it was told."""
    sent = b"".join(body)
    assert len(sent) == len(body)
    return orjson.loads(sent)


@given(TEXTS, TEXTS, st.dictionaries(TEXTS, TEXTS, max_size=3))
def test_every_kind_of_request_says_what_it_was_given(namespace: str, record_id: str, metadata: dict[str, str]) -> None:
    upserted = upsert_envelope(namespace, 9).body([encode_record(record_id, None, sparse({1: 1.0}), {})] * 2)
    assert [one["id"] for one in read(upserted)["vectors"]] == [record_id] * 2
    assert read(upserted)["namespace"] == namespace
    deleted = delete_envelope(namespace, 9).body([encode_id(record_id), encode_id("b")])
    assert read(deleted) == {"ids": [record_id, "b"], "namespace": namespace}
    updated = update_envelope(namespace).body([encode_update(record_id, metadata)])
    assert read(updated) == {"namespace": namespace, "id": record_id, "setMetadata": metadata}


@given(st.lists(st.integers(1, 60), max_size=60), st.integers(40, 120), st.integers(1, 9), TEXTS)
def test_requests_are_as_full_as_they_may_be_to_the_byte(
    sizes: list[int], most_bytes: int, most: int, namespace: str
) -> None:
    records = [EncodedRecord(str(n), b"1" * size, 0) for n, size in enumerate(sizes)]
    envelope = upsert_envelope(namespace, most)
    pieces = list(fill(records, envelope, lambda: most_bytes))
    assert [record for piece in pieces for record in piece] == records
    for piece in pieces:
        assert len(read(envelope.body(piece))["vectors"]) == len(piece)
        assert 1 <= len(piece) <= most
        assert len(piece) == 1 or len(envelope.body(piece)) <= most_bytes
    for piece, following in pairwise(pieces):
        assert len(piece) == most or len(envelope.body([*piece, following[0]])) > most_bytes


def test_a_smaller_limit_counts_at_once() -> None:
    limits = iter([1_000] * 3 + [1] * 9)
    records = [EncodedRecord(str(n), b"1", 0) for n in range(8)]
    pieces = [len(piece) for piece in fill(records, upsert_envelope("n", 1_000), lambda: next(limits))]
    assert pieces == [4, 1, 1, 1, 1]


def test_records_are_read_only_when_a_request_needs_them() -> None:
    read = []
    records = (read.append(n) or EncodedRecord(str(n), b"1", 0) for n in range(100))  # type: ignore[func-returns-value]
    pieces = fill(records, delete_envelope("n", 10), lambda: 1_000)
    assert len(next(pieces)) == 10
    assert read == list(range(11))
