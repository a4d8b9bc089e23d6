"""The ledger: what has been synced, written in the same transaction as the data it speaks of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import Connection, Table, case, func, select, text
from sqlalchemy.dialects.postgresql import insert

from connector import Batch, Known, Modality

__all__ = ["known_assets", "ledger_asset_ids", "record_assets"]


def known_assets(
    connection: Connection, ledger: Table, collection: str, asset_ids: Sequence[str]
) -> Mapping[str, Known]:
    """The ledger's entries for those of these assets that it has."""
    rows = connection.execute(
        select(ledger.c.asset_id, ledger.c.fingerprint, ledger.c.features).where(
            ledger.c.collection == collection, ledger.c.asset_id == text("ANY(:asset_ids)")
        ),
        {"asset_ids": list(asset_ids)},
    )
    return {asset_id: _known(fingerprint, features) for asset_id, fingerprint, features in rows}


def ledger_asset_ids(connection: Connection, ledger: Table, collection: str) -> Iterator[str]:
    """Every asset id of a collection, from a server-side cursor."""
    statement = select(ledger.c.asset_id).where(ledger.c.collection == collection)
    yield from connection.execution_options(yield_per=10_000).execute(statement).scalars()


def record_assets(
    connection: Connection, ledger: Table, batch: Batch, per_asset: Mapping[str, Mapping[str, int]]
) -> None:
    """Record fingerprints. Modalities synced earlier under the same fingerprint stay recorded."""
    if not batch.assets:
        return
    statement = insert(ledger)
    same = ledger.c.fingerprint == statement.excluded.fingerprint
    merged = ledger.c.features.op("||")(statement.excluded.features)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["collection", "asset_id"],
            set_={
                "fingerprint": statement.excluded.fingerprint,
                "features": case((same, merged), else_=statement.excluded.features),
                "synced_at": func.now(),
            },
        ),
        [
            {
                "collection": batch.collection,
                "asset_id": asset.asset_id,
                "fingerprint": asset.fingerprint,
                "features": dict(per_asset[asset.asset_id]),
            }
            for asset in sorted(batch.assets, key=lambda asset: asset.asset_id)
        ],
    )


def _known(fingerprint: str, features: Mapping[str, int]) -> Known:
    counts = {Modality(modality): count for modality, count in features.items()}
    return Known(fingerprint, frozenset(counts), counts)
