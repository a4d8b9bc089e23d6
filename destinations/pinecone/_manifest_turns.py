"""Who writes: one process at a time, where two would overwrite each other's records without knowing."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

from ._manifest_tables import ManifestTables

__all__ = ["take_turn"]

_LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtextextended(:what, 0))")


def take_turn(connection: Connection, tables: ManifestTables, what: str) -> None:
    """Wait until nobody else has the turn, and keep it until the transaction ends."""
    connection.execute(_LOCK, {"what": f"vectorferry manifest {tables.ledger.fullname} {what}"})
