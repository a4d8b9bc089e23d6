"""What writing and indexing so much takes in Postgres, from the mapping alone. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from vectorferry.connector.plugin import Leg, Load, SchemaMapping, VectorLoad, VectorMapping
from vectorferry.destinations.pgvector._storage import (
    ASSET_BYTES,
    FEATURE_KEYS,
    MAX_INDEXED_DIMENSION,
    SPARSE_DIMENSION,
    VECTOR_KEYS,
    VectorStorage,
    advised,
    build_seconds,
    index_bytes,
    index_kilobytes,
    storage_for,
    table_bytes,
    write_seconds,
)

_LARGEST_TABLE: Final = 32 * 1024**4
"""Bytes, with Postgres' pages of 8 kB (https://www.postgresql.org/docs/current/limits.html)."""

_MOST_CHUNKS: Final = 2**32
"""Values that a table can keep in chunks beside it: each has a number of four bytes."""


def scale_legs(load: Load, mapping: SchemaMapping, name: str, memory_mb: int) -> Sequence[Leg]:
    """Writing everything into the destination of this name, then building an index for each named vector."""
    storages = [(each, _storage(each, mapping)) for each in load.vectors]
    stored = {each: table_bytes(storage, each.rows) for each, storage in storages}
    rows = load.features * (load.feature_bytes + FEATURE_KEYS) + sum(each.rows * VECTOR_KEYS for each in load.vectors)
    counts: Counter[VectorStorage] = Counter()
    for each, storage in storages:
        counts[storage] += each.rows
    write = Leg(
        f"write {name}",
        "write",
        write_seconds(load.features, counts),
        "one process",
        bytes=4 * load.values + load.features * load.feature_bytes,
        stored_bytes=sum(stored.values()) + rows + load.assets * ASSET_BYTES,
        misfits=[sentence for each in load.vectors for sentence in _misfits(each, stored[each])],
    )
    return [write, *(_index_leg(each, storage, mapping, name, memory_mb) for each, storage in storages)]


def _misfits(load: VectorLoad, stored: int) -> Iterator[str]:
    if stored > _LARGEST_TABLE:
        yield f"{load.name}: {stored / 1e12:,.1f} TB are more than the 32 TB that a table of Postgres may have"
    if load.rows > _MOST_CHUNKS and stored / load.rows > 2_000:
        yield f"{load.name}: a table keeps at most {_MOST_CHUNKS:,} vectors of this size beside it"


def _index_leg(load: VectorLoad, storage: VectorStorage, mapping: SchemaMapping, name: str, memory_mb: int) -> Leg:
    wish = mapping.vector(load.modality, load.name).index
    advice = advised(storage, wish, load.rows, memory_mb)
    fits = advice is None or storage.index == "none"
    return Leg(
        f"index {load.name} in {name}",
        "index",
        build_seconds(storage, load.rows, memory_mb),
        storage.index_words if fits else f"{storage.index_words}, beyond index_memory_mb: {memory_mb:,}",
        stored_bytes=index_bytes(storage, load.rows),
        memory_bytes=0 if storage.index == "none" else 1024 * index_kilobytes(storage, load.rows),
        misfits=[advice] if advice else [],
    )


def _storage(load: VectorLoad, mapping: SchemaMapping) -> VectorStorage:
    """As `choose_storage` does for a first vector."""
    mapped: VectorMapping = mapping.vector(load.modality, load.name)
    if load.dimension is None:
        return storage_for("sparsevec", SPARSE_DIMENSION, mapped)
    usual = "vector" if load.dimension <= MAX_INDEXED_DIMENSION["vector"] else "halfvec"
    return storage_for(mapped.storage or usual, load.dimension, mapped)  # type: ignore[arg-type]
