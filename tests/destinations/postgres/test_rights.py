"""`plan` and `sync` refuse alike what this user or this server does not let them do, and what they advise helps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from vectorferry.connector.plugin import DestinationError, SchemaMapping
from vectorferry.connector.sandbox import Sandbox, running_sandbox
from vectorferry.destinations import EmbeddedPostgres, PgvectorDestination

from ...builders import asset, batch, feature
from ...pinecone import forget_budgets, pinecone_destination
from ...urls import as_user, in_database

Connection = psycopg.Connection[Any]


@pytest.fixture
def owner(postgres_url: str, schema: str) -> Iterator[Connection]:
    """Of a database named like the test's schema, in which a role of that name may do nothing but connect."""
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {schema} LOGIN")
        admin.execute(f"CREATE DATABASE {schema}")
        admin.execute(f"REVOKE ALL ON DATABASE {schema} FROM PUBLIC; GRANT CONNECT ON DATABASE {schema} TO {schema}")
    with psycopg.connect(in_database(postgres_url, schema), autocommit=True) as owner:
        yield owner


@pytest.fixture
def url(postgres_url: str, schema: str, owner: Connection) -> str:
    """Of that database, as that role."""
    assert owner.info.dbname == schema
    return as_user(in_database(postgres_url, schema), schema)


@pytest.fixture
def pinecone() -> Iterator[Sandbox]:
    forget_budgets()
    with running_sandbox() as sandbox:
        yield sandbox


def refusal(url: str, schema: str = "media") -> str:
    """What a plan and a sync say, which has to be the same."""
    with closing(PgvectorDestination(schema, url)) as destination:
        planned = planned_refusal(destination)
        with pytest.raises(DestinationError) as prepared:
            destination.prepare(SchemaMapping())
    assert planned == str(prepared.value)
    return planned


def planned_refusal(destination: PgvectorDestination) -> str | None:
    """Of one who may not even read, as an error."""
    try:
        return destination.planned(SchemaMapping()).refusal
    except DestinationError as error:
        return str(error)


def advised(said: str) -> str:
    """The statements of an advice."""
    return said.partition("As an owner of the database run: ")[2]


def test_what_is_advised_is_enough(owner: Connection, url: str, schema: str) -> None:
    owner.execute(advised(refusal(url)).encode())
    with closing(PgvectorDestination("media", url)) as destination:
        assert destination.planned(SchemaMapping()).refusal is None
        destination.prepare(SchemaMapping())
        destination.apply(batch(asset("a", feature("f"))))
        destination.build_indexes()
    assert owner.execute("SELECT count(*) FROM media.video").fetchone() == (1,), schema


def test_all_that_is_missing_is_named_at_once(owner: Connection, url: str, schema: str) -> None:
    owner.execute("CREATE SCHEMA hidden; CREATE EXTENSION vector SCHEMA hidden")
    assert advised(refusal(url)).split("; ") == [
        f'CREATE SCHEMA "media" AUTHORIZATION "{schema}"',
        f'GRANT TEMPORARY ON DATABASE "{schema}" TO "{schema}"',
        f'GRANT USAGE ON SCHEMA "hidden" TO "{schema}";',
    ]


def test_who_owns_the_schema_is_not_told_to_own_it(owner: Connection, url: str, schema: str) -> None:
    owner.execute(f"CREATE EXTENSION vector; GRANT ALL ON DATABASE {schema} TO {schema}")
    with closing(PgvectorDestination("media", url)) as destination:
        destination.prepare(SchemaMapping())
    owner.execute("ALTER TABLE media.video OWNER TO postgres")
    assert refusal(url).endswith(f'run: GRANT "postgres" TO "{schema}";')
    owner.execute(f"ALTER TABLE media.video OWNER TO {schema}; ALTER SCHEMA media OWNER TO postgres")
    owner.execute(f"GRANT USAGE ON SCHEMA media TO {schema}")
    assert advised(refusal(url)) == f'GRANT USAGE, CREATE ON SCHEMA "media" TO "{schema}";'


def test_a_pgvector_that_is_too_old(owner: Connection, url: str, schema: str) -> None:
    owner.execute(f"CREATE EXTENSION vector; GRANT ALL ON DATABASE {schema} TO {schema}")
    owner.execute("UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")
    with closing(PgvectorDestination("media", url)) as destination:
        for refused in (destination.planned, destination.prepare):
            with pytest.raises(DestinationError, match=r"has pgvector 0\.7\.4; Vectorferry needs 0\.8 or newer"):
                refused(SchemaMapping())


def test_a_manifest_is_refused_likewise(url: str, pinecone: Sandbox) -> None:
    with closing(pinecone_destination(pinecone, url, "media")) as destination:
        assert 'CREATE SCHEMA "media" AUTHORIZATION' in (destination.planned(SchemaMapping()).refusal or "")
        with pytest.raises(DestinationError, match='CREATE SCHEMA "media" AUTHORIZATION'):
            destination.prepare(SchemaMapping())


@pytest.mark.long
def test_a_standby_is_read_only(passable_path: Path) -> None:
    directory = passable_path / "postgres"
    with EmbeddedPostgres(directory) as server, closing(PgvectorDestination("media", server.url)) as destination:
        destination.prepare(SchemaMapping())
    (directory / "data" / "standby.signal").touch()
    with EmbeddedPostgres(directory) as server:
        assert "is read-only: it is a standby.\nUse an address that can be written to" in refusal(server.url)
        with closing(PgvectorDestination("media", server.url)) as destination:
            assert destination.status().assets == {}
            assert destination.reading_allowance() is None


@pytest.mark.long
def test_a_server_that_was_closed_to_writes_is_left_so(passable_path: Path) -> None:
    """As hosts do when the disk is almost full. A role's own default is overridden."""
    with EmbeddedPostgres(passable_path / "postgres") as server:
        with psycopg.connect(server.url, autocommit=True) as admin:
            admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            admin.execute("SELECT pg_reload_conf()")
        assert "is read-only: default_transaction_read_only is on for all of it" in refusal(server.url)


def test_pgvector_is_enabled_where_others_look_for_it(postgres_url: str, owner: Connection, schema: str) -> None:
    """And not in `pg_catalog`, where our own transactions look first."""
    with closing(PgvectorDestination("media", in_database(postgres_url, schema))) as destination:
        destination.prepare(SchemaMapping())
    where = "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'vector'"
    assert owner.execute(where).fetchone() == ("public",)


def test_a_database_without_a_public_schema(owner: Connection, url: str, schema: str) -> None:
    """Some drop it, so that nobody makes anything there. What is advised is enough."""
    owner.execute(f"DROP SCHEMA public; GRANT ALL ON DATABASE {schema} TO {schema}")
    with closing(PgvectorDestination("media", url)) as destination:
        for refused in (destination.planned, destination.prepare):
            with pytest.raises(DestinationError, match="has no schema `public`") as told:
                refused(SchemaMapping())
        owner.execute(advised(str(told.value)).encode())
        destination.prepare(SchemaMapping())
        destination.apply(batch(asset("a", feature("f"))))
