"""How often a sync talks to its server: each message takes the way there and back, 30 ms to the next region."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest

from vectorferry.connector.plugin import SchemaMapping, Vector
from vectorferry.connector.testing import MemorySource, sync
from vectorferry.destinations import PgvectorDestination
from vectorferry.destinations._postgres._session import execute_first

from ...builders import dense
from ...connector.worlds import asset, feature

UNCHANGED = 90
"""Of a run that finds one collection unchanged; 143 before, and 16 more for each further named vector."""


@contextmanager
def messages() -> Iterator[list[str]]:
    """Every message meanwhile that Postgres answers, as it is given to psycopg."""
    sent: list[str] = []
    with pytest.MonkeyPatch.context() as patches:
        execute, commit = psycopg.Cursor.execute, psycopg.Connection.commit

        def note(cursor: psycopg.Cursor[Any], query: Any, *arguments: Any, **options: Any) -> Any:
            sent.append(str(query))
            return execute(cursor, query, *arguments, **options)

        def note_first(driver: Any, statements: str, *arguments: Any) -> None:
            sent.append(statements)
            execute_first(driver, statements, *arguments)

        def note_commit(connection: psycopg.Connection[Any]) -> None:
            sent.append("COMMIT")
            commit(connection)

        patches.setattr(psycopg.Cursor, "execute", note)
        patches.setattr("vectorferry.destinations._postgres._database.execute_first", note_first)
        patches.setattr(psycopg.Connection, "commit", note_commit)
        yield sent


def unchanged(postgres_url: str, schema: str, names: list[str]) -> list[str]:
    """What a run sends that finds everything as it has left it."""
    vectors: dict[str, Vector] = {name: dense(number + 1) for number, name in enumerate(names)}
    source = MemorySource({"c": [asset("a", features=[feature("f", vectors=vectors)])]})

    def run() -> list[str]:
        with closing(PgvectorDestination(schema, postgres_url)) as destination, messages() as sent:
            asyncio.run(sync(source, [destination], name="media", mapping=SchemaMapping()))
        return sent

    run()
    return run()


def test_a_run_that_finds_nothing_changed_says_little_however_many_named_vectors_there_are(
    postgres_url: str, schema: str
) -> None:
    few = unchanged(postgres_url, schema, ["m1"])
    many = unchanged(postgres_url, f"{schema}_many", [f"m{number}" for number in range(6)])
    assert len(few) <= UNCHANGED, few
    assert len(many) == len(few)


@pytest.mark.long
def test_a_run_that_finds_nothing_changed_counts_no_rows(postgres_url: str, schema: str) -> None:
    """Of a hundred million vectors, that takes a minute."""
    sent = unchanged(postgres_url, schema, ["m1"])
    assert [words for words in sent if "count(" in words and "video" in words] == []
