"""Records that could not be loaded, each with its reason, beside the data they are missing from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, Table, delete, func, insert, or_, select, text

from connector import Batch, Rejected

__all__ = ["count_rejected", "replace_rejected"]

_MAX_LENGTH: Final = 1_000
"""Ids and details are kept to recognise a record by, and may be anything: a bad id is one of the reasons."""


def replace_rejected(connection: Connection, quarantine: Table, batch: Batch, rejected: Sequence[Rejected]) -> None:
    """What is known to be wrong with a batch's assets now takes the place of what was known before."""
    asset_ids = [asset.asset_id for asset in batch.assets] + [_storable(each.asset_id) for each in batch.rejected]
    modalities = sorted(modality.value for modality in batch.modalities)
    connection.execute(
        delete(quarantine).where(
            quarantine.c.collection == batch.collection,
            quarantine.c.asset_id == text("ANY(:asset_ids)"),
            or_(quarantine.c.modality == text("ANY(:modalities)"), quarantine.c.feature_id == ""),
        ),
        {"asset_ids": asset_ids, "modalities": modalities},
    )
    if rejected:
        connection.execute(insert(quarantine), [_row(batch.collection, each) for each in rejected])


def count_rejected(connection: Connection, quarantine: Table, collection: str | None = None) -> int:
    """Records in quarantine, of one collection or of all."""
    statement = select(func.count()).select_from(quarantine)
    if collection is not None:
        statement = statement.where(quarantine.c.collection == collection)
    return connection.execute(statement).scalar_one()


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
