"""Opening a manifest: wherever a Postgres is, beside whatever is there; and nothing raw gets out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from vectorferry.connector.plugin import (
    ConfigurationError,
    DestinationError,
    RetryableError,
    SchemaMapping,
    VectorferryError,
)
from vectorferry.destinations import PgvectorDestination
from vectorferry.destinations.pinecone._manifest import Manifest
from vectorferry.destinations.pinecone._manifest_tables import Place

from ....builders import asset, batch, feature
from ....urls import in_database
from .manifests import INDEX, LAYOUT, commit, recorded

SECRET = "hunter2-canary"


def test_it_needs_no_pgvector(postgres_url: str, schema: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {schema}")
    url = in_database(postgres_url, schema)
    with closing(Manifest(schema, "pinecone", url, Path("nowhere"))) as manifest:
        manifest.prepare()
        commit(manifest, batch(asset("a")), {("a", "f"): recorded()})
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchall() == []


def test_it_lives_beside_a_sync_in_the_same_schema(postgres_url: str, schema: str, manifest: Manifest) -> None:
    with closing(PgvectorDestination(schema, postgres_url)) as beside:
        beside.prepare(SchemaMapping())
        beside.apply(batch(asset("a", feature("f"))))
        assert list(manifest.asset_ids("ads")) == []
        commit(manifest, batch(asset("b")), {})
        assert list(beside.asset_ids("ads")) == ["a"]
        assert list(manifest.asset_ids("ads")) == ["b"]


@pytest.mark.long
def test_it_starts_an_embedded_postgres(passable_path: Path) -> None:
    directory = passable_path / "data"
    with closing(Manifest("media", "pinecone", None, directory)) as manifest:
        assert not manifest.exists()
        assert not directory.exists()
        manifest.prepare()
        assert manifest.exists()
        assert str(directory) in manifest.location


def test_what_is_announced_is_what_preparing_makes(
    postgres_url: str, schema: str, sql: psycopg.Connection[Any]
) -> None:
    def tables() -> set[str]:
        rows = sql.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()")
        return {name for (name,) in rows.fetchall()}

    def announced(manifest: Manifest) -> set[str]:
        return {
            statement.partition("(")[0].split(".")[-1].strip()
            for statement in manifest.outlook().statements
            if statement.startswith("CREATE TABLE")
        }

    with closing(Manifest(schema, "pinecone", postgres_url, Path("nowhere"))) as manifest:
        all_tables = announced(manifest)
        manifest.prepare()
        assert tables() == all_tables != set()
        sql.execute("DROP TABLE _sync_pinecone_origins")
        assert announced(manifest) == {"_sync_pinecone_origins"}
        manifest.prepare()
        assert tables() == all_tables
        assert list(manifest.outlook().statements) == []


def test_one_that_was_never_prepared_does_not_exist(postgres_url: str, schema: str) -> None:
    with closing(Manifest(schema, "pinecone", postgres_url, Path("nowhere"))) as manifest:
        assert not manifest.exists()
        manifest.prepare()
        assert manifest.exists()
        assert schema in manifest.location


def test_the_second_time_nothing_is_made(manifest: Manifest, sql: psycopg.Connection[Any]) -> None:
    def catalogue() -> list[tuple[Any, ...]]:
        return sql.execute(
            "SELECT oid, xmin::text FROM pg_class WHERE relnamespace = current_schema()::regnamespace ORDER BY oid"
        ).fetchall()

    before = catalogue()
    manifest.prepare()
    assert catalogue() == before


CALLS: list[Callable[[Manifest], object]] = [
    lambda manifest: manifest.exists(),
    lambda manifest: manifest.prepare(),
    lambda manifest: manifest.check_settings({}),
    lambda manifest: manifest.known("ads", ["a"], LAYOUT),
    lambda manifest: manifest.recorded("ads", ["a"]),
    lambda manifest: manifest.begin("ads", {Place("a", "f", INDEX): recorded().modality}),
    lambda manifest: commit(manifest, batch(asset("a")), {}),
    lambda manifest: manifest.remove("ads", ["a"], {}, "ads"),
    lambda manifest: manifest.adopt("ads", INDEX, {("a", "f"): recorded()}),
    lambda manifest: list(manifest.asset_ids("ads")),
    lambda manifest: manifest.quarantined("ads"),
    lambda manifest: manifest.indexes(),
    lambda manifest: manifest.forget_index(INDEX),
    lambda manifest: manifest.namespaces(),
    lambda manifest: manifest.find("f", recorded().modality),
    lambda manifest: manifest.counts(),
]


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_cannot_be_reached_is_named_whatever_was_asked(call: Callable[[Manifest], object]) -> None:
    url = f"postgresql://ada:{SECRET}@127.0.0.1:1/media"
    with (
        closing(Manifest("media", "pinecone", url, Path("nowhere"))) as manifest,
        pytest.raises(DestinationError, match=r"cannot connect to Postgres at 127\.0\.0\.1:1/media") as caught,
    ):
        call(manifest)
    assert SECRET not in str(caught.value)


def test_a_lost_connection_is_worth_another_try(manifest: Manifest, sql: psycopg.Connection[Any]) -> None:
    sql.execute(
        "CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END$$"
    )
    sql.execute("CREATE TRIGGER hang_up AFTER INSERT ON _sync_pinecone_ledger EXECUTE FUNCTION hang_up()")
    with pytest.raises(RetryableError):
        commit(manifest, batch(asset("a")), {("a", "f"): recorded()})
    sql.execute("DROP TRIGGER hang_up ON _sync_pinecone_ledger")
    assert manifest.recorded("ads", ["a"]).features == {}
    commit(manifest, batch(asset("a")), {("a", "f"): recorded()})
    assert set(manifest.known("ads", ["a"], LAYOUT)) == {"a"}


def test_an_address_of_the_wrong_form_names_the_manifest() -> None:
    with pytest.raises(ConfigurationError, match="`url` of a Pinecone manifest") as caught:
        Manifest("media", "pinecone", f"mysql://ada:{SECRET}@host/db", Path("nowhere"))
    assert SECRET not in str(caught.value)


def test_a_database_that_cannot_hold_every_text_is_refused(postgres_url: str, schema: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {schema} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with (
        closing(Manifest(schema, "pinecone", in_database(postgres_url, schema), Path("nowhere"))) as manifest,
        pytest.raises(VectorferryError, match="has the encoding LATIN1"),
    ):
        manifest.prepare()


def test_one_of_an_early_version_is_refused_with_what_to_do(
    schema: str, manifest: Manifest, sql: psycopg.Connection[Any]
) -> None:
    manifest.prepare()
    sql.execute(f"ALTER TABLE {schema}._sync_pinecone_quarantine DROP COLUMN kept")
    for attempt in (manifest.prepare, manifest.outlook):
        with pytest.raises(ConfigurationError, match=rf"early version .*DROP SCHEMA .{schema}. CASCADE;"):
            attempt()
