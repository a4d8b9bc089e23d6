"""A role that may make things in the same database, before our loader does: none of it runs with the loader's rights.

Each command is tried: what `sync` refuses, `status` or `search` must not run either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import blake2b
from typing import Any, NamedTuple

import psycopg
import pytest

from vectorferry.connector.plugin import (
    Asset,
    DeleteGuard,
    Feature,
    LockedError,
    Modality,
    SchemaMapping,
    SearchQuery,
    VectorferryError,
    canonical_json,
)
from vectorferry.connector.testing import MemoryDestination, MemorySource, refill, verify
from vectorferry.destinations import PgvectorDestination

from ..builders import asset, batch, dense, feature
from ..examples import family
from ..urls import as_user, in_database

Sql = psycopg.Connection[Any]


class Database(NamedTuple):
    """A database of the test's own, its address as the loader, and connections as the neighbour and as an owner."""

    url: str
    loader: str
    neighbour: str
    as_neighbour: Sql
    as_owner: Sql


WHO_AND_WHERE = [
    *("loader, public", "superuser, extensions"),
    *("loader, extensions", "loader, vectors", "superuser, public", "superuser, vectors"),
]


@pytest.fixture(params=family(WHO_AND_WHERE))
def database(request: pytest.FixtureRequest, postgres_url: str, schema: str) -> Iterator[Database]:
    """Who loads, and the schema that pgvector is in."""
    loader, neighbour = f"{schema}_loader", f"{schema}_neighbour"
    role, place = request.param.split(", ")
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {loader} LOGIN {'SUPERUSER' if role == 'superuser' else ''}")
        admin.execute(f"CREATE ROLE {neighbour} LOGIN")
        admin.execute(f"CREATE DATABASE {schema}")
        admin.execute(f"GRANT CREATE, TEMPORARY ON DATABASE {schema} TO {loader}, {neighbour}")
    address = in_database(postgres_url, schema)
    with (
        psycopg.connect(address, autocommit=True) as as_owner,
        psycopg.connect(as_user(address, neighbour), autocommit=True) as as_neighbour,
    ):
        as_owner.execute(f"CREATE SCHEMA IF NOT EXISTS {place}; GRANT USAGE ON SCHEMA {place} TO PUBLIC")
        as_owner.execute(f"CREATE EXTENSION vector SCHEMA {place}")
        as_owner.execute("CREATE TABLE public.caught (who name); GRANT INSERT ON public.caught TO PUBLIC")
        # Whatever of the neighbour's is run says as whom; SECURITY INVOKER is the default.
        as_neighbour.execute(
            f"""
            CREATE SCHEMA traps;
            GRANT USAGE ON SCHEMA traps TO PUBLIC;
            CREATE FUNCTION traps.note() RETURNS boolean LANGUAGE plpgsql AS $$
                BEGIN
                    IF current_user <> '{neighbour}' THEN
                        INSERT INTO public.caught VALUES (current_user);
                    END IF;
                    RETURN true;
                EXCEPTION WHEN read_only_sql_transaction THEN RAISE 'caught %', current_user;
                END $$;
            CREATE FUNCTION traps.trap() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN PERFORM traps.note(); RETURN new; END $$;
            """.encode()
        )
        yield Database(as_user(address, loader), loader, neighbour, as_neighbour, as_owner)
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {schema} (FORCE)")


def sync(destination: PgvectorDestination) -> None:
    destination.prepare(SchemaMapping())
    destination.apply(batch(asset("a", feature("f1"))))
    destination.build_indexes()


READ = Feature("f1", "video", {}, {"model-v1": dense()})
SOURCE = MemorySource({"ads": [Asset("a", "1", "video", features=(READ,))]})


def refilled(destination: PgvectorDestination) -> object:
    """Another store from this one, and this one from the other."""
    other = MemoryDestination()
    asyncio.run(refill(destination, other, name="media"))
    return asyncio.run(refill(other, destination, name="media", deletes=DeleteGuard(max_share=1))).destinations


COMMANDS: dict[str, Callable[[PgvectorDestination], object]] = {
    "sync": sync,
    "plan": lambda destination: destination.planned(SchemaMapping()).refusal,
    "verify": lambda destination: asyncio.run(verify(SOURCE, [destination], name="media")).to_dict(),
    "verify --security": lambda destination: destination.security(),
    "refill": refilled,
    "status": lambda destination: destination.status(),
    "search": lambda destination: destination.search(SearchQuery(Modality.VIDEO, like="f1")),
    "quarantine list": lambda destination: list(destination.rejected()),
    "quarantine drop": lambda destination: destination.forget_rejected("ads", ["a"]),
    "quarantine replay": lambda destination: destination.read_again("ads", ["a"]),
    "indexes list": lambda destination: destination.vector_indexes(),
    "indexes rebuild": lambda destination: list(destination.rebuild_indexes([])),
    "sql docs": lambda destination: destination.describe(),
    "show": lambda destination: destination.first_rows(3),
    "vectors list": lambda destination: destination.vector_tables(),
    "vectors drop": lambda destination: destination.drop_vector_tables([]),
}


def run_all(database: Database) -> dict[str, str]:
    """What each command said, be it an error or an answer."""
    said = {}
    for name, command in COMMANDS.items():
        with closing(PgvectorDestination("media", database.url)) as destination:
            try:
                said[name] = str(command(destination))
            except VectorferryError as error:
                said[name] = str(error)
    return said


def caught(database: Database, said: dict[str, str]) -> list[str]:
    """Commands, or roles, that have run what the neighbour wrote."""
    roles = database.as_owner.execute("SELECT who FROM public.caught").fetchall()
    return [role for (role,) in roles] + [name for name, text in said.items() if "caught" in text]


def plant(database: Database, *statements: str) -> None:
    """Have the neighbour take our tables, as a sync would make them, and change them."""
    owner, neighbour = database.as_owner, database.neighbour
    with closing(PgvectorDestination("media", owner.info.dsn)) as destination:
        sync(destination)
    relations = owner.execute(
        "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = 'media' AND c.relkind IN ('r', 'v')"
    ).fetchall()
    for (name,) in relations:
        owner.execute(f"ALTER TABLE {name} OWNER TO {neighbour}")
    owner.execute(f"ALTER SCHEMA media OWNER TO {neighbour}")
    database.as_neighbour.execute(
        "GRANT ALL ON SCHEMA media TO PUBLIC; GRANT ALL ON ALL TABLES IN SCHEMA media TO PUBLIC"
    )
    for statement in statements:
        database.as_neighbour.execute(statement.encode())


TRIGGERS = [
    f"CREATE TRIGGER trap BEFORE INSERT OR UPDATE ON media.{table} FOR EACH ROW EXECUTE FUNCTION traps.trap()"
    for table in ("assets", "video", "video__model_v1", "_sync_ledger")
]
POLICIES = [
    statement
    for table in ("_sync_modalities", "_sync_vectors", "_sync_quarantine", "_sync_ledger", "assets", "video__model_v1")
    for statement in (
        f"ALTER TABLE media.{table} ENABLE ROW LEVEL SECURITY",
        f"CREATE POLICY trap ON media.{table} USING (traps.note()) WITH CHECK (traps.note())",
    )
]
VIEW = [
    "ALTER TABLE media._sync_quarantine RENAME TO taken",
    "CREATE VIEW media._sync_quarantine AS SELECT * FROM media.taken WHERE traps.note()",
    "GRANT ALL ON media._sync_quarantine TO PUBLIC",
]
RULE = ["CREATE RULE trap AS ON INSERT TO media.assets DO ALSO SELECT traps.note()"]


@pytest.mark.parametrize("planted", family([TRIGGERS, POLICIES, VIEW, RULE]), ids=["trigger", "policy", "view", "rule"])
def test_nothing_in_a_planted_schema_is_run(database: Database, planted: list[str]) -> None:
    plant(database, *planted)
    said = run_all(database)
    assert caught(database, said) == []
    assert database.neighbour in said["sync"]
    assert database.neighbour in said["plan"]


@pytest.mark.long
def test_a_trigger_on_a_table_of_ours_is_refused_by_name(database: Database) -> None:
    with closing(PgvectorDestination("media", database.url)) as destination:
        sync(destination)
    database.as_owner.execute(f"GRANT USAGE ON SCHEMA media TO {database.neighbour}")
    database.as_owner.execute(f"GRANT TRIGGER ON media.video TO {database.neighbour}")
    database.as_neighbour.execute(TRIGGERS[1].encode())
    said = run_all(database)
    assert caught(database, said) == []
    for command in ("sync", "plan"):
        assert f"the trigger trap calls a function of {database.neighbour}" in said[command]


@pytest.mark.long
def test_two_loaders_that_share_a_role_load_each_other_s_tables(database: Database) -> None:
    database.as_owner.execute(f"GRANT {database.neighbour} TO {database.loader}")
    plant(database)
    said = run_all(database)
    assert database.neighbour not in "".join(said.values())
    assert said["plan"] == "None"
    assert "DIFFERENT" in said["verify"], "it was really compared"
    assert "unchanged=1" in said["refill"]
    assert "everybody has CREATE, USAGE" in said["verify --security"]


NAMESAKES = """
CREATE SCHEMA {loader};
GRANT USAGE ON SCHEMA {loader} TO PUBLIC;
CREATE FUNCTION {loader}.hashtextextended(text, integer) RETURNS bigint
    LANGUAGE sql AS 'SELECT traps.note()::int::bigint';
CREATE FUNCTION {loader}.is_ours(name, name) RETURNS boolean LANGUAGE sql AS 'SELECT traps.note()';
CREATE OPERATOR {loader}.= (LEFTARG = name, RIGHTARG = name, FUNCTION = {loader}.is_ours);
CREATE FUNCTION {loader}.is_text(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT traps.note()';
CREATE OPERATOR {loader}.= (LEFTARG = text, RIGHTARG = text, FUNCTION = {loader}.is_text);
CREATE FUNCTION {loader}.count(text) RETURNS bigint LANGUAGE sql AS 'SELECT traps.note()::int::bigint';
CREATE FUNCTION {loader}.format_type(oid, integer) RETURNS text LANGUAGE sql AS 'SELECT traps.note()::text';
CREATE TABLE {loader}.pg_class (oid oid);
"""


@pytest.mark.long
def test_a_schema_named_like_the_loader_is_not_looked_into(database: Database) -> None:
    database.as_neighbour.execute(NAMESAKES.format(loader=database.loader).encode())
    said = run_all(database)
    assert caught(database, said) == []
    assert database.as_owner.execute("SELECT count(*) FROM media.video").fetchone() == (1,), said


HELD = "SELECT (CAST(classid AS bigint) << 32) | CAST(objid AS bigint) FROM pg_locks WHERE locktype = 'advisory'"
PLACES = [("extension",), ("ddl", "media"), ("pgvector", "media"), ("pgvector", "media", "ads")]


def guessed_key(place: tuple[str, ...]) -> int:
    """A key that anybody can work out, as it once was."""
    digest = blake2b(canonical_json(["vectorferry", *place]), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


# Each fits better than what Postgres itself has, which takes a cast.
BETTER_MATCHES = """
CREATE FUNCTION {place}.is_it(oid, regclass) RETURNS boolean LANGUAGE sql AS 'SELECT traps.note()';
CREATE OPERATOR {place}.= (LEFTARG = oid, RIGHTARG = regclass, FUNCTION = {place}.is_it);
CREATE FUNCTION {place}.is_text(text, varchar) RETURNS boolean LANGUAGE sql AS 'SELECT traps.note()';
CREATE OPERATOR {place}.= (LEFTARG = text, RIGHTARG = varchar, FUNCTION = {place}.is_text);
CREATE FUNCTION {place}.unnest(text[]) RETURNS SETOF text LANGUAGE sql AS 'SELECT traps.note()::text';
CREATE FUNCTION {place}.format_type(oid, integer) RETURNS text LANGUAGE sql AS 'SELECT traps.note()::text';
CREATE FUNCTION {place}.array_agg(text) RETURNS text[] LANGUAGE sql AS 'SELECT ARRAY[traps.note()::text]';
"""


@pytest.mark.long
def test_nothing_beside_pgvector_in_its_schema_is_run(database: Database) -> None:
    found = database.as_owner.execute(
        "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'vector'"
    ).fetchone()
    assert found is not None
    (place,) = found
    database.as_owner.execute(f"GRANT CREATE ON SCHEMA {place} TO PUBLIC")
    database.as_neighbour.execute(BETTER_MATCHES.format(place=place).encode())
    said = run_all(database)
    assert caught(database, said) == []
    assert database.as_owner.execute("SELECT count(*) FROM media.video").fetchone() == (1,), said


def test_who_may_only_connect_locks_nobody_out(database: Database) -> None:
    """They take what can be guessed, and what they have seen to be held."""
    take = "SELECT pg_advisory_lock(%s)"
    with closing(PgvectorDestination("media", database.url)) as destination:
        for place in PLACES:
            database.as_neighbour.execute(take, [guessed_key(place)])
        with destination.lock("ads"):
            seen = {key for (key,) in database.as_neighbour.execute(HELD)} - set(map(guessed_key, PLACES))
            sync(destination)
        assert seen
        for key in seen:
            database.as_neighbour.execute(take, [key])
        with destination.lock("ads"):
            sync(destination)
        destination.drop_vector_tables([])


def test_roles_that_can_load_the_same_tables_lock_each_other_out(database: Database) -> None:
    database.as_owner.execute(
        f"CREATE ROLE {database.loader}s; GRANT {database.loader}s TO {database.loader}, {database.neighbour}"
    )
    neighbours_url = as_user(database.url, database.neighbour)
    with (
        closing(PgvectorDestination("media", database.url)) as one,
        closing(PgvectorDestination("media", neighbours_url)) as other,
    ):
        for first, second, role in ((one, other, database.loader), (other, one, database.neighbour)):
            with first.lock("ads"), pytest.raises(LockedError, match=f"role {role}, process"), second.lock("ads"):
                pass
