"""Database errors, turned into ours: what happened, in Postgres' words, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
import sqlalchemy.exc

from connector import DestinationError, RetryableError, VectorferryError

__all__ = ["translate", "translated"]

_RETRYABLE_STATES: Final = frozenset(
    {
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "23505",  # unique_violation: another writer inserted the same keys after we looked
        "55P03",  # lock_not_available
        "57P01",  # admin_shutdown
        "57P02",  # crash_shutdown
        "57P03",  # cannot_connect_now
    }
)
_FIXES: Final = {
    "42501": "Let an owner run the first sync, or give the right: GRANT CREATE ON DATABASE … TO …;",
    "53100": "The server's disk is full. Free space and run again; nothing of the last batch was kept.",
    "53200": "The server is out of memory. Lower maintenance_work_mem or `batch.rows` and run again.",
    "53300": "The server has no free connection. Close some, or raise max_connections.",
    "28P01": "Check user and password in `destinations.pgvector.url`.",
    "28000": "Check user and pg_hba.conf; the server refused this user.",
    "3D000": "Create the database, or correct its name in `destinations.pgvector.url`.",
    "25006": "The server is read-only (a replica?). Use the primary's address.",
}


@contextmanager
def translated(location: str) -> Iterator[None]:
    """Let no database error out raw. `location` says which server, without secrets."""
    try:
        yield
    except VectorferryError:
        raise
    except (psycopg.Error, sqlalchemy.exc.SQLAlchemyError) as error:
        raise translate(error, location) from error


def translate(error: Exception, location: str) -> VectorferryError:
    """The error of ours that says what to do about a database error."""
    cause = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) and error.orig is not None else error
    state = getattr(cause, "sqlstate", None)
    words = _words(cause)
    if state in _RETRYABLE_STATES or _connection_lost(cause, state):
        return RetryableError(f"Postgres at {location}: {words}")
    if state is None and isinstance(cause, psycopg.OperationalError):
        return DestinationError(_unreachable(location, words))
    fix = _FIXES.get(state or "")
    return DestinationError(f"Postgres at {location}: {words}" + (f"\n{fix}" if fix else ""))


def _words(error: BaseException) -> str:
    """Postgres' own first line; never the statement or its parameters, which may hold data."""
    message = getattr(getattr(error, "diag", None), "message_primary", None) or str(error)
    return message.strip().splitlines()[0][:300] if message.strip() else type(error).__name__


def _connection_lost(error: BaseException, state: str | None) -> bool:
    """Lost in mid-work: a failed connection attempt is not, since it needs a person."""
    if state is not None:
        return state.startswith("08")
    lost = isinstance(error, psycopg.OperationalError) and not isinstance(error, psycopg.errors.ConnectionTimeout)
    return lost and getattr(error, "pgconn", None) is None and "connection failed" not in str(error)


def _unreachable(location: str, words: str) -> str:
    return (
        f"cannot connect to Postgres at {location}: {words}\n"
        "Check that the server runs and that `destinations.pgvector.url` is right; "
        "without a `url`, an embedded Postgres is used."
    )
