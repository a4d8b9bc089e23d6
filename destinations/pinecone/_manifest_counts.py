"""The manifest in numbers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from typing import TypeAlias

from sqlalchemy import Connection, Table, func, select

from vectorferry.connector import Modality, VectorCount

from .._postgres import count_rejected
from ._manifest_tables import ManifestTables
from ._manifest_values import IndexRow, ManifestCounts

__all__ = ["RecordCounts", "count_records", "count_vectors", "read_counts", "read_indexes_of"]

RecordCounts: TypeAlias = dict[tuple[Modality, str | None], int]
"""By modality, and name of an index (None: features)."""


def read_counts(connection: Connection, tables: ManifestTables) -> ManifestCounts:
    """Count everything."""
    return ManifestCounts(
        records=_records(connection, tables.features),
        assets=_assets(connection, tables.ledger),
        quarantined=count_rejected(connection, tables.quarantine),
        last_change=connection.execute(select(func.max(tables.ledger.c.synced_at))).scalar(),
    )


def count_records(connection: Connection, features: Table, collection: str) -> RecordCounts:
    """How many features of a collection there are by modality, and how many records of them by index."""
    modality, of_collection = features.c.modality, features.c.collection == collection
    counted = select(modality, func.count()).where(of_collection).group_by(modality)
    counts: RecordCounts = {(Modality(of), None): number for of, number in connection.execute(counted)}
    index = func.jsonb_object_keys(features.c.records).label("index_name")
    each = select(modality, index).where(of_collection).subquery()
    grouped = (each.c.modality, each.c.index_name)
    for of, name, number in connection.execute(select(*grouped, func.count()).group_by(*grouped)):
        counts[Modality(of), name] = number
    return counts


def count_vectors(
    indexes: Iterable[IndexRow], vector_names: Collection[str], counted: Callable[[], ManifestCounts]
) -> list[VectorCount]:
    """The records of every index of those of these named vectors that have several dimensions. The manifest is
    `counted` only where there is one."""
    wanted = [row for row in indexes if row.vector_name in vector_names]
    dimensions = {(row.vector_name, row.dimension) for row in wanted}
    several = [name for name, count in Counter(name for name, _ in dimensions).items() if count > 1]
    records = counted().records if several else {}
    return [
        VectorCount(
            None,
            row.vector_name,
            row.dimension,
            sum(records.get(row.name, {}).values()),
            f"the index {row.name}, one more that Pinecone counts and bills",
        )
        for row in wanted
        if row.vector_name in several
    ]


def read_indexes_of(connection: Connection, features: Table, modality: Modality) -> frozenset[str]:
    """The indexes that hold records of a modality."""
    names = select(func.jsonb_object_keys(features.c.records)).where(features.c.modality == modality.value)
    return frozenset(connection.execute(names.distinct()).scalars())


def _records(connection: Connection, features: Table) -> dict[str, dict[str, int]]:
    index = func.jsonb_object_keys(features.c.records).label("index_name")
    each = select(index, features.c.collection).subquery()
    grouped = (each.c.index_name, each.c.collection)
    statement = select(*grouped, func.count()).group_by(*grouped).order_by(*grouped)
    records: dict[str, dict[str, int]] = defaultdict(dict)
    for name, collection, count in connection.execute(statement):
        records[name][collection] = count
    return dict(records)


def _assets(connection: Connection, ledger: Table) -> dict[str, int]:
    collection = ledger.c.collection
    counted = connection.execute(
        select(collection, func.count().label("assets")).group_by(collection).order_by(collection)
    )
    return {row.collection: row.assets for row in counted}
