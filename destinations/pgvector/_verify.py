"""Comparing the ledger with the rows that are really there, asset by asset, in one snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from sqlalchemy import Connection, func, select

from vectorferry.connector import Difference, Discrepancy, Modality, StoredDigest

from ._stored_feeds import begin_snapshot
from ._tables import SyncSchema
from ._verify_contents import Contents, feature_vectors
from ._verify_tables import ASSET_ROW, AssetParts, AssetTables, RecordKey

__all__ = ["find_discrepancies", "read_digests"]

UNRECORDED: Final = "stored, but the ledger has no entry of it"


def find_discrepancies(schema: SyncSchema, collection: str, sample: int | None) -> Iterator[Discrepancy]:
    """What differs, in the order of asset ids; what is wrong in the sample's rows comes behind all of that."""
    with _snapshot(schema) as (connection, cursors):
        tables = AssetTables(connection, cursors, schema, collection, None, whole=sample is None)
        for parts in tables.assets():
            yield from _missing_or_extra(parts)
            yield from _wrong(parts)
        if sample:
            asset_ids = _any_assets(connection, schema, collection, sample)
            for parts in AssetTables(connection, cursors, schema, collection, asset_ids, whole=True).assets():
                yield from _wrong(parts)


def read_digests(schema: SyncSchema, collection: str, asset_ids: Sequence[str] | None = None) -> Iterator[StoredDigest]:
    """The hashes of every row and vector of these assets, or of all, sorted."""
    with _snapshot(schema) as (connection, cursors):
        for parts in AssetTables(connection, cursors, schema, collection, asset_ids, whole=False).assets():
            yield from sorted(
                StoredDigest(parts.asset_id, feature_id, modality.value if modality else "", vector_name or "", digest)
                for (modality, feature_id, vector_name), digest in parts.hashes.items()
            )


@contextmanager
def _snapshot(schema: SyncSchema) -> Iterator[tuple[Connection, ExitStack]]:
    with schema.database.plain_transaction() as connection, ExitStack() as cursors:
        begin_snapshot(connection)
        yield connection, cursors


def _any_assets(connection: Connection, schema: SyncSchema, collection: str, sample: int) -> list[str]:
    ledger = schema.tables.ledger
    names = select(ledger.c.asset_id).where(ledger.c.collection == collection)
    return list(connection.execute(names.order_by(func.random()).limit(sample)).scalars())


def _wrong(parts: AssetParts) -> Iterator[Discrepancy]:
    if parts.features is not None:
        for key in sorted(parts.wrong, key=str):
            yield _discrepancy(Difference.DIFFERENT, parts.asset_id, key)


def _missing_or_extra(parts: AssetParts) -> Iterator[Discrepancy]:
    if parts.features is None:
        yield Discrepancy(Difference.EXTRA, parts.asset_id, detail=UNRECORDED)
        return
    expected = {ASSET_ROW: None, **dict(_expected(parts))}
    for key in sorted(expected, key=str):
        if key not in parts.hashes or expected[key] not in (None, *parts.dimensions.get(key, ())):
            yield _discrepancy(Difference.MISSING, parts.asset_id, key)
    for key in sorted(parts.hashes.keys() - expected.keys(), key=str):
        yield _discrepancy(Difference.EXTRA, parts.asset_id, key)
    if parts.contents is None:
        yield from _miscounted(parts)


def _expected(parts: AssetParts) -> Iterator[tuple[RecordKey, int | None]]:
    """Every feature and vector that the ledger names, vectors with their dimension where it has that. Where it names
    none, the features that are there, with the vectors that they have."""
    if parts.contents is not None:
        yield from _named(parts.contents)
        return
    rows = {(modality, feature_id) for modality, feature_id, vector_name in parts.hashes if vector_name is None}
    yield from ((key, None) for key in parts.hashes if key[:2] in rows)


def _named(contents: Contents) -> Iterator[tuple[RecordKey, int | None]]:
    for (modality, feature_id), dimensions in feature_vectors(contents).items():
        yield (Modality(modality), feature_id, None), None
        for name, dimension in dimensions.items():
            yield (Modality(modality), feature_id, name), dimension


def _miscounted(parts: AssetParts) -> Iterator[Discrepancy]:
    """An entry of an earlier version, which says only how many features there are."""
    for modality, count in (parts.features or {}).items():
        found = sum(key[0] == modality and key[2] is None for key in parts.hashes)
        if found != count:
            kind = Difference.MISSING if found < count else Difference.EXTRA
            detail = f"the ledger says {count:,} features, {found:,} are there"
            yield Discrepancy(kind, parts.asset_id, modality=Modality(modality), detail=detail)


def _discrepancy(kind: Difference, asset_id: str, key: RecordKey) -> Discrepancy:
    modality, feature_id, vector_name = key
    return Discrepancy(kind, asset_id, feature_id, modality, vector_name)
