"""Records that could not be loaded, each with its reason, beside the data they are missing from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, Table, and_, collate, delete, func, insert, or_, select

from connector import MODALITIES, Batch, Reason, Rejected

from ._tables import of_assets

__all__ = ["count_rejected", "delete_rejected", "read_rejected", "replace_rejected", "unread_assets"]

_COLUMNS: Final = ("collection", "asset_id", "feature_id", "modality", "reason", "detail")

_ROWS_AT_ONCE: Final = 1_000
_MAX_LENGTH: Final = 1_000
"""Ids and details are kept to recognise a record by, and may be anything: a bad id is one of the reasons."""


def replace_rejected(connection: Connection, quarantine: Table, batch: Batch, rejected: Sequence[Rejected]) -> None:
    """What is known to be wrong with a batch's assets now takes the place of what was known before.

    Records of modalities that the batch was not about stay. Nothing is written when nothing is different.
    """
    of_batch = _of_batch(quarantine, batch)
    wanted = [_row(batch.collection, each) for each in rejected]
    held = connection.execute(select(*(quarantine.c[name] for name in _COLUMNS)).where(of_batch)).mappings()
    if _sorted(map(dict, held)) == _sorted(wanted):
        return
    connection.execute(delete(quarantine).where(of_batch))
    if wanted:
        connection.execute(insert(quarantine), wanted)


def count_rejected(connection: Connection, quarantine: Table, collection: str | None = None) -> int:
    """Records in quarantine, of one collection or of all."""
    statement = select(func.count()).select_from(quarantine)
    if collection is not None:
        statement = statement.where(quarantine.c.collection == collection)
    return connection.execute(statement).scalar_one()


def read_rejected(
    connection: Connection, quarantine: Table, collection: str | None = None
) -> Iterator[tuple[str, Rejected, datetime]]:
    """Records of one collection or of all, each with its collection and when it was written, from a server-side
    cursor; sorted by collection, asset and feature, byte by byte."""
    columns = [quarantine.c[name] for name in (*_COLUMNS, "seen_at")]
    statement = select(*columns).order_by(*(collate(column, "C") for column in columns[: len(_COLUMNS)]))
    if collection is not None:
        statement = statement.where(quarantine.c.collection == collection)
    for name, asset_id, feature_id, modality, reason, detail, seen_at in connection.execution_options(
        yield_per=_ROWS_AT_ONCE
    ).execute(statement):
        yield name, Rejected(asset_id, Reason(reason), detail, feature_id, modality), seen_at


def delete_rejected(
    connection: Connection, quarantine: Table, collection: str, asset_ids: Sequence[str], reason: Reason | None
) -> int:
    """Delete the records of some assets, all or those of one reason; how many there were."""
    statement = delete(quarantine).where(of_assets(quarantine, collection, asset_ids))
    if reason is not None:
        statement = statement.where(quarantine.c.reason == reason.value)
    return connection.execute(statement).rowcount


def unread_assets(batch: Batch) -> list[str]:
    """The assets that a batch only rejects, but for ids that no table can hold."""
    unread = {each.asset_id for each in batch.rejected} - {asset.asset_id for asset in batch.assets}
    return sorted(asset_id for asset_id in unread if _storable(asset_id) == asset_id)


def _of_batch(quarantine: Table, batch: Batch) -> ColumnElement[bool]:
    asset_ids = [asset.asset_id for asset in batch.assets] + [_storable(each.asset_id) for each in batch.rejected]
    others = [modality.value for modality in MODALITIES if modality not in batch.modalities]
    return and_(
        of_assets(quarantine, batch.collection, asset_ids),
        or_(quarantine.c.modality.not_in(others), quarantine.c.feature_id == ""),
    )


def _sorted(rows: Iterable[dict[str, str]]) -> list[list[str]]:
    return sorted([row[name] for name in _COLUMNS] for row in rows)


def _row(collection: str, rejected: Rejected) -> dict[str, str]:
    return {
        "collection": collection,
        "asset_id": _storable(rejected.asset_id),
        "feature_id": _storable(rejected.feature_id),
        "modality": _storable(rejected.modality),
        "reason": rejected.reason.value,
        "detail": _storable(rejected.detail),
    }


def _storable(value: str) -> str:
    """Text that Postgres takes, whatever it was."""
    clean = value.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    return clean[:_MAX_LENGTH]
