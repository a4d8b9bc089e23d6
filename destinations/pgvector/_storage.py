"""How a named vector is stored and compared, chosen from its kind, dimension and mapping. Pure.

Limits are pgvector 0.8's: https://github.com/pgvector/pgvector (README, reference and index sections).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from vectorferry.connector.plugin import (
    DenseVector,
    QuarantineError,
    Reason,
    SparseVector,
    Storage,
    Vector,
    VectorMapping,
)

SPARSE_DIMENSION: Final = 1_000_000_000
"""pgvector's largest sparsevec. The API never says how large a sparse model's vocabulary is, and the number
costs nothing: only non-zero elements are stored."""

MAX_DENSE_DIMENSION: Final = 16_000
MAX_INDEXED_DIMENSION: Final[dict[Storage, int]] = {
    "vector": 2_000,
    "halfvec": 4_000,
    "sparsevec": SPARSE_DIMENSION,
}
MAX_SPARSE_ELEMENTS: Final = 16_000
MAX_INDEXED_SPARSE_ELEMENTS: Final = 1_000
MAX_HALF: Final = 65_504
OPERATORS: Final = {"cosine": "<=>", "l2": "<->", "inner_product": "<#>", "l1": "<+>"}
OPERATOR_CLASSES: Final = {"cosine": "cosine", "l2": "l2", "inner_product": "ip", "l1": "l1"}


@dataclass(frozen=True, slots=True)
class VectorStorage:
    """The column type, operator and index of one named vector."""

    column_type: Storage
    dimension: int
    metric: str
    index: Literal["hnsw", "none"]
    m: int
    ef_construction: int

    @property
    def operator(self) -> str:
        """The distance operator that this metric's index answers."""
        return OPERATORS[self.metric]

    @property
    def operator_class(self) -> str:
        """The operator class for an index with this metric."""
        return f"{self.column_type}_{OPERATOR_CLASSES[self.metric]}_ops"


def choose_storage(first: Vector, mapping: VectorMapping) -> VectorStorage:
    """The storage of a table whose first vector this is.

    Over 2,000 dimensions only ``halfvec`` can be indexed, so it is the choice there unless the mapping says
    otherwise; what no index can hold is stored unindexed. Raises `QuarantineError` for what cannot be stored.
    """
    column_type = mapping.storage or _default_storage(first)
    _check_kind(first, column_type)
    dimension = dimension_of(first)
    if column_type != "sparsevec" and dimension > MAX_DENSE_DIMENSION:
        raise QuarantineError(
            Reason.DIMENSION, f"{dimension} dimensions; pgvector stores at most {MAX_DENSE_DIMENSION}"
        )
    return storage_for(column_type, dimension, mapping)


def storage_for(column_type: Storage, dimension: int, mapping: VectorMapping) -> VectorStorage:
    """The storage of a column of this type and dimension; what no index can hold is not indexed."""
    indexable = dimension <= MAX_INDEXED_DIMENSION[column_type]
    return VectorStorage(
        column_type=column_type,
        dimension=dimension,
        metric=mapping.metric,
        index=mapping.index if indexable else "none",
        m=mapping.m,
        ef_construction=mapping.ef_construction,
    )


def check_vector(vector: Vector, storage: VectorStorage) -> None:
    """Raise `QuarantineError` when the column of this storage, which has the vector's dimension, cannot hold it."""
    if isinstance(vector, SparseVector):
        _check_sparse(vector, storage)
    elif storage.column_type == "halfvec":
        _check_half(vector)


def dimension_of(vector: Vector) -> int:
    """The dimension of the column that a vector belongs in."""
    return SPARSE_DIMENSION if isinstance(vector, SparseVector) else len(vector)


def _check_half(vector: DenseVector) -> None:
    if np.abs(vector).max() > MAX_HALF:
        raise QuarantineError(Reason.NOT_FINITE, "a value beyond ±65,504 does not fit halfvec")


def _check_sparse(vector: SparseVector, storage: VectorStorage) -> None:
    indexed = storage.index == "hnsw"
    limit = MAX_INDEXED_SPARSE_ELEMENTS if indexed else MAX_SPARSE_ELEMENTS
    elements = int(np.count_nonzero(vector.values))
    if elements > limit:
        hint = "; index: none allows 16,000" if indexed else ""
        raise QuarantineError(Reason.REFUSED, f"{elements} non-zero elements; pgvector takes {limit}{hint}")
    if len(vector.indices) and int(vector.indices[-1]) >= storage.dimension:
        last = int(vector.indices[-1])
        raise QuarantineError(Reason.DIMENSION, f"index {last} is beyond {storage.dimension} dimensions")


def _default_storage(first: Vector) -> Storage:
    if isinstance(first, SparseVector):
        return "sparsevec"
    return "vector" if len(first) <= MAX_INDEXED_DIMENSION["vector"] else "halfvec"


def _check_kind(first: Vector, column_type: Storage) -> None:
    if isinstance(first, SparseVector) != (column_type == "sparsevec"):
        kind = "sparse" if isinstance(first, SparseVector) else "dense"
        raise QuarantineError(Reason.DIMENSION, f"a {kind} vector does not fit the configured storage {column_type}")
