"""The column type and operator class follow from kind, dimension and metric."""

from __future__ import annotations

import numpy as np
import pytest

from vectorferry.connector.plugin import QuarantineError, VectorMapping
from vectorferry.destinations.pgvector._storage import check_vector, choose_storage

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
