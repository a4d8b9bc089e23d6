"""What every transaction of ours relies on, set by its first message, also behind a pooler."""

from __future__ import annotations

import logging
import re
import selectors
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import errors, sql
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from vectorferry.connector.plugin import DestinationError, check_cancelled

_TOLD_AFTER = 5.0
_TOLD_EVERY: Final = 30.0

_PATIENCE = 60.0
"""While this process keeps a connection itself, waiting for one more may be waiting for itself."""

_LOOKS_EVERY: Final = 0.1
"""Whether the call on this thread has been cancelled."""

NEEDED: Final = (
    "A sync needs 2 connections at a time for pgvector, and 3 for a Pinecone manifest. "
    "Give the pool more of them (PgBouncer: default_pool_size), or use the address of Postgres itself."
)

_log = logging.getLogger("vectorferry")


def execute_first(driver: psycopg.Connection[Any], statements: str, location: str, others: int) -> None:
    """Execute statements that answer with no rows, and tell every now and then that nothing has answered yet.

    `others` is how many other connections this process keeps there meanwhile, each in a transaction. Raises
    `DestinationError`, with the connection closed, when it has waited for a minute and keeps some; and what psycopg
    raises for an error of Postgres.
    """
    driver.pgconn.send_query(statements.encode())
    wait, error = _Wait(driver, location, others), None
    while (result := wait.next_result()) is not None:
        if result.status == ExecStatus.FATAL_ERROR and error is None:
            error = errors.error_from_result(result)
    if error is not None:
        raise error


class _Wait:
    """For the results of what has been sent."""

    def __init__(self, driver: psycopg.Connection[Any], location: str, others: int) -> None:
        self._driver = driver
        self._location = location
        self._others = others
        self._began = time.monotonic()
        self._tell_at = _TOLD_AFTER

    def next_result(self) -> PGresult | None:
        """The next one; None behind the last."""
        pgconn = self._driver.pgconn
        while pgconn.flush():
            self._select(selectors.EVENT_READ | selectors.EVENT_WRITE)
            pgconn.consume_input()
        while pgconn.is_busy():
            self._select(selectors.EVENT_READ)
            pgconn.consume_input()
        return pgconn.get_result()

    def _select(self, events: int) -> None:
        """Return when something has happened on the connection; raise when the call has been cancelled."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._driver.pgconn.socket, events)
            while not selector.select(min(_LOOKS_EVERY, self._seconds_left())):
                check_cancelled()
                self._tell()

    def _seconds_left(self) -> float:
        ends = min(self._tell_at, _PATIENCE) if self._others else self._tell_at
        return max(0.0, self._began + ends - time.monotonic())

    def _tell(self) -> None:
        waited = time.monotonic() - self._began
        if self._others and waited >= _PATIENCE:
            self._driver.close()
            raise DestinationError(
                f"Postgres at {self._location} gave no further connection for {waited:.0f} s, while this process keeps "
                f"{self._others}: the pool in between is too small.\n{NEEDED}"
            )
        if waited >= self._tell_at:
            keeps = f" beside the {self._others} that this process keeps" if self._others else ""
            _log.warning(
                "waiting for Postgres at %s for %.0f s now: a pool in between has no connection to give%s, "
                "or the server is overloaded",
                self._location,
                waited,
                keeps,
            )
            self._tell_at = waited + _TOLD_EVERY


# What every transaction of ours relies on, set before anything else in it.
#
# A role, a database or a server may have other defaults. They are not set for the session: behind a pooler that hands
# out a server's connection per transaction (PgBouncer), the next transaction may be on another one, and somebody
# else's on ours. A setting with ``SET LOCAL`` ends with its transaction. It calls no function, which an unusual
# `search_path` could have replaced, and leaves no snapshot behind, which an index that is being built would wait for.


SEARCH_PATH: Final = ("pg_catalog", "pg_temp")

_TIMEOUTS: Final = ("statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout")

_TRANSACTION_TIMEOUT_SINCE: Final = 170_000

_PLANNER: Final[Mapping[str, str]] = {
    **dict.fromkeys(("enable_bitmapscan", "enable_gathermerge", "enable_hashagg", "enable_hashjoin"), "on"),
    **dict.fromkeys(("enable_incremental_sort", "enable_indexonlyscan", "enable_indexscan", "enable_material"), "on"),
    **dict.fromkeys(("enable_memoize", "enable_mergejoin", "enable_nestloop", "enable_seqscan"), "on"),
    **dict.fromkeys(("enable_sort", "enable_tidscan"), "on"),
    # Who shares a role with us is found by recursion: with much of `work_mem`, a large factor takes all of it for that.
    "recursive_worktable_factor": "10",
}

_CHOICES: Final[Mapping[str, str]] = {
    # A sync is a batch job. Limits that are meant for people's queries would end it, as they would end pg_dump.
    **dict.fromkeys(_TIMEOUTS, "0"),
    # Of a table that is being cast or vacuumed whole; somebody who has gone home has locked it for good.
    "lock_timeout": "10min",
    **_PLANNER,
}
"""Those that an address can set otherwise, in its `options`."""

_STRINGS: Final = "standard_conforming_strings"

_RELIED_ON: Final[Mapping[str, str]] = {
    # What a value means, and how it is written.
    _STRINGS: "on",
    "array_nulls": "on",
    "transform_null_equals": "off",
    "quote_all_identifiers": "off",
    "bytea_output": "hex",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "timezone_abbreviations": "Default",
    "extra_float_digits": "1",
    # Which rows there are: off lets every query of a table with policies fail.
    "row_security": "on",
    "gin_fuzzy_search_limit": "0",
    "restrict_nonsystem_relation_kind": "",  # would forbid views; in every branch since August 2024
    "client_min_messages": "warning",
}

_UNSYNCED: Final = "synchronous_commit"
"""Off, a commit that was answered can be lost: the manifest would not know of a record that Pinecone was given. Any
other value is somebody's choice about replicas."""

_READ_ONLY: Final = "default_transaction_read_only"

_IDLE: Final = "idle_session_timeout"
"""Since Postgres 14."""

_FOR_EVERYBODY: Final = ("command line", "configuration file")
"""Where a setting comes from that was not made for this role or database."""

_FACTS: Final = "SELECT name, setting, source, pg_is_in_recovery() FROM pg_settings WHERE name = ANY(%s)"
_OPTION: Final = re.compile(r"(?:-c\s*|--)([\w.-]+)=")


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server said about itself when it was connected to."""

    settings: frozenset[str]
    """Those of ours that it has, but for what the planner is already allowed, since each costs some microseconds."""
    read_only: str
    """Why nothing can be written there; empty where it can."""
    is_unsynced: bool
    """Whether commits are answered before they are kept."""
    ends_idle_sessions: bool


def read_facts(driver: psycopg.Connection[Any]) -> Facts:
    """Ask, in the transaction that has begun."""
    names = [*_CHOICES, *_RELIED_ON, _UNSYNCED, _READ_ONLY, _IDLE]
    rows = {str(name): (value, source, standby) for name, value, source, standby in driver.execute(_FACTS, [names])}
    read_only, source, is_standby = rows[_READ_ONLY]
    is_closed = read_only == "on" and source in _FOR_EVERYBODY
    return Facts(
        settings=frozenset(name for name in rows if rows[name][0] != _PLANNER.get(name)),
        read_only="it is a standby" if is_standby else f"{_READ_ONLY} is on for all of it" if is_closed else "",
        is_unsynced=rows[_UNSYNCED][0] == "off",
        ends_idle_sessions=_IDLE in rows and rows[_IDLE][0] != "0",
    )


def look_statement(server_version: int) -> str:
    """Begin the first transaction of a connection, in which the server is only looked at."""
    later = {"transaction_timeout"} if server_version < _TRANSACTION_TIMEOUT_SINCE else set()
    names = [name for name in (*_TIMEOUTS, "lock_timeout", _STRINGS) if name not in later]
    return _begin("", SEARCH_PATH, {name: {**_CHOICES, **_RELIED_ON}[name] for name in names})


def begin_statement(facts: Facts, options: str, schemas: Sequence[str]) -> str:
    """Begin a transaction: nothing of what it does depends on defaults.

    Args:
        facts: of the server.
        given: the `options` of the address, whose choices stand.
        schemas: where names without a schema are looked for.
    """
    # A standby refuses to begin one that could write, and a server that was closed to writes is meant to be.
    return _begin("" if facts.read_only else ", READ WRITE", schemas, _settings(facts, options))


def session_statement(facts: Facts, options: str, settings: Mapping[str, str]) -> str:
    """The same for statements that cannot run in a transaction, with further settings. It has to be reset."""
    chosen = {**_session_settings(facts, options), **settings}
    path = ", ".join(map(_quoted, SEARCH_PATH))
    return "; ".join([f"SET search_path = {path}", *(f"SET {name} = {_literal(chosen[name])}" for name in chosen)])


def reset_statement(facts: Facts, options: str, settings: Mapping[str, str]) -> str:
    """Let the next user of the session have the defaults that it began with."""
    names = ["search_path", *{**_session_settings(facts, options), **settings}]
    return "; ".join(f"RESET {name}" for name in names)


def overridden(options: str) -> list[str]:
    """The settings in an address' `options` that a transaction sets otherwise."""
    own = {name.lower() for name in ("search_path", *_RELIED_ON)}
    return sorted(name for name in _named(options) if name in own)


def _begin(mode: str, schemas: Sequence[str], settings: Mapping[str, str]) -> str:
    path = ", ".join(map(_quoted, schemas))
    assignments = "".join(f"; SET LOCAL {name} = {_literal(value)}" for name, value in settings.items())
    return f"BEGIN ISOLATION LEVEL READ COMMITTED{mode}; SET LOCAL search_path = {path}{assignments}"


def _settings(facts: Facts, options: str) -> dict[str, str]:
    named = _named(options)
    chosen = {name: value for name, value in _CHOICES.items() if name not in named}
    synced = {_UNSYNCED: "on"} if facts.is_unsynced and _UNSYNCED not in named else {}
    return {name: value for name, value in {**chosen, **_RELIED_ON, **synced}.items() if name in facts.settings}


def _session_settings(facts: Facts, options: str) -> dict[str, str]:
    writable = {} if facts.read_only else {_READ_ONLY: "off"}
    return {**_settings(facts, options), "default_transaction_isolation": "read committed", **writable}


def _named(options: str) -> frozenset[str]:
    """The settings in an address' `options`, as in ``-c statement_timeout=5s``."""
    return frozenset(name.replace("-", "_").lower() for name in _option_names(options))


def _option_names(options: str) -> Iterator[str]:
    yield from (match[1] for match in _OPTION.finditer(options))


def _quoted(name: str) -> str:
    return sql.Identifier(name).as_string()


def _literal(value: str) -> str:
    """Values of ours, without a quote or a backslash in them."""
    return f"'{value}'"
