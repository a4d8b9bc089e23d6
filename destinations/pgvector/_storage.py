"""How a named vector is stored, compared and indexed, chosen from its kind, dimension and mapping. Pure.

Limits are pgvector 0.8's: https://github.com/pgvector/pgvector (README, reference and index sections).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import numpy as np
from psycopg import sql

from vectorferry.connector.plugin import (
    DenseVector,
    IndexMethod,
    Quantization,
    QuarantineError,
    Reason,
    SparseVector,
    Storage,
    Vector,
    VectorMapping,
)
from vectorferry.destinations._postgres import fixed

SPARSE_DIMENSION: Final = 1_000_000_000
"""pgvector's largest sparsevec. The API never says how large a sparse model's vocabulary is, and the number
costs nothing: only non-zero elements are stored."""

MAX_DENSE_DIMENSION: Final = 16_000
IndexedType: TypeAlias = Storage | Literal["bit"]
"""What an index keeps of a vector."""

MAX_INDEXED_DIMENSION: Final[dict[IndexedType, int]] = {
    "vector": 2_000,
    "halfvec": 4_000,
    "bit": 64_000,
    "sparsevec": SPARSE_DIMENSION,
}
MAX_SPARSE_ELEMENTS: Final = 16_000
MAX_INDEXED_SPARSE_ELEMENTS: Final = 1_000
MAX_HALF: Final = 65_504
OPERATORS: Final = {"cosine": "<=>", "l2": "<->", "inner_product": "<#>", "l1": "<+>"}
OPERATOR_CLASSES: Final = {"cosine": "cosine", "l2": "l2", "inner_product": "ip", "l1": "l1"}


@dataclass(frozen=True, slots=True)
class VectorStorage:
    """The column type, operator and index of one named vector; `lists` are None where they come from the rows."""

    column_type: Storage
    dimension: int
    metric: str
    index: IndexMethod
    m: int
    ef_construction: int
    quantization: Quantization | None = None
    lists: int | None = None

    @property
    def operator(self) -> str:
        """The distance operator that this metric's index answers."""
        return OPERATORS[self.metric]

    @property
    def indexed_type(self) -> IndexedType:
        """What its index keeps."""
        if self.quantization is None:
            return self.column_type
        return "bit" if self.quantization == "binary" else "halfvec"

    @property
    def operator_class(self) -> str:
        """The operator class for an index with this metric."""
        metric = "hamming" if self.indexed_type == "bit" else OPERATOR_CLASSES[self.metric]
        return f"{self.indexed_type}_{metric}_ops"

    @property
    def index_words(self) -> str:
        """The index in a few words, as the catalogue keeps them: ``hnsw``, ``ivfflat, binary, lists 200``."""
        lists = f"lists {self.lists}" if self.lists else None
        return ", ".join(word for word in (self.index, self.quantization, lists) if word)


def storage_in_words(
    column_type: Storage, dimension: int, metric: str, index_words: str, m: int, ef_construction: int
) -> VectorStorage:
    """The storage of which the catalogue keeps this."""
    index, *words = index_words.split(", ")
    lists = next((int(word.removeprefix("lists ")) for word in words if word.startswith("lists ")), None)
    quantization = next((word for word in ("halfvec", "binary") if word in words), None)
    return VectorStorage(column_type, dimension, metric, index, m, ef_construction, quantization, lists)  # type: ignore[arg-type]


def indexed_expression(storage: VectorStorage, extension: str) -> sql.Composable:
    """What the index keeps, of the column; `extension` is the schema of pgvector."""
    if storage.quantization is None:
        return sql.SQL("embedding")
    return _quantized(storage, extension, sql.SQL("embedding"))


def nearness(storage: VectorStorage, extension: str) -> sql.Composable:
    """What a search orders by for a quantizing index to be used, where ``$1`` is the query."""
    column_type = sql.Identifier(extension, storage.column_type)
    query = _quantized(storage, extension, sql.SQL("CAST($1 AS {})").format(column_type))
    operator = fixed("<~>" if storage.indexed_type == "bit" else OPERATORS[storage.metric])
    return sql.SQL("({} OPERATOR({}.{}) {})").format(
        indexed_expression(storage, extension), sql.Identifier(extension), operator, query
    )


def _quantized(storage: VectorStorage, extension: str, vector: sql.Composable) -> sql.Composable:
    place, dimension = sql.Identifier(extension), sql.Literal(storage.dimension)
    if storage.indexed_type == "bit":
        return sql.SQL("CAST({}.binary_quantize({}) AS bit({}))").format(place, vector, dimension)
    return sql.SQL("CAST({} AS {}.halfvec({}))").format(vector, place, dimension)


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
    storage = mapped_storage(column_type, dimension, mapping)
    if why_not_indexable(storage) is None:
        return storage
    return replace(storage, index="none", quantization=None, lists=None)


def mapped_storage(column_type: Storage, dimension: int, mapping: VectorMapping) -> VectorStorage:
    """The same, whether or not there can be such an index."""
    is_as_it_is = column_type in ("sparsevec", mapping.quantization)
    return VectorStorage(
        column_type=column_type,
        dimension=dimension,
        metric=mapping.metric,
        index=mapping.index,
        m=mapping.m,
        ef_construction=mapping.ef_construction,
        quantization=None if is_as_it_is else mapping.quantization,
        lists=mapping.lists,
    )


def why_not_indexable(storage: VectorStorage) -> str | None:
    """Why pgvector builds no such index; None where it does."""
    most = MAX_INDEXED_DIMENSION[storage.indexed_type]
    if storage.index == "ivfflat" and storage.column_type == "sparsevec":
        return "ivfflat takes no sparse vectors"
    if storage.dimension > most:
        return f"one over {storage.indexed_type} takes {most:,} dimensions at most and these have {storage.dimension:,}"
    return None


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


# What an index takes, from its kind and the number of rows.


def index_kilobytes(storage: VectorStorage, rows: int) -> int:
    """Memory to ask for, so that the graph of so many rows is sure to fit; how large the lists of IVFFlat are."""
    return int(_graph_kilobytes(storage, rows) * 1.2) + 1024


def _graph_kilobytes(storage: VectorStorage, rows: int) -> float:
    """About what it takes. A million rows of 64 numbers were built in 1,024 MB, of which they took 942 at most."""
    values = 1_000 if storage.column_type == "sparsevec" else storage.dimension
    per_row = values * _BYTES_PER_VALUE[storage.indexed_type] + (100 if storage.index == "ivfflat" else 200)
    links = 0 if storage.index == "ivfflat" else storage.m * 2 * 16
    return rows * (per_row + links) / 1024


_BYTES_PER_VALUE: Final[dict[IndexedType, float]] = {"vector": 4, "halfvec": 2, "sparsevec": 8, "bit": 1 / 8}


def usual_lists(rows: int) -> int:
    """As many as pgvector's README recommends for so many rows."""
    return max(1, rows // 1000 if rows <= 1_000_000 else round(rows**0.5))


def lists_for(storage: VectorStorage, rows: int, kilobytes: int) -> int:
    """The lists that were chosen, or the usual ones, fewer where they could not be built in so much memory."""
    if storage.lists:
        return storage.lists
    lists = usual_lists(rows)
    while lists > 1 and lists_kilobytes(storage, lists) > kilobytes:
        lists //= 2
    return lists


def lists_kilobytes(storage: VectorStorage, lists: int) -> int:
    """What pgvector asks for to find the centres of so many lists, a little more: a sample of 50 rows a list, a float
    for each pair of a sample and a centre, two for each pair of centres (ivfkmeans.c)."""
    samples = max(10_000, 50 * lists)
    per_vector = storage.dimension * _BYTES_PER_VALUE[storage.indexed_type] + 16
    per_centre = per_vector + storage.dimension * 4
    return int(1.1 * (samples * (per_vector + 4 * lists + 8) + 2 * lists * (per_centre + 4 * lists)) / 1024) + 1024


def index_bytes(storage: VectorStorage, rows: int) -> int:
    """About how large it is on disk: no vector is on two pages, and an HNSW index has its links beside it."""
    values = 1_000 if storage.column_type == "sparsevec" else storage.dimension
    links = 40 if storage.index == "ivfflat" else 90 + 12 * storage.m
    per_page = max(1, int(_PAGE // (values * _BYTES_PER_VALUE[storage.indexed_type] + links)))
    return 0 if storage.index == "none" else 8192 * -(-rows // per_page)


_PAGE: Final = 8168
_ROW_SECONDS: Final = 200e-6
_VALUE_SECONDS: Final[dict[IndexedType, float]] = {
    "vector": 0.5e-6,
    "halfvec": 0.4e-6,
    "sparsevec": 2e-6,
    "bit": 0.03e-6,
}
"""Of HNSW with ef_construction 64, measured on two cores, 5,000 to 60,000 rows of 128 to 1,024 dimensions."""
_MOST_MEASURED: Final = 60_000
_LIST_VALUE_SECONDS: Final = 0.06e-6
_SLOWDOWN: Final = 10
"""Of a graph that does not fit in maintenance_work_mem."""


def build_seconds(storage: VectorStorage, rows: int, memory_mb: int) -> float:
    """About how long building takes: other machines are several times as fast, or as slow."""
    values = 1_000 if storage.column_type == "sparsevec" else storage.dimension
    if storage.index == "none":
        return 0.0
    if storage.index == "ivfflat":
        return rows * (5e-6 + values * _LIST_VALUE_SECONDS)
    per_row = (_ROW_SECONDS + values * _VALUE_SECONDS[storage.indexed_type]) * storage.ef_construction / 64
    # Each row is searched for, which takes as long as the logarithm of how many there are (arXiv:1603.09320, 4.2.2).
    per_row *= max(1.0, math.log(max(1, rows)) / math.log(_MOST_MEASURED))
    return rows * per_row * (1 if _fits(storage, rows, memory_mb) else _SLOWDOWN)


def _graph_megabytes(storage: VectorStorage, rows: int) -> int:
    return math.ceil(_graph_kilobytes(storage, rows) / 1024)


def _fits(storage: VectorStorage, rows: int, memory_mb: int) -> bool:
    return _graph_kilobytes(storage, rows) <= memory_mb * 1024


# What the tables take, and how fast they are filled.


_TOAST_CHUNK: Final = 1_996
_LARGEST_ROW: Final = 2_000
"""Beyond which Postgres moves a vector into chunks of its own beside the table (TOAST_TUPLE_THRESHOLD)."""
_CHUNK_HEAD: Final = 40
_VECTOR_ROW: Final = 130
"""Of a row of a named vector besides the vector: ids, hash, header."""


def table_bytes(storage: VectorStorage, rows: int) -> int:
    """About what so many vectors take in their table, with chunks that do not fit on a page left to the next one; as
    docs/postgres.md measured it, without indexes."""
    size = _vector_size(storage)
    if size + _VECTOR_ROW <= _LARGEST_ROW:
        return 8192 * -(-rows // max(1, _PAGE // (size + _VECTOR_ROW)))
    full, rest = divmod(size, _TOAST_CHUNK)
    chunks = [_TOAST_CHUNK + _CHUNK_HEAD] * full + ([rest + _CHUNK_HEAD] if rest else [])
    pages, left = 1, _PAGE
    for chunk in chunks * _SAMPLE:
        if chunk > left:
            pages, left = pages + 1, _PAGE
        left -= chunk
    return round(rows * (8192 * pages / _SAMPLE + _VECTOR_ROW))


_SAMPLE: Final = 200


def _vector_size(storage: VectorStorage) -> int:
    values = 100 if storage.column_type == "sparsevec" else storage.dimension
    return 8 + round(values * {"vector": 4, "halfvec": 2, "sparsevec": 8}[storage.column_type])


FEATURE_KEYS: Final = 177
VECTOR_KEYS: Final = 136
ASSET_BYTES: Final = 830
"""What a feature and a vector take in the indexes by which they are found, and an asset altogether: its row, that of
the ledger, and their indexes. Measured with 20,000 documents of 64 dimensions."""

_ROW_WRITE_SECONDS: Final = 25e-6
_BYTE_WRITE_SECONDS: Final = 4.6e-9
"""Of a first load by one process: 19,600 features with a vector of 1,408 dimensions a second."""


def write_seconds(rows: int, vectors: Mapping[VectorStorage, int]) -> float:
    """About how long one process takes to write so many features, and vectors of each storage."""
    return rows * _ROW_WRITE_SECONDS + sum(
        count * _vector_size(storage) * _BYTE_WRITE_SECONDS for storage, count in vectors.items()
    )


# What would be better.

_FEW: Final = 50_000
"""Rows that are compared one by one in some tens of milliseconds."""


def smaller_index(storage: VectorStorage) -> VectorStorage | None:
    """The same with the most exact quantization that makes the index smaller, and possible; None where none does."""
    options: list[Quantization] = ["halfvec", "binary"] if storage.indexed_type == "vector" else ["binary"]
    if storage.indexed_type in ("bit", "sparsevec"):
        return None
    quantized = (replace(storage, quantization=each) for each in options)
    return next((each for each in quantized if why_not_indexable(each) is None), None)


def advised(storage: VectorStorage, wish: IndexMethod, rows: int, memory_mb: int) -> str | None:
    """What to change, and why; None where nothing has to be. `wish` is the index that the mapping has."""
    if storage.index == "none":
        if wish == "none":
            return None if rows <= _FEW else f"every search compares {rows:,} vectors: index: hnsw"
        return _advised_unindexable(replace(storage, index=wish))
    if storage.index == "ivfflat":
        return None if rows >= _FEW else "of so few rows, hnsw is built soon and finds more: index: hnsw"
    if _fits(storage, rows, memory_mb):
        return None
    needed = _graph_megabytes(storage, rows)
    why = f"its graph takes {needed:,} MB, more than index_memory_mb ({memory_mb:,}), and is built ten times slower"
    smaller = smaller_index(storage)
    while smaller is not None and not _fits(smaller, rows, memory_mb):
        smaller = smaller_index(smaller)
    if smaller is not None:
        return f"{why}: quantization: {smaller.quantization} makes it {_graph_megabytes(smaller, rows):,} MB"
    return f"{why}: raise index_memory_mb if the server has that much, or choose index: ivfflat"


def _advised_unindexable(storage: VectorStorage) -> str:
    why = why_not_indexable(storage)
    if smaller := smaller_index(storage):
        return f"{why}: quantization: {smaller.quantization} has one"
    return f"{why}: index: none says that this is meant"
