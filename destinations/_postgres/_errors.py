"""Database errors, turned into ours: what happened, in Postgres' words, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
import sqlalchemy.exc

from vectorferry.connector.plugin import DestinationError, RetryableError, VectorferryError
from vectorferry.destinations._postgres._session import NEEDED

_RETRYABLE_STATES: Final = frozenset(
    {
        "40001",  # serialization_failure
        "40P01",  # deadlock_detected
        "23505",  # unique_violation: another writer inserted the same keys after we looked
        "55P03",  # lock_not_available
        "25P03",  # idle_in_transaction_session_timeout
        "57P01",  # admin_shutdown
        "57P02",  # crash_shutdown
        "57P03",  # cannot_connect_now
    }
)
_REFUSING_STATES: Final = frozenset(
    {
        "54000",  # program_limit_exceeded: an index entry or a tsvector that is too large
        "54001",  # statement_too_complex: JSON that is nested too deeply
        "P0001",  # raise_exception, in a trigger
    }
)
_REFUSING_CLASSES: Final = ("22", "23")  # data exception, integrity constraint violation
_DISK_FULL: Final = "The server's disk is full. Free space and run again; nothing of the last batch was kept."
_NO_ROOM: Final = ("No space left on device", "File too large", "Disk quota exceeded")
"""Of the operating system, where a disk, a quota or a limit ends a file. Postgres has no SQLSTATE for the last two, nor
for what it says before it has let anybody in."""

_LOCKS_SETTING: Final = "max_locks_per_transaction"
"""In a hint of Postgres', in whatever language it speaks: its table of locks is full. It calls that, too, no memory."""
_NO_ROOM_FOR_LOCKS: Final = (
    f"The server's table of locks is full. Raise {_LOCKS_SETTING}, or end what has many of them."
)

_FIXES: Final = {
    "42501": "`vectorferry plan` names what a sync's user lacks. One who only reads needs USAGE on the schema, and "
    "SELECT on what is in it.",
    "42P01": "Where somebody has dropped a table of a sync, `vectorferry sync` makes it again, and reads what was in "
    "it anew.",
    "42P22": "Where somebody has changed the collation of a column, `vectorferry sync` gives it back.",
    "53100": _DISK_FULL,
    "53200": "The server is out of memory. Lower maintenance_work_mem or `batch.rows` and run again.",
    "57014": "Somebody, or the `options` of the `url`, ended the statement.",
    "25006": "The server is read-only (a replica?). Use the primary's address.",
}

_PASSING: Final = "the database system is "
"""What it says while it is starting up, shutting down, in recovery mode, or not yet accepting connections."""

_WITH_TLS: Final = "Put sslmode=verify-full into the `url`, and its authority's certificate: sslrootcert=FILE."

_CONNECTION_FIXES: Final = {
    _PASSING: "Wait until it takes connections, and run again.",
    "query_wait_timeout": f"The pool in between had no connection to give in time. {NEEDED}",
    "server closed the connection": "Check that the server runs: its log, or that of a pool in between, says why. A "
    "pool has to leave a connection with us for a whole transaction (PgBouncer: pool_mode = transaction, or session).",
    "max_client_conn": "The pool in between takes no more clients: raise PgBouncer's max_client_conn.",
    "unsupported startup parameter": "The pool in between does not take a parameter of the `url`. Leave it out, or "
    "name it in PgBouncer's ignore_startup_parameters.",
    "password authentication failed": "Check user and password in the destination's `url`.",
    "no password supplied": "Put the password into the destination's `url`: postgresql://user:password@host/database.",
    # What OpenSSL says further, that it has expired or who has signed it, libpq keeps to itself.
    "certificate verify failed": "The server's certificate has expired, or is none of the authority that `sslrootcert` "
    "in the `url` names. Have it renewed, or name the authority that has signed it.",
    "does not match host name": "In the `url`, use a host name that the server's certificate is for.",
    "root certificate file": "Name the authority's certificate in the `url`: sslrootcert=FILE, or sslrootcert=system "
    "for those that this machine trusts.",
    "server does not support SSL": "Have the server, or the pool in between, take TLS. Where nobody can listen in, put "
    "sslmode=disable into the `url`.",
    "SSL required": f"The pool in between takes nobody without TLS. {_WITH_TLS}",
    "no encryption": f"The server's pg_hba.conf does not let this user in from here, or not without TLS. {_WITH_TLS}",
    "valid client certificate": "Put sslcert=FILE and sslkey=FILE into the `url`, of a certificate for this user.",
    "invalid sslmode value": "Put one of disable, allow, prefer, require, verify-ca and verify-full into the `url`.",
    "pg_hba.conf": "The server's pg_hba.conf does not let this user in from here.",
    "does not exist": "Create it, or correct the destination's `url`.",
    "out of shared memory": _NO_ROOM_FOR_LOCKS,
    "too many clients": "The server has no free connection. Close some, or raise max_connections.",
    "remaining connection slots": "The server has no free connection. Close some, or raise max_connections.",
    "too many connections for": "End some of them, or raise the limit: ALTER ROLE (or DATABASE) … CONNECTION LIMIT …",
    "not permitted to log in": "Let it, as an administrator: ALTER ROLE … LOGIN",
    "permission denied for database": "Let this user in, as its owner: GRANT CONNECT ON DATABASE … TO …",
    "not currently accepting connections": "Let users in again: ALTER DATABASE … ALLOW_CONNECTIONS on",
}
"""By words: psycopg knows no SQLSTATE for a connection that was never made."""

_SECONDS_TO_RESTART: Final = 5.0
_UNREACHABLE: Final = (
    "Check that the server runs and that the destination's `url` is right; "
    "without a `url`, an embedded Postgres is used."
)


@contextmanager
def translated(
    location: str,
    answered: Callable[[], bool] = lambda: False,
    clean: Callable[[str], str] = str,
    last_words: Callable[[], str] = str,
) -> Iterator[None]:
    """Let no database error out raw.

    `location` says which server, without secrets; `answered` whether it has answered before: then one that does not
    is being restarted, and worth waiting for. `clean` takes out of its words what must not be told, and `last_words`
    are what it wrote into its log, where that can be read.
    """
    try:
        yield
    except VectorferryError:
        raise
    except (psycopg.Error, sqlalchemy.exc.SQLAlchemyError) as error:
        # A traceback, in a debugging run, would have the words as they were.
        cause = error if clean(str(error)) == str(error) else None
        raise translate(error, location, answered(), clean, last_words) from cause


def refusal(error: Exception) -> str | None:
    """Postgres' words when it refused the values in a statement, and will again whoever sends them; else None."""
    cause = _cause(error)
    state: str = getattr(cause, "sqlstate", None) or ""
    if state in _RETRYABLE_STATES:
        return None
    if state in _REFUSING_STATES or state.startswith(_REFUSING_CLASSES) or isinstance(cause, psycopg.DataError):
        return _words(cause)
    return None


def translate(
    error: Exception,
    location: str,
    answered: bool = False,
    clean: Callable[[str], str] = str,
    last_words: Callable[[], str] = str,
) -> VectorferryError:
    """The error of ours that says what to do about a database error. The arguments are those of `translated`."""
    cause = _cause(error)
    state, words = getattr(cause, "sqlstate", None), clean(_words(cause))
    if (state or "").startswith("57P") and _has_no_room(said := last_words()):
        return DestinationError(f"{server_phrase(location)}: {said}\n{_DISK_FULL}")
    if state in _RETRYABLE_STATES:
        return RetryableError(f"{server_phrase(location)}: {words}")
    if (state or "").startswith("08"):
        fix = _connection_fix(words)
        return RetryableError(f"{server_phrase(location)}: {words}" + (f"\n{fix}" if fix else ""))
    if state is None and isinstance(cause, psycopg.OperationalError):
        return _no_connection(location, words, answered, last_words())
    hint = getattr(getattr(cause, "diag", None), "message_hint", None) or ""
    is_full = _DISK_FULL if _has_no_room(words) else _NO_ROOM_FOR_LOCKS if _LOCKS_SETTING in hint else None
    fix = is_full or _FIXES.get(state or "")
    return DestinationError(f"{server_phrase(location)}: {words}" + (f"\n{fix}" if fix else ""))


def _no_connection(location: str, words: str, answered: bool, last_words: str) -> VectorferryError:
    if why := next((said for said in (words, last_words) if _has_no_room(said)), None):
        return DestinationError(f"{server_phrase(location)}: {why}\n{_DISK_FULL}")
    message = f"cannot connect to {server_phrase(location)}: {words}\n{_connection_fix(words) or _UNREACHABLE}"
    is_passing = answered or _PASSING in words
    return RetryableError(message, after=_SECONDS_TO_RESTART) if is_passing else DestinationError(message)


def _connection_fix(words: str) -> str | None:
    return next((fix for part, fix in _CONNECTION_FIXES.items() if part in words), None)


def _has_no_room(words: str) -> bool:
    return any(part in words for part in _NO_ROOM)


def server_phrase(location: str) -> str:
    """An embedded one is called so already."""
    return location if "Postgres" in location else f"Postgres at {location}"


def _cause(error: Exception) -> BaseException:
    """What the driver raised."""
    return error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) and error.orig is not None else error


def _words(error: BaseException) -> str:
    """Postgres' own first line; never the statement or its parameters, which may hold data."""
    message = getattr(getattr(error, "diag", None), "message_primary", None) or str(error)
    return message.strip().splitlines()[0][:300] if message.strip() else type(error).__name__
