"""Advisory locks, each on a place that some words name: one recipe for all.

A lock belongs to a transaction, so that Postgres gives it up when its holder dies. Behind a transaction pooler a
session's lock would be left with whichever connection was used for it; a transaction's stays with its owner.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from psycopg import sql
from sqlalchemy import Connection, text

from vectorferry.connector.plugin import LockedError, canonical_json, pause
from vectorferry.destinations._postgres._database import Database, driver_of

_PAUSE: Final = 0.1
_LOCK: Final = text("SELECT pg_advisory_xact_lock(:key)")
_TRY: Final = text("SELECT pg_try_advisory_xact_lock(:key)")
_SHARE: Final = text("SELECT pg_advisory_xact_lock_shared(:key)")
_HOLDER: Final = text(
    "SELECT a.pid, a.application_name, a.state_change AT TIME ZONE 'UTC' "
    "FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
    "WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.classid = :high AND l.objid = :low "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_SETTINGS: Final = (
    "SET LOCAL tcp_keepalives_idle = 30; SET LOCAL tcp_keepalives_interval = 10; SET LOCAL tcp_keepalives_count = 3; "
    "SET LOCAL application_name = {}"
)
"""The server notices within a minute when the lock's owner's machine has vanished without a word."""


def lock(connection: Connection, *place: str) -> None:
    """Wait until nobody else has this lock, and hold it until the transaction ends."""
    connection.execute(_LOCK, {"key": _key(place)})


def lock_ddl(connection: Connection, schema: str) -> None:
    """Let nobody else make or change tables in this schema until the transaction ends."""
    lock(connection, "ddl", schema)


def try_lock(connection: Connection, *place: str) -> bool:
    """Hold this lock until the transaction ends, unless somebody else holds it, or a share in it."""
    return bool(connection.execute(_TRY, {"key": _key(place)}).scalar_one())


@contextmanager
def collection_lock(database: Database, place: Sequence[str], wait: float) -> Iterator[None]:
    """Hold a lock on what `place` names (schema, collection, …) in this database until the block ends, and a share in
    one on all that it is part of.

    Raises `LockedError` when somebody else still holds it after `wait` seconds.
    """
    with database.lone_transaction() as connection:
        _acquire(connection, place, time.monotonic() + wait)
        connection.execute(_SHARE, {"key": _key(place[:-1])})
        _settle(connection, database.application_name)
        yield


def _acquire(connection: Connection, place: Sequence[str], deadline: float) -> None:
    """By asking again and again: a statement that waits has a snapshot, and an index that is being built waits for it
    to end."""
    while not try_lock(connection, *place):
        if time.monotonic() >= deadline:
            raise LockedError(f"another sync is writing {place[-1]} ({_holder(connection, _key(place))}).")
        pause(_PAUSE)


def _settle(connection: Connection, application_name: str) -> None:
    """Last, because it leaves no snapshot behind, as a query does: an index build would wait for that."""
    process = sql.Literal(f"{application_name}, process {os.getpid()} on {socket.gethostname()}"[:63])
    driver_of(connection).execute(sql.SQL(_SETTINGS).format(process))


def _holder(connection: Connection, key: int) -> str:
    """Who has it. Of a process of another user, a server tells the number only."""
    unsigned = key % 2**64
    row = connection.execute(_HOLDER, {"high": unsigned >> 32, "low": unsigned % 2**32}).one_or_none()
    if row is None:
        return "which has just ended"
    pid, name, since = row
    described = f"{name}, since {since:%Y-%m-%d %H:%M:%S} UTC, " if since else ""
    return f"{described}process {pid} of the server"


def _key(place: Sequence[str]) -> int:
    digest = hashlib.blake2b(canonical_json(["vectorferry", *place]), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
