"""The ledger: what has been synced, written in the same transaction as the data it speaks of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, func, select, union, update

from vectorferry.connector import Batch, Known, Modality, canonical_json

from ._diff import FeatureKey, WantedRows
from ._quarantine import unread_assets
from ._tables import of_assets

__all__ = [
    "forget_fingerprints",
    "forget_unread",
    "held_asset_ids",
    "held_collections",
    "known_assets",
    "ledger_hashes",
    "ledger_rows",
    "recorded_features",
]


def known_assets(
    connection: Connection, ledger: Table, collection: str, asset_ids: Sequence[str], *only: ColumnElement[bool]
) -> Mapping[str, Known]:
    """The ledger's entries for those of these assets that it has, `only` under these conditions."""
    rows = connection.execute(
        select(ledger.c.asset_id, ledger.c.fingerprint, ledger.c.features).where(
            of_assets(ledger, collection, asset_ids), *only
        )
    )
    return {asset_id: _known(fingerprint, features) for asset_id, fingerprint, features in rows}


def held_asset_ids(connection: Connection, tables: Sequence[Table], collection: str) -> Iterator[str]:
    """Every asset of a collection that one of these tables names, from a server-side cursor."""
    statement = union(*(select(table.c.asset_id).where(table.c.collection == collection) for table in tables))
    # Whoever asks may want only the first, and leave before the cursor has come to its end.
    with closing(connection.execution_options(yield_per=10_000).execute(statement).scalars()) as ids:
        yield from ids


def held_collections(connection: Connection, tables: Sequence[Table]) -> list[str]:
    """The collections that these tables name, sorted. Each is looked up in an index that begins with it, so that a
    large table costs no more than a small one."""
    return sorted({name for table in tables for name in connection.execute(_names(table)).scalars()})


def _names(table: Table) -> Select[Any]:
    """PostgreSQL has no other way to skip from one value of an index to the next:
    https://wiki.postgresql.org/wiki/Loose_indexscan."""
    first = select(func.min(table.c.collection).label("collection")).cte(recursive=True)
    after = select(func.min(table.c.collection)).where(table.c.collection > first.c.collection).scalar_subquery()
    walked = first.union_all(select(after).where(first.c.collection.is_not(None)))
    return select(walked.c.collection).where(walked.c.collection.is_not(None))


def ledger_rows(batch: Batch, held: Mapping[str, Known], per_asset: Mapping[str, Mapping[str, int]]) -> WantedRows:
    """What the ledger should hold for a batch's assets."""
    rows: WantedRows = {}
    for asset in batch.assets:
        features = recorded_features(asset.fingerprint, per_asset[asset.asset_id], held.get(asset.asset_id))
        row = (batch.collection, asset.asset_id, asset.fingerprint, features)
        rows[asset.asset_id, ""] = (_comparable(asset.fingerprint, features), row)
    return rows


def recorded_features(fingerprint: str, now: Mapping[str, int], before: Known | None) -> dict[str, int]:
    """Features per modality of one asset. Under an unchanged fingerprint, modalities that were synced earlier stay."""
    earlier = _counts(before) if before is not None and before.fingerprint == fingerprint else {}
    return {**earlier, **now}


def ledger_hashes(held: Mapping[str, Known]) -> dict[FeatureKey, bytes]:
    """The value that `ledger_rows` compares, for what the ledger holds."""
    return {(asset_id, ""): _comparable(known.fingerprint, _counts(known)) for asset_id, known in held.items()}


def forget_fingerprints(connection: Connection, ledger: Table, collection: str, asset_ids: Sequence[str]) -> int:
    """Let these assets look changed, whatever the source says of them; how many of them the ledger has."""
    meant = (of_assets(ledger, collection, asset_ids), ledger.c.fingerprint != "")
    return connection.execute(update(ledger).where(*meant).values(fingerprint="")).rowcount


def forget_unread(connection: Connection, ledger: Table, batch: Batch) -> None:
    """Let assets that a batch only rejects look changed: what is in quarantine of them must not outlive a change at the
    source that is taken back."""
    if asset_ids := unread_assets(batch):
        forget_fingerprints(connection, ledger, batch.collection, asset_ids)


def _comparable(fingerprint: str, features: Mapping[str, int]) -> bytes:
    return canonical_json([fingerprint, features])


def _counts(known: Known) -> dict[str, int]:
    return {modality.value: count for modality, count in known.features.items()}


def _known(fingerprint: str, features: Mapping[str, int]) -> Known:
    counts = {Modality(modality): count for modality, count in features.items()}
    return Known(fingerprint, frozenset(counts), counts)
