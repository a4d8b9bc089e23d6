"""Vectors from JSON values: exact when good, set aside with a reason when not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vectorferry.connector._model._vectors import decode_vector, vector_bytes, vector_hash
from vectorferry.connector.plugin import QuarantineError, Reason, SparseVector

NAN, INFINITY = float("nan"), float("inf")


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_dense_vectors_keep_every_number(numbers: list[float]) -> None:
    vector = decode_vector(numbers)
    assert isinstance(vector, np.ndarray)
    assert vector.dtype == np.float32
    assert vector.flags.c_contiguous
    assert vector.tolist() == numbers


def test_whole_numbers_are_numbers() -> None:
    vector = decode_vector([0, 1.5, -2])
    assert isinstance(vector, np.ndarray)
    assert vector.tolist() == [0.0, 1.5, -2.0]


def test_sparse_vectors_are_sorted_by_index() -> None:
    vector = decode_vector({"indices": [7, 0, 3], "values": [0.7, 0.0, 0.3], "model": "splade"})
    assert isinstance(vector, SparseVector)
    assert vector.indices.tolist() == [0, 3, 7]
    assert vector.values.tolist() == pytest.approx([0.0, 0.3, 0.7])
    assert (vector.indices.dtype.str, vector.values.dtype.str) == ("<i4", "<f4")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ([1.0, NAN], Reason.NOT_FINITE),
        ([INFINITY], Reason.NOT_FINITE),
        ([1e39], Reason.NOT_FINITE),
        ([10**400], Reason.NOT_FINITE),
        ({"indices": [1], "values": [NAN]}, Reason.NOT_FINITE),
        ([], Reason.MALFORMED),
        (None, Reason.MALFORMED),
        ("AAAA", Reason.MALFORMED),
        (1.5, Reason.MALFORMED),
        ({}, Reason.MALFORMED),
        ([1.0, None], Reason.MALFORMED),
        (["1.0"], Reason.MALFORMED),
        ([True, 1.0], Reason.MALFORMED),
        ([[1.0], [2.0]], Reason.MALFORMED),
        ({"indices": [], "values": []}, Reason.MALFORMED),
        ({"indices": [1], "values": [1.0, 2.0]}, Reason.MALFORMED),
        ({"indices": [1, 1], "values": [1.0, 2.0]}, Reason.MALFORMED),
        ({"indices": [-1], "values": [1.0]}, Reason.MALFORMED),
        ({"indices": [2**31], "values": [1.0]}, Reason.MALFORMED),
        ({"indices": [True], "values": [1.0]}, Reason.MALFORMED),
        ({"indices": [1.0], "values": [1.0]}, Reason.MALFORMED),
        ({"indices": None, "values": [1.0]}, Reason.MALFORMED),
        ({"indices": [1], "values": ["1"]}, Reason.MALFORMED),
    ],
    ids=str,
)
def test_unusable_vectors_are_set_aside_with_a_reason(raw: Any, reason: Reason) -> None:
    with pytest.raises(QuarantineError) as caught:
        decode_vector(raw)
    assert caught.value.reason == reason
    assert str(caught.value)


def test_hash_changes_with_kind_dimension_and_every_number() -> None:
    vectors: list[Any] = [
        [1.0, 2.0],
        [1.0, 2.0000002],
        [1.0, 2.0, 0.0],
        {"indices": [1, 2], "values": [1.0, 2.0]},
        {"indices": [1, 3], "values": [1.0, 2.0]},
        {"indices": [1, 2], "values": [1.0, 3.0]},
    ]
    hashes = {vector_hash(decode_vector(raw)) for raw in vectors}
    assert len(hashes) == len(vectors)
    assert {len(digest) for digest in hashes} == {16}


def test_hash_is_the_same_for_equal_vectors_however_they_lie_in_memory() -> None:
    wide = np.arange(8, dtype=np.float32)
    assert vector_hash(wide[::2]) == vector_hash(np.array([0, 2, 4, 6], dtype=np.float32))
    swapped = np.array([0, 2, 4, 6], dtype=">f4").view(np.ndarray)
    assert vector_hash(swapped) == vector_hash(wide[::2])


def test_bytes_count_numbers_and_indices() -> None:
    assert vector_bytes(decode_vector([1.0, 2.0, 3.0])) == 12
    assert vector_bytes(decode_vector({"indices": [1, 2], "values": [1.0, 2.0]})) == 16
