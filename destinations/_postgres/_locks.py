"""Locks on places that some words name: one recipe for all.

Whoever may connect can take any advisory lock, and sees the keys of those that are held. So having one proves nothing
and lacking one means nothing: it is how a transaction says in public (`pg_locks`) what it wants or has, under a key
that is made at random in part, so that nobody can occupy it beforehand. A place is free when nobody *who could be a
sync of it* says otherwise: strangers are passed over. To say first and look then is what makes that safe: of two, at
least one sees the other.

A lock belongs to a transaction, so that Postgres gives it up when its holder dies. Behind a transaction pooler a
session's lock would be left with whichever connection was used for it; a transaction's stays with its owner. It gives
the transaction no number (as a row's lock would, or a table's that is made): that would hold up vacuum everywhere.

The lock on a collection is one transaction's, and what is written under it is written by others, on another connection:
the first may be ended, by a restart, a pool or an administrator, without the others' knowing. So each of these says
first that it shares the place, and looks then whether the lock is still there; one that does not find it can only read
(`locked_transaction`). Whoever gets the lock next waits for those that did: between look and commit there is no gap.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, Protocol

import psycopg
from psycopg import sql
from psycopg.rows import namedtuple_row
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from vectorferry.connector.plugin import LockedError, LockLostError, canonical_json, pause
from vectorferry.destinations._postgres._blockers import SEE_ANEW, described
from vectorferry.destinations._postgres._connection import together
from vectorferry.destinations._postgres._database import Database, Driver, driver_of
from vectorferry.destinations._postgres._errors import server_phrase

_PAUSE: Final = 0.05

_PATIENCE = 600.0
"""Seconds for what other syncs do to tables, or write to Pinecone: a column that is cast rewrites its table."""

_PATIENCE_IN_RACE: Final = 5.0
"""Seconds for another one that has only said what it wants: it takes three messages to have it, or to leave."""

_RANDOM_BITS: Final = 16
"""More keys than a server's table of locks has room for."""
_STATE_BITS: Final = 2
_LOW_BITS: Final = _RANDOM_BITS + _STATE_BITS

_SAVEPOINT: Final = sql.SQL("SAVEPOINT lock")
_RELEASE: Final = sql.SQL("RELEASE SAVEPOINT lock")
_NO_SNAPSHOT: Final = sql.SQL("SHOW server_version")
"""Last, because it leaves no snapshot behind, as a query does: an index that is being built would wait for that."""
_SAY: Final = "SELECT pg_try_advisory_xact_lock({})"
_SAID: Final = sql.SQL("""
    SELECT l.pid, (CAST(l.classid AS bigint) << 32) | CAST(l.objid AS bigint) AS key FROM pg_locks l
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")
_LOOK: Final = sql.SQL("""
WITH RECURSIVE said AS ({said}),
-- Whoever else may write what we write is, like us, a member of the role that owns it: two such share a role.
ours(role) AS (
    SELECT oid FROM pg_roles WHERE rolname IN (current_user, session_user)
    UNION SELECT m.roleid FROM pg_auth_members m JOIN ours ON m.member = ours.role
),
peers(role) AS (
    SELECT role FROM ours JOIN pg_roles ON oid = role WHERE NOT starts_with(rolname, 'pg_')
    UNION SELECT m.member FROM pg_auth_members m JOIN peers ON m.roleid = peers.role
)
SELECT said.key & 3 AS state, a.pid, a.application_name AS name, a.state_change AT TIME ZONE 'UTC' AS since,
    pg_get_userbyid(a.usesysid) AS role, pg_backend_pid() AS own_pid
-- Of each when the locks have been read: whoever has connected and said something by then is there.
FROM said JOIN LATERAL pg_stat_get_activity(said.pid) a ON TRUE
WHERE said.key >> {bits} = {place} AND said.pid <> pg_backend_pid()
AND (a.usesysid IN (SELECT role FROM peers) OR a.usesysid IN (SELECT oid FROM pg_roles WHERE rolsuper))
ORDER BY state DESC, a.pid
""")
"""What other syncs say of a place: first who has it, then who shares it, then who wants it, by process."""
_OWN: Final = sql.SQL(
    "SELECT key, pid FROM ({said}) AS said "
    "WHERE pid = pg_backend_pid() AND key >> {bits} = {place} AND key & 3 = {state}"
)
_SHARE: Final = sql.SQL(
    "(SELECT TRUE FROM generate_series(1, 64) "
    "WHERE pg_try_advisory_xact_lock({lowest} | (CAST(floor(random() * {keys}) AS bigint) << {bits})) LIMIT 1)"
)
"""Says it under a key that the server makes: nobody waits to hear whether one was free. Null when none was."""
_IS_THERE: Final = sql.SQL("EXISTS (SELECT FROM ({said}) AS said WHERE pid = {pid} AND key = {key})")
_READ_ONLY_UNLESS: Final = sql.SQL("SELECT set_config('transaction_read_only', 'on', true) WHERE NOT {}")

_KEEPALIVES: Final = (
    sql.SQL("SET LOCAL tcp_keepalives_idle = 30"),
    sql.SQL("SET LOCAL tcp_keepalives_interval = 10"),
    sql.SQL("SET LOCAL tcp_keepalives_count = 3"),
)
"""The server notices within a minute when the lock's owner's machine has vanished without a word."""


class _State(IntEnum):
    """What a transaction says of itself and a place."""

    WANTS = 0
    SHARES = 1
    HAS = 2


class BeginTransaction(Protocol):
    """Begins a transaction."""

    def __call__(self, *, also: Sequence[str] = ()) -> AbstractContextManager[Connection]:
        """One whose beginning has these statements `also`."""


@dataclass(frozen=True, slots=True)
class CollectionLock:
    """The lock that a transaction of this process has on a place, until that ends or is ended."""

    place: tuple[str, ...]
    key: int
    pid: int

    def conditions(self) -> list[str]:
        """What a transaction begins with that is to write only while this lock is there: say first, look then."""
        shares = sql.SQL(" AND ").join(map(_share, (self.place, self.place[:-1])))
        said = sql.SQL("COALESCE({}, FALSE)").format(shares)
        return [_READ_ONLY_UNLESS.format(condition).as_string() for condition in (said, self._is_there)]

    def is_there(self, connection: Connection) -> bool:
        """Whether it still is."""
        return bool(connection.exec_driver_sql(f"SELECT {self._is_there.as_string()}").scalar_one())

    @property
    def _is_there(self) -> sql.Composed:
        return _IS_THERE.format(said=_SAID, pid=sql.Literal(self.pid), key=sql.Literal(self.key))


@contextmanager
def locked_transaction(begin: BeginTransaction, lock: CollectionLock | None, location: str) -> Iterator[Connection]:
    """A transaction that can write only while this lock is there. Without one, like any other.

    Raises `LockLostError` when it was to write, and the lock is gone."""
    try:
        with begin(also=lock.conditions() if lock else ()) as connection:
            yield connection
    except (DBAPIError, psycopg.Error) as error:
        if lock is None or not _is_read_only(error):
            raise
        with begin() as connection:
            is_there = lock.is_there(connection)
        if is_there:
            raise
        raise LockLostError(_lost(lock.place[-1], location)) from error


def _share(place: Sequence[str]) -> sql.Composed:
    lowest = sql.Literal(_place_number(place) << _LOW_BITS | _State.SHARES)
    return _SHARE.format(lowest=lowest, keys=sql.Literal(1 << _RANDOM_BITS), bits=sql.Literal(_STATE_BITS))


def _is_read_only(error: BaseException) -> bool:
    return isinstance(getattr(error, "orig", error), psycopg.errors.ReadOnlySqlTransaction)


def _lost(collection: str, location: str) -> str:
    return (
        f"{collection}: the lock that keeps other syncs out is gone: its connection to {server_phrase(location)} has "
        "ended, by a restart, a failover, an administrator, or a pool's limit on how long clients are idle. Nothing "
        "was written since; run again, and it goes on from what is there."
    )


def lock(connection: Connection, *place: str) -> None:
    """Wait until no other sync has this lock, and hold it until the transaction ends. Raises `LockedError`, which says
    who has it, when that takes ten minutes."""
    _wait_for(connection, place, time.monotonic() + _PATIENCE)
    _say(driver_of(connection), (place, _State.HAS), before=[_RELEASE])


def lock_ddl(connection: Connection, schema: str) -> None:
    """Let no other sync make or change tables in this schema until the transaction ends."""
    lock(connection, "ddl", schema)


def try_lock(connection: Connection, *place: str) -> bool:
    """Hold this lock until the transaction ends, unless another sync holds it, or a share in it."""
    if _blocker(connection, place) is not None:
        return False
    _say(driver_of(connection), (place, _State.HAS), before=[_RELEASE], after=[_NO_SNAPSHOT])
    return True


@contextmanager
def collection_lock(database: Database, place: tuple[str, ...], wait: float) -> Iterator[CollectionLock]:
    """Hold a lock on what `place` names (schema, collection, …) in this database until the block ends, and a share in
    one on all that it is part of. Where its connection is lost, nobody is told but a `locked_transaction`.

    Raises `LockedError` when somebody else still holds it after `wait` seconds.
    """
    with database.lone_transaction() as connection:
        _wait_for(connection, place, time.monotonic() + wait)
        key, pid = _have_and_share(connection, place, database.application_name)
        yield CollectionLock(place, key, pid)


def _wait_for(connection: Connection, place: Sequence[str], deadline: float) -> None:
    """By asking again and again: a statement that waits has a snapshot, and an index that is being built waits for it
    to end."""
    while (blocker := _blocker(connection, place)) is not None:
        if time.monotonic() >= deadline:
            raise LockedError(f"another sync is writing {place[-1]} ({described(blocker)}).")
        pause(_PAUSE)


def _blocker(connection: Connection, place: Sequence[str]) -> Any | None:
    """None when the lock is wanted by nobody else, and may be taken; else who has it, or a share in it, or is about to
    have it."""
    deadline = time.monotonic() + _PATIENCE_IN_RACE
    driver = driver_of(connection)
    others, *_ = _say(driver, (place, _State.WANTS), before=[_SAVEPOINT], look=place)
    while others:
        first = others[0]
        # Of several that only want it, the one with the lowest number waits until the others have left.
        if first.state != _State.WANTS or first.pid < first.own_pid or time.monotonic() >= deadline:
            _answers(driver, sql.SQL("ROLLBACK TO SAVEPOINT lock"), _RELEASE)
            return first
        pause(_PAUSE)
        others, *_ = _say(driver, look=place)
    return None


def _have_and_share(connection: Connection, place: Sequence[str], application_name: str) -> tuple[int, int]:
    """Take a lock that nobody else wants, and a share; the lock's key and process. Nobody takes a place that somebody
    shares, so that only those who came before are waited for."""
    deadline = time.monotonic() + _PATIENCE
    driver, whole = driver_of(connection), place[:-1]
    process = sql.Literal(f"{application_name}, process {os.getpid()} on {socket.gethostname()}"[:63])
    # Last, because it leaves no snapshot behind, as a query does: an index build would wait for that.
    naming = sql.SQL("SET LOCAL application_name = {}").format(process)
    after: list[sql.SQL | sql.Composed] = [_statement_to_see_own(place), *_KEEPALIVES, naming]
    sayings = (place, _State.HAS), (whole, _State.SHARES)
    others, had, *_ = _say(driver, *sayings, before=[_RELEASE], look=whole, after=after)
    while others := [other for other in others if other.state != _State.SHARES]:
        if time.monotonic() >= deadline:
            raise LockedError(f"another process is changing {whole[-1]} ({described(others[0])}).")
        pause(_PAUSE)
        others, had, *_ = _say(driver, look=whole, after=after)
    ((key, pid),) = had
    return int(key), int(pid)


# What is said and what is looked at after it goes together: each costs a sync the way to its server and back.


def _say(
    driver: Driver,
    *sayings: tuple[Sequence[str], _State],
    before: Sequence[sql.SQL | sql.Composed] = (),
    look: Sequence[str] | None = None,
    after: Sequence[sql.SQL | sql.Composed] = (),
) -> list[list[Any]]:
    """Say all of it, and then look what others say of a place: that, and what is answered `after` it."""
    to_say = [_statement_to_say(*each) for each in sayings]
    to_look: list[sql.SQL | sql.Composed] = [] if look is None else [SEE_ANEW, _statement_to_look(look)]
    answers = _answers(driver, *before, *to_say, *to_look, *after)[len(before) :]
    unsaid = [each for each, ((is_said,),) in zip(sayings, answers, strict=False) if not is_said]
    if unsaid:
        return _say(driver, *unsaid, look=look, after=after)
    return answers[len(sayings) + 1 :] if to_look else []


def _statement_to_say(place: Sequence[str], state: _State) -> sql.Composed:
    """Under a key of our own. It answers no where somebody has that by chance, or by guessing: then another one."""
    key = _place_number(place) << _LOW_BITS | secrets.randbits(_RANDOM_BITS) << _STATE_BITS | state
    return sql.SQL(_SAY).format(sql.Literal(key))


def _statement_to_look(place: Sequence[str]) -> sql.Composed:
    return _LOOK.format(said=_SAID, bits=sql.Literal(_LOW_BITS), place=sql.Literal(_place_number(place)))


def _statement_to_see_own(place: Sequence[str]) -> sql.Composed:
    bits, number = sql.Literal(_LOW_BITS), sql.Literal(_place_number(place))
    return _OWN.format(said=_SAID, bits=bits, place=number, state=sql.Literal(_State.HAS))


def _answers(driver: Driver, *statements: sql.SQL | sql.Composed) -> list[list[Any]]:
    """The rows of each of them."""
    with together(driver):
        cursors = [driver.cursor(row_factory=namedtuple_row).execute(each) for each in statements]
    return [cursor.fetchall() if cursor.description else [] for cursor in cursors]


def _place_number(place: Sequence[str]) -> int:
    """46 bits, with a sign as Postgres' own integers have one."""
    digest = hashlib.blake2b(canonical_json(["vectorferry", *place]), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True) >> _LOW_BITS
