"""The vectors of one name: written and removed in all their generations, counted as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection

from vectorferry.connector import Counts

from .._postgres import WantedRows, delete_assets, delete_keys, held_hashes, send
from ._catalogue import VectorEntry
from ._generations import HeldHashes, count_values, diff_generations, values_of
from ._rows import BatchRows
from ._tables import SyncSchema
from ._wire import VECTOR_DUMPERS

__all__ = ["remove_vectors", "write_vectors"]

_NONE: Final[WantedRows] = {}


def write_vectors(
    connection: Connection,
    schema: SyncSchema,
    collection: str,
    asset_ids: Sequence[str],
    generations: Sequence[VectorEntry],
    rows: BatchRows,
) -> Counts:
    """Bring the tables of a named vector to what a batch wants in them, the oldest first."""
    wanted = [rows.vectors.get(entry.key, _NONE) for entry in generations]
    held = [_trusted(connection, schema, collection, asset_ids, entry) for entry in generations]
    for entry, diff in zip(generations, diff_generations(generations, wanted, held), strict=True):
        send(connection, schema.vector_table(entry), diff, VECTOR_DUMPERS)
        delete_keys(connection, schema.vector_table(entry), collection, diff.delete)
    return count_values(generations, wanted, held)


def remove_vectors(
    connection: Connection,
    schema: SyncSchema,
    collection: str,
    asset_ids: Sequence[str],
    generations: Sequence[VectorEntry],
) -> Counts:
    """Remove every vector of some assets."""
    held: list[HeldHashes] = []
    if len(generations) > 1:
        held = [_held(connection, schema, collection, asset_ids, entry) for entry in generations]
    deleted = [delete_assets(connection, schema.vector_table(entry), collection, asset_ids) for entry in generations]
    return Counts(deleted=len(values_of(generations, held)) if held else sum(deleted))


def _trusted(
    connection: Connection, schema: SyncSchema, collection: str, asset_ids: Sequence[str], entry: VectorEntry
) -> HeldHashes:
    held = _held(connection, schema, collection, asset_ids, entry)
    return schema.distrusted.blanked(collection, entry.modality, entry.vector_name, held)


def _held(
    connection: Connection, schema: SyncSchema, collection: str, asset_ids: Sequence[str], entry: VectorEntry
) -> HeldHashes:
    return held_hashes(connection, schema.vector_table(entry), "vector_hash", collection, asset_ids)
