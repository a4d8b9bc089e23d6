"""pgvector, wherever it is installed: is it there, is it new enough, and where.

Its schema is in no path of ours, since others may make objects there too (in `public`, before Postgres 15, everybody):
a function or operator that fits better than Postgres' own would run with our rights. What is pgvector's is called by
its full name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import psycopg.errors
from sqlalchemy import Connection, text
from sqlalchemy.exc import ProgrammingError

from vectorferry.connector.plugin import DestinationError
from vectorferry.destinations._postgres import (
    ENCODING,
    Address,
    Database,
    Step,
    answers,
    check_encoding_is,
    lock,
    run,
    statement,
)

_MINIMUM_VERSION: Final = (0, 8)
"""Iterative scans, which right answers under filters need, came with pgvector 0.8."""

CREATE_EXTENSION: Final = "CREATE EXTENSION IF NOT EXISTS vector SCHEMA public"
"""By name: a schema that is called like this user may be somebody else's, and would come first in its path."""

_AVAILABLE: Final = text("""
SELECT v.version, has_database_privilege(current_database(), 'CREATE') AND v.trusted OR r.rolsuper AS may_enable,
    EXISTS (SELECT FROM pg_namespace WHERE nspname = 'public') AS has_public, r.rolname AS us
FROM pg_available_extensions e
JOIN pg_available_extension_versions v ON (v.name, v.version) = (e.name, e.default_version)
JOIN pg_roles r ON r.rolname = current_user WHERE e.name = 'vector'
""")

_ENABLED: Final = text(
    "SELECT n.nspname, e.extversion, has_schema_privilege(n.oid, 'USAGE') AS may_use, current_user AS us "
    "FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'"
)


def find_extension(connection: Connection, location: str) -> str:
    """The schema that pgvector was installed into. Raises `DestinationError` when it is not enabled, or too old."""
    enabled = connection.execute(_ENABLED).one_or_none()
    if enabled is None:
        raise DestinationError(f"pgvector is not enabled in Postgres at {location}; run `vectorferry sync` first")
    _check_version(str(enabled.extversion), location)
    return str(enabled.nspname)


@dataclass(frozen=True, slots=True)
class Extension:
    """pgvector in a database: the schema that it is in, what enables it where it is not, and the statements that let
    this user do that, or use what it consists of, where that is not so yet."""

    schema: str | None
    steps: Sequence[Step] = ()
    missing_rights: Sequence[str] = ()


EXTENSION: Final = (ENCODING, _ENABLED, _AVAILABLE)
"""What is asked of it, for `extension_of`."""


def extension_of(answers: Sequence[Sequence[Any]], location: str) -> Extension:
    """What the answers to `EXTENSION` say. Raises `DestinationError` when it is not there, or too old, or when text
    cannot be stored."""
    encodings, enabled, available = answers
    check_encoding_is(str(encodings[0][0]), location)
    for each in enabled:
        _check_version(str(each.extversion), location)
        missing = [] if each.may_use else [statement("GRANT USAGE ON SCHEMA {} TO {};", each.nspname, each.us)]
        return Extension(str(each.nspname), (), missing)
    if not available:
        raise DestinationError(
            f"Postgres at {location} has no pgvector. Install the server's pgvector package "
            "(github.com/pgvector/pgvector), or leave `url` out to use the embedded Postgres."
        )
    _check_version(str(available[0].version), location)
    if not available[0].has_public:
        # A schema of our own making would be one more that everybody has to be granted.
        grant = statement("GRANT USAGE ON SCHEMA extensions TO {};", available[0].us)
        raise DestinationError(
            f"the database at {location} has no schema `public` to enable pgvector in. "
            "As an owner of the database run: "
            f"CREATE SCHEMA IF NOT EXISTS extensions; CREATE EXTENSION vector SCHEMA extensions; {grant}"
        )
    return Extension(None, [CREATE_EXTENSION], [] if available[0].may_enable else [f"{CREATE_EXTENSION};"])


def _check_version(version: str, location: str) -> None:
    if tuple(int(part) for part in version.split(".")[:2]) < _MINIMUM_VERSION:
        raise DestinationError(
            f"Postgres at {location} has pgvector {version}; Vectorferry needs 0.8 or newer. "
            "Install it and run: ALTER EXTENSION vector UPDATE;"
        )


class VectorDatabase(Database):
    """A server with pgvector. Used from one thread."""

    def __init__(self, address: Address, location: str | None = None) -> None:
        super().__init__(address, location)
        self._extension_schema: str | None = None

    @property
    def extension_schema(self) -> str:
        """The schema that holds pgvector's types and operators. Raises `DestinationError` when there is none."""
        if self._extension_schema is None:
            with self.transaction():
                pass
        return str(self._extension_schema)

    def know_extension(self, extension: Extension) -> None:
        """Remember where it is, which has been looked up."""
        self._extension_schema = extension.schema

    def enable_extension(self) -> None:
        """Enable pgvector where it is not. Raises `DestinationError` when that cannot be done."""
        with self.plain_transaction() as connection:
            lock(connection, "extension")  # several first runs may start together
            try:
                run(connection, extension_of(answers(connection, *EXTENSION), self.location).steps)
            except ProgrammingError as error:
                if not isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
                    raise
                raise DestinationError(
                    f"Postgres at {self.location} has pgvector, but this user may not enable it. "
                    "As an owner of the database run: CREATE EXTENSION vector;"
                ) from error

    @contextmanager
    def transaction(
        self, mode: str | None = None, *, is_whole: bool = False, also: Sequence[str] = ()
    ) -> Iterator[Connection]:
        """A transaction on a server that has pgvector, as `plain_transaction` begins one. Raises `DestinationError`
        where it has none."""
        is_whole = is_whole and self._extension_schema is not None
        with self.plain_transaction(mode, is_whole=is_whole, also=also) as connection:
            if self._extension_schema is None:
                self._extension_schema = find_extension(connection, self.location)
            yield connection
