"""A prepared destination in a schema of its own, and a plain connection to look at what it wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

import psycopg
import pytest
from psycopg.sql import Composable

from vectorferry.connector.plugin import Applied, Batch, SchemaMapping
from vectorferry.destinations import PgvectorDestination

from ...waiting import wait_until

ApplyAndCount: TypeAlias = Callable[[Batch], tuple[Applied, dict[str, int]]]
Prepared: TypeAlias = Callable[[dict[str, Any]], PgvectorDestination]

DEFINING = ("ALTER ", "COMMENT ", "CREATE ", "DROP ", "GRANT ", "REVOKE ", "TRUNCATE ")

STAGING = ("CREATE TEMPORARY ", 'DROP TABLE "pg_temp".')

WRITERS = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'vectorferry'"


@pytest.fixture
def prepared(postgres_url: str, schema: str) -> Iterator[Prepared]:
    """Opens the test's schema under a mapping, as often as the test likes; all are closed in the end."""
    with ExitStack() as opened:

        def prepare(mapping: dict[str, Any]) -> PgvectorDestination:
            destination = PgvectorDestination(schema, postgres_url)
            opened.callback(destination.close)
            destination.prepare(SchemaMapping.model_validate(mapping))
            return destination

        yield prepare


@pytest.fixture
def destination(prepared: Prepared) -> PgvectorDestination:
    """A destination, prepared with the default mapping."""
    return prepared({})


@pytest.fixture
def sql(postgres_url: str, schema: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection that finds the test's schema without a prefix."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f'SET search_path = "{schema}", public')
        yield connection


@pytest.fixture
def apply_and_count(postgres_url: str, schema: str, sql: psycopg.Connection[Any]) -> ApplyAndCount:
    """Applies a batch; returns what the destination says, and the rows per table that Postgres says were written.

    Postgres' own statistics are complete once the writing connection has ended.
    """

    def rows_written() -> dict[str, int]:
        found = sql.execute(
            "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables WHERE schemaname = %s",
            [schema],
        )
        return {str(name): int(count) for name, count in found}

    def apply(batch: Batch) -> tuple[Applied, dict[str, int]]:
        before = rows_written()
        destination = PgvectorDestination(schema, postgres_url)
        destination.prepare(SchemaMapping())
        applied = destination.apply(batch)
        destination.close()
        wait_until(lambda: not sql.execute(WRITERS).fetchall())
        written = {name: count - before.get(name, 0) for name, count in rows_written().items()}
        return applied, {name: count for name, count in written.items() if count}

    return apply


def message(statements: Iterable[str]) -> str:
    """Statements as one text, however many of them go to Postgres together."""
    return ";\n".join(statements)


@contextmanager
def defined() -> Iterator[list[str]]:
    """Every message meanwhile that defines something, or gives or takes a right, as psycopg is given it."""
    found: list[str] = []
    execute = psycopg.Cursor.execute

    def note(cursor: psycopg.Cursor[Any], query: Any, *arguments: Any, **options: Any) -> Any:
        words = query.as_string(cursor) if isinstance(query, Composable) else query
        words = (words.decode() if isinstance(words, bytes) else words).strip()
        if words.startswith(DEFINING) and not words.startswith(STAGING):
            found.append(words)
        return execute(cursor, query, *arguments, **options)

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(psycopg.Cursor, "execute", note)
        yield found
