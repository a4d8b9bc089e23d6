"""The column type and operator class follow from kind, dimension and metric."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from vectorferry.connector.plugin import QuarantineError, Storage, VectorMapping
from vectorferry.destinations.pgvector._storage import (
    advised,
    check_vector,
    choose_storage,
    lists_for,
    lists_kilobytes,
    storage_for,
    storage_in_words,
)

from ...builders import sparse


@pytest.mark.parametrize(
    ("dimension", "column_type", "index"),
    [(3, "vector", "hnsw"), (2_000, "vector", "hnsw"), (2_001, "halfvec", "hnsw"), (4_001, "halfvec", "none")],
)
def test_storage_and_index_follow_the_dimension(dimension: int, column_type: str, index: str) -> None:
    storage = choose_storage(np.ones(dimension, np.float32), VectorMapping())
    assert (storage.column_type, storage.index) == (column_type, index)


@pytest.mark.parametrize(
    ("metric", "operator", "operator_class"),
    [
        ("cosine", "<=>", "vector_cosine_ops"),
        ("l2", "<->", "vector_l2_ops"),
        ("inner_product", "<#>", "vector_ip_ops"),
        ("l1", "<+>", "vector_l1_ops"),
    ],
)
def test_operator_and_class_follow_the_metric(metric: str, operator: str, operator_class: str) -> None:
    storage = choose_storage(np.ones(3, np.float32), VectorMapping.model_validate({"metric": metric}))
    assert (storage.operator, storage.operator_class) == (operator, operator_class)


def test_configured_storage_wins() -> None:
    storage = choose_storage(np.ones(3, np.float32), VectorMapping(storage="halfvec"))
    assert storage.operator_class == "halfvec_cosine_ops"


def test_sparse_vectors_are_stored_sparse() -> None:
    assert choose_storage(sparse({1: 0.5}), VectorMapping()).column_type == "sparsevec"


def test_what_pgvector_cannot_store_is_refused_with_the_limit() -> None:
    with pytest.raises(QuarantineError, match="at most 16000"):
        choose_storage(np.ones(16_001, np.float32), VectorMapping())


def test_a_sparse_vector_does_not_fit_a_storage_that_was_configured_for_dense_ones() -> None:
    with pytest.raises(QuarantineError, match="a sparse vector does not fit the configured storage halfvec"):
        choose_storage(sparse({1: 1.0}), VectorMapping(storage="halfvec"))


def test_a_value_beyond_half_precision_is_refused() -> None:
    storage = choose_storage(np.ones(3, np.float32), VectorMapping(storage="halfvec"))
    with pytest.raises(QuarantineError, match="65,504"):
        check_vector(np.array([1, 2, 70_000], np.float32), storage)


def test_too_many_sparse_elements_for_an_index_are_refused_with_the_way_out() -> None:
    vector = sparse(dict.fromkeys(range(1001), 1.0))
    with pytest.raises(QuarantineError, match="index: none allows"):
        check_vector(vector, choose_storage(vector, VectorMapping()))
    check_vector(vector, choose_storage(vector, VectorMapping(index="none")))


QUANTIZED = [
    ({}, "hnsw", "vector_cosine_ops"),
    ({"quantization": "halfvec", "metric": "l2"}, "hnsw, halfvec", "halfvec_l2_ops"),
    ({"quantization": "binary"}, "hnsw, binary", "bit_hamming_ops"),
    ({"index": "ivfflat", "quantization": "binary", "lists": 7}, "ivfflat, binary, lists 7", "bit_hamming_ops"),
]


@pytest.mark.parametrize(("mapping", "words", "operator_class"), QUANTIZED)
def test_the_catalogue_keeps_an_index_in_words(mapping: dict[str, Any], words: str, operator_class: str) -> None:
    storage = storage_for("vector", 1_024, VectorMapping.model_validate(mapping))
    assert (storage.index_words, storage.operator_class) == (words, operator_class)
    kept = (storage.column_type, storage.dimension, storage.metric, storage.index_words)
    assert storage_in_words(*kept, storage.m, storage.ef_construction) == storage


def test_halves_of_halves_are_no_quantization() -> None:
    storage = storage_for("halfvec", 3_072, VectorMapping(quantization="halfvec"))
    assert (storage.index_words, storage.operator_class) == ("hnsw", "halfvec_cosine_ops")


@pytest.mark.parametrize(
    "mapping",
    [
        {"index": "none", "quantization": "binary"},
        {"storage": "sparsevec", "quantization": "halfvec"},
        {"storage": "sparsevec", "index": "ivfflat"},
        {"metric": "l1", "index": "ivfflat"},
        {"lists": 100},
    ],
)
def test_what_pgvector_cannot_build_is_refused(mapping: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        VectorMapping.model_validate(mapping)


@pytest.mark.parametrize(
    ("column_type", "dimension", "rows", "mapping", "advice"),
    [
        ("vector", 1_024, 10_000, {}, None),
        ("vector", 1_024, 1_000_000, {}, "quantization: binary"),
        ("vector", 1_024, 300_000, {}, "quantization: halfvec"),
        ("vector", 3_072, 1_000, {}, "quantization: halfvec has one"),
        ("halfvec", 5_000, 1_000, {}, "quantization: binary has one"),
        ("vector", 256, 50_000_000, {"quantization": "binary"}, "raise index_memory_mb"),
        ("vector", 256, 1_000, {"index": "ivfflat"}, "index: hnsw"),
        ("vector", 256, 1_000_000, {"index": "ivfflat"}, None),
        ("vector", 256, 1_000, {"index": "none"}, None),
        ("vector", 256, 100_000, {"index": "none"}, "index: hnsw"),
    ],
)
def test_what_would_be_better(
    column_type: Storage, dimension: int, rows: int, mapping: dict[str, Any], advice: str | None
) -> None:
    asked = VectorMapping.model_validate(mapping)
    said = advised(storage_for(column_type, dimension, asked), asked.index, rows, memory_mb=1_024)
    assert (said is None) if advice is None else (advice in str(said))


def test_lists_come_from_the_rows_and_fit_into_memory() -> None:
    storage = storage_for("vector", 1_024, VectorMapping(index="ivfflat"))
    assert [lists_for(storage, rows, 10**9) for rows in (10, 50_000, 4_000_000)] == [1, 50, 2_000]
    fitting = lists_for(storage, 4_000_000, 512 * 1024)
    assert lists_kilobytes(storage, fitting) <= 512 * 1024 < lists_kilobytes(storage, 2 * fitting)
