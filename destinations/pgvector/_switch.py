"""The end of a filling: the plain view and function of a named vector go over to the newer generation at once."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final

import psycopg
from sqlalchemy import Connection, exists, select, text
from sqlalchemy.exc import OperationalError

from vectorferry.connector import MODALITIES, ConfigurationError, Modality

from .._postgres import lock_ddl, try_alone
from ._catalogue import VectorEntry
from ._indexes import is_built
from ._superseded import is_not_superseded, is_of_shown_feature
from ._tables import SyncSchema

__all__ = ["switch_views"]

# While this waits for somebody's long query of a view, everybody else who asks that view waits behind it.
_PATIENCE: Final = text("SET LOCAL lock_timeout = '3s'")

_log = logging.getLogger("vectorferry")


def switch_views(schema: SyncSchema) -> None:
    """Let each plain view show the newer generation that has superseded all of the one that it shows.

    Nothing happens while another sync writes into the schema: the last one of them switches. What somebody has built
    upon a view, and a query of it that does not end, put the switch off to the next run, with a warning.
    """
    for modality, vector_name in _with_several(schema):
        try:
            with schema.database.transaction() as connection:
                _switch(connection, schema, modality, vector_name)
        except (ConfigurationError, OperationalError, psycopg.errors.LockNotAvailable) as error:
            _warn(modality, vector_name, error)
            with schema.database.transaction() as connection:
                schema.read_again(connection)


def _with_several(schema: SyncSchema) -> list[tuple[Modality, str]]:
    return [
        (modality, vector_name)
        for modality in MODALITIES
        for vector_name, generations in schema.catalogue.named(modality).items()
        if sum(entry.state != "retired" for entry in generations) > 1
    ]


def _switch(connection: Connection, schema: SyncSchema, modality: Modality, vector_name: str) -> None:
    if not try_alone(connection, schema.place):
        return
    connection.execute(_PATIENCE)
    lock_ddl(connection, schema.name)
    schema.read_again(connection)
    shown, *later = schema.catalogue.live_generations(modality, vector_name)
    if _has_values(connection, schema, shown):
        return
    target = next((entry for entry in later if _has_values(connection, schema, entry)), None)
    if target is None or not _is_ready(connection, schema, target):
        return
    for entry in (shown, *later[: later.index(target)]):
        schema.update_entry(connection, replace(entry, state="retired", sql_digest=""))
    schema.update_entry(connection, replace(target, state="current"))
    schema.read_again(connection)
    schema.refresh_layers(connection, modality, vector_name)


def _has_values(connection: Connection, schema: SyncSchema, entry: VectorEntry) -> bool:
    """Whether a row of it is still the value of a feature."""
    rows = schema.vector_table(entry)
    values = select(rows).where(is_of_shown_feature(schema, entry, rows), is_not_superseded(schema, entry, rows))
    return bool(connection.execute(select(exists(values))).scalar())


def _is_ready(connection: Connection, schema: SyncSchema, entry: VectorEntry) -> bool:
    """Whether nobody who asks has to do without its index."""
    return entry.layout.index == "none" or is_built(connection, schema.name, entry)


def _warn(modality: Modality, vector_name: str, error: Exception) -> None:
    cause = getattr(error, "orig", error)
    if not isinstance(cause, ConfigurationError | psycopg.errors.LockNotAvailable):
        raise error
    why = cause if isinstance(cause, ConfigurationError) else "somebody's query of its view did not end"
    _log.warning("%s of %s has another dimension now, but is still shown as it was: %s", vector_name, modality, why)
