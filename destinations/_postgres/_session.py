"""What every transaction of ours relies on: what a server says of itself, and the statements that begin one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql

NEEDED: Final = (
    "A sync needs 2 connections at a time for pgvector, and 3 for a Pinecone manifest. "
    "Give the pool more of them (PgBouncer: default_pool_size), or use the address of Postgres itself."
)


# What every transaction of ours relies on, set before anything else in it.
#
# A role, a database or a server may have other defaults. They are not set for the session: behind a pooler that hands
# out a server's connection per transaction (PgBouncer), the next transaction may be on another one, and somebody
# else's on ours. A local setting ends with its transaction. The function is called by its full name, with arguments of
# its own types: an unusual `search_path` cannot put another one in its place.


_PATH: Final = "pg_catalog, pg_temp"
"""Where names without a schema are looked for."""

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


_FACTS: Final = sql.SQL(
    "SELECT name, setting, source, pg_is_in_recovery() FROM pg_settings WHERE name = ANY({})"
).format([*_CHOICES, *_RELIED_ON, _UNSYNCED, _READ_ONLY, _IDLE])


def read_facts(driver: psycopg.Connection[Any]) -> Facts:
    """Ask for them, in a transaction of its own and one message."""
    cursor = driver.execute(f"{look_statement(driver.info.server_version)}; {_FACTS.as_string()}; ROLLBACK".encode())
    while cursor.description is None:
        cursor.nextset()
    rows = {str(name): (value, source, standby) for name, value, source, standby in cursor}
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
    assignments = (f"; SET LOCAL {name} = {_literal({**_CHOICES, **_RELIED_ON}[name])}" for name in names)
    return f"BEGIN ISOLATION LEVEL {_COMMON}; SET LOCAL search_path = {_PATH}{''.join(assignments)}"


READ_ONLY: Final = "READ COMMITTED, READ ONLY"
"""A transaction, begun so, in which Postgres refuses every write."""
SNAPSHOT: Final = "REPEATABLE READ, READ ONLY"
"""One that sees one state of every table."""
_WRITING: Final = "READ COMMITTED, READ WRITE"
_COMMON: Final = "READ COMMITTED"


def begin_statements(facts: Facts, options: str, mode: str | None = None) -> list[str]:
    """Begin a transaction: nothing of what it does depends on defaults.

    Args:
        facts: of the server.
        options: those of the address, whose choices stand.
        mode: isolation and access; None for one that may write.
    """
    # A standby refuses to begin one that could write, and a server that was closed to writes is meant to be.
    mode = mode or (_COMMON if facts.read_only else _WRITING)
    settings = {"search_path": _PATH, **_settings(facts, options)}
    calls = (sql.SQL("pg_catalog.set_config({}, {}, true)").format(*each) for each in settings.items())
    return [f"BEGIN ISOLATION LEVEL {mode}", f"SELECT {sql.SQL(', ').join(calls).as_string()}"]


def session_statements(facts: Facts, options: str, settings: Mapping[str, str]) -> list[str]:
    """The same for statements that cannot run in a transaction, with further settings. They have to be reset."""
    chosen = {**_session_settings(facts, options), **settings}
    return [f"SET search_path = {_PATH}", *(f"SET {name} = {_literal(chosen[name])}" for name in chosen)]


def reset_statement(facts: Facts, options: str, settings: Mapping[str, str]) -> str:
    """Let the next user of the session have the defaults that it began with."""
    names = ["search_path", *{**_session_settings(facts, options), **settings}]
    return "; ".join(f"RESET {name}" for name in names)


def overridden(options: str) -> list[str]:
    """The settings in an address' `options` that a transaction sets otherwise."""
    own = {name.lower() for name in ("search_path", *_RELIED_ON)}
    return sorted(name for name in _named(options) if name in own)


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


def _literal(value: str) -> str:
    """Values of ours, without a quote or a backslash in them."""
    return f"'{value}'"
