"""Records that could not be loaded, each with its reason, beside the data they are missing from."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Table, and_, collate, delete, func, insert, or_, select

from vectorferry.connector import MODALITIES, Batch, DestinationError, Reason, Rejected

from ._ddl import lacking_columns
from ._tables import of_assets, quarantined_parts

__all__ = [
    "count_rejected",
    "delete_rejected",
    "is_storable",
    "mark_kept",
    "read_rejected",
    "replace_rejected",
    "unread_assets",
]

_NAMES: Final = ("collection", "asset_id", "feature_id", "vector_name", "column_name", "modality", "reason", "detail")
_COLUMNS: Final = (*_NAMES, "kept")

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
    cursor; sorted by collection, asset, feature, vector and column, byte by byte.

    Raises `DestinationError` for a quarantine that an earlier version has made."""
    if lacking_columns(connection, quarantined_parts(quarantine)):
        raise DestinationError(
            f"the quarantine {quarantine.fullname} was made by an earlier version of Vectorferry, and does not say "
            "which vector or column a record is about. Run `vectorferry sync` once: it adds what is missing."
        )
    columns = [quarantine.c[name] for name in (*_COLUMNS, "seen_at")]
    statement = select(*columns).order_by(*(collate(quarantine.c[name], "C") for name in _NAMES))
    if collection is not None:
        statement = statement.where(quarantine.c.collection == collection)
    for row in connection.execution_options(yield_per=_ROWS_AT_ONCE).execute(statement):
        yield row.collection, _record(row), row.seen_at


def delete_rejected(
    connection: Connection, quarantine: Table, collection: str, asset_ids: Sequence[str], reason: Reason | None
) -> int:
    """Delete the records of some assets, all or those of one reason; how many there were."""
    statement = delete(quarantine).where(of_assets(quarantine, collection, asset_ids))
    if reason is not None:
        statement = statement.where(quarantine.c.reason == reason.value)
    return connection.execute(statement).rowcount


def mark_kept(batch: Batch, stored: Container[str]) -> Batch:
    """The batch, with its rejected assets marked of which an earlier version is stored."""
    if not batch.rejected:
        return batch
    unread = {*unread_assets(batch)}
    rejected = (replace(one, kept=one.asset_id in unread and one.asset_id in stored) for one in batch.rejected)
    return replace(batch, rejected=tuple(rejected))


def unread_assets(batch: Batch) -> list[str]:
    """The assets that a batch only rejects, but for ids that no table can hold."""
    unread = {each.asset_id for each in batch.rejected} - {asset.asset_id for asset in batch.assets}
    return sorted(filter(is_storable, unread))


def is_storable(value: str) -> bool:
    """Whether Postgres takes this text as it is, and the quarantine all of it."""
    return _storable(value) == value


def _of_batch(quarantine: Table, batch: Batch) -> ColumnElement[bool]:
    asset_ids = [asset.asset_id for asset in batch.assets] + [_storable(each.asset_id) for each in batch.rejected]
    others = [modality.value for modality in MODALITIES if modality not in batch.modalities]
    return and_(
        of_assets(quarantine, batch.collection, asset_ids),
        or_(quarantine.c.modality.not_in(others), quarantine.c.feature_id == ""),
    )


def _sorted(rows: Iterable[dict[str, Any]]) -> list[list[Any]]:
    return sorted([row[name] for name in _COLUMNS] for row in rows)


def _record(row: Any) -> Rejected:
    return Rejected(
        asset_id=row.asset_id,
        reason=Reason(row.reason),
        detail=row.detail,
        feature_id=row.feature_id,
        modality=row.modality,
        vector_name=row.vector_name,
        column=row.column_name,
        kept=row.kept,
    )


def _row(collection: str, rejected: Rejected) -> dict[str, Any]:
    return {
        "collection": collection,
        "asset_id": _storable(rejected.asset_id),
        "feature_id": _storable(rejected.feature_id),
        "vector_name": _storable(rejected.vector_name),
        "column_name": _storable(rejected.column),
        "modality": _storable(rejected.modality),
        "reason": rejected.reason.value,
        "detail": _storable(rejected.detail),
        "kept": rejected.kept,
    }


def _storable(value: str) -> str:
    """Text that Postgres takes, whatever it was."""
    clean = value.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    return clean[:_MAX_LENGTH]
