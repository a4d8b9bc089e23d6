"""Whatever defaults a role was given, a sync, a search and a comparison are as they are without them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
from psycopg import sql

from vectorferry.connector.sandbox import GeneratedCatalogue, Sandbox, SandboxSettings, running_sandbox

from ..end_to_end.command import KEY, Command
from ..pinecone import forget_budgets
from ..tables import differences
from ..urls import as_user

Connection = psycopg.Connection[Any]

CATALOGUE: Final = GeneratedCatalogue(assets=4, features_per_asset=3, dimension=8, collections=("ads",))

VOLATILE: Final = {
    "run_id",
    "uri",
    "seconds",
    "requests",
    "bytes",
    "write_units",
    "retries",
    "last_change",
    "host",
    "location",
}

WORST: Final[Mapping[str, str]] = {
    # Where neither the least nor the largest value is the worst one.
    # A machine that is busy may take some milliseconds for the first statement, which is under the default still.
    **dict.fromkeys(("statement_timeout", "lock_timeout", "transaction_timeout"), "300"),
    **dict.fromkeys(("idle_in_transaction_session_timeout", "idle_session_timeout"), "300"),
    "search_path": "planted, public, pg_catalog",
    "client_encoding": "LATIN1",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kathmandu",
    "extra_float_digits": "-15",
    "default_transaction_isolation": "serializable",
    "application_name": "vectorferry, process 1 on nowhere",
    "restrict_nonsystem_relation_kind": "view, foreign-table",
    "gin_fuzzy_search_limit": "1",
    "timezone_abbreviations": "India",
    "default_text_search_config": "pg_catalog.german",
}
LEFT_ALONE: Final = {
    "default_tablespace": "where tables are is the choice of whoever owns the database",
    "temp_tablespaces": "the same",
    "default_table_access_method": "the same",
    "role": "as whom one works is, too",
    "session_authorization": "cannot be a default",
    **dict.fromkeys(("transaction_deferrable", "transaction_isolation", "transaction_read_only"), "neither can these"),
    "local_preload_libraries": "a library that is missing lets nobody in",
    "temp_buffers": "its largest value is more memory than there is",
    "maintenance_work_mem": "the same",
    "max_parallel_maintenance_workers": "the same as the server's",
}
PLANTED: Final = """
CREATE SCHEMA IF NOT EXISTS planted;
GRANT USAGE ON SCHEMA planted TO PUBLIC;
CREATE OR REPLACE FUNCTION planted.set_config(text, text, boolean) RETURNS text LANGUAGE plpgsql
    AS $$ BEGIN RAISE 'planted'; END $$;
CREATE OR REPLACE FUNCTION planted.current_schema() RETURNS name LANGUAGE plpgsql AS $$ BEGIN RAISE 'planted'; END $$;
CREATE OR REPLACE FUNCTION planted.hashtextextended(text, bigint) RETURNS bigint LANGUAGE plpgsql
    AS $$ BEGIN RAISE 'planted'; END $$;
CREATE OR REPLACE FUNCTION planted.lower(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'planted'; END $$;
CREATE TABLE IF NOT EXISTS planted.pg_type (oid oid);
CREATE TABLE IF NOT EXISTS planted.pg_settings (name text);
CREATE TABLE IF NOT EXISTS planted.pg_class (oid oid);
CREATE TABLE IF NOT EXISTS planted.pg_namespace (oid oid);
GRANT ALL ON ALL TABLES IN SCHEMA planted TO PUBLIC;
"""


class World:
    """A sandbox, and a Postgres in which a role with defaults of its own syncs into a schema of its own."""

    def __init__(self, sandbox: Sandbox, url: str, directory: Path, admin: Connection) -> None:
        self._sandbox = sandbox
        self._url = url
        self._directory = directory
        self.admin = admin

    def told(self, schema: str, defaults: Mapping[str, str]) -> dict[str, Any]:
        """What every command tells a role with these defaults."""
        with self._role(schema, defaults) as url, running_sandbox(SandboxSettings(api_key=KEY)) as pinecone:
            command = Command(self._directory)
            command.configure(self._settings(url, schema, pinecone))
            feature_id = self._sandbox.mixpeek.feature_ids(self._sandbox.mixpeek.asset_ids("ads")[0])[0]
            forget_budgets()
            told = {
                "planned": command.told("plan"),
                "first": command.told("sync"),
                "second": command.told("sync"),
                "search": command.told("search", "--like", feature_id, "--destination", "pgvector"),
                "verify": command.told("verify", "--everything"),
                "status": command.told("status"),
                "plan": command.told("plan"),
            }
        return dict(_values(json.loads(json.dumps(told).replace(schema, "NAME"))))

    @contextmanager
    def _role(self, name: str, defaults: Mapping[str, str]) -> Iterator[str]:
        role = sql.Identifier(name)
        self.admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
        self.admin.execute(sql.SQL("CREATE SCHEMA {} AUTHORIZATION {}").format(role, role))
        for setting, value in defaults.items():
            given = sql.SQL(value) if setting == "search_path" else sql.Literal(value)
            self.admin.execute(sql.SQL("ALTER ROLE {} SET {} TO {}").format(role, sql.Identifier(setting), given))
        yield as_user(self._url, name)

    def _settings(self, url: str, schema: str, pinecone: Sandbox) -> dict[str, Any]:
        return {
            "name": "media",
            "source": {"type": "mixpeek", "base_url": self._sandbox.url, "api_key": KEY},
            "destinations": [
                {"type": "pgvector", "url": url, "schema": schema},
                {"type": "pinecone", "host": pinecone.url, "api_key": KEY, "vectors": "all"},
            ],
        }


@contextmanager
def opened(url: str, directory: Path) -> Iterator[World]:
    """A world in this Postgres."""
    with (
        running_sandbox(SandboxSettings(api_key=KEY, generate=CATALOGUE)) as sandbox,
        psycopg.connect(url, autocommit=True) as admin,
    ):
        admin.execute("CREATE EXTENSION IF NOT EXISTS vector")
        admin.execute(PLANTED)
        yield World(sandbox, url, directory, admin)


@pytest.fixture(scope="module")
def world(fresh_postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with opened(fresh_postgres_url, tmp_path_factory.mktemp("defaults")) as world:
        yield world


@pytest.fixture(scope="module")
def undisturbed(world: World) -> dict[str, Any]:
    return world.told("t_undisturbed", {})


@pytest.mark.long
@pytest.mark.parametrize("largest", [False, True], ids=["the least", "the largest"])
def test_all_at_once(world: World, undisturbed: dict[str, Any], schema: str, largest: bool) -> None:
    assert_undisturbed(world, undisturbed, schema, nasty_defaults(world.admin, largest=largest))


@pytest.mark.long
@pytest.mark.parametrize("isolation", ["serializable", "repeatable read"])
def test_an_isolation_that_keeps_snapshots(
    world: World, undisturbed: dict[str, Any], schema: str, isolation: str
) -> None:
    """Under which the build of an index would wait for our own transactions."""
    assert_undisturbed(world, undisturbed, schema, {"default_transaction_isolation": isolation})


@pytest.mark.long
def test_all_at_once_on_an_older_server(
    other_postgres_url: str, tmp_path: Path, undisturbed: dict[str, Any], schema: str
) -> None:
    with opened(other_postgres_url, tmp_path) as world:
        world.told("t_undisturbed", {})
        assert_undisturbed(world, undisturbed, schema, nasty_defaults(world.admin))


@pytest.mark.long
def test_each_alone(world: World, undisturbed: dict[str, Any], schema: str) -> None:
    """Two that hide each other's harm do not hide it here."""
    for number, (name, value) in enumerate(nasty_defaults(world.admin).items()):
        assert_undisturbed(world, undisturbed, f"{schema}_{number}", {name: value})


def nasty_defaults(admin: Connection, *, largest: bool = False) -> dict[str, str]:
    """For every setting that a user can make: the other value of two, the last one of several, the least number or the
    largest, and the worst one where that is known."""
    rows = admin.execute(
        "SELECT name, vartype, setting, enumvals, min_val, max_val FROM pg_settings WHERE context = 'user'"
    )
    found = {}
    for name, kind, setting, values, least, most in rows.fetchall():
        if name in WORST:
            found[name] = WORST[name]
        elif name in LEFT_ALONE or name.startswith("lc_"):
            continue
        elif kind == "bool":
            found[name] = "off" if setting == "on" else "on"
        elif kind == "enum":
            found[name] = next((value for value in reversed(values) if value != setting), setting)
        elif kind in ("integer", "real"):
            found[name] = most if largest else least
    return found


def assert_undisturbed(world: World, expected: dict[str, Any], schema: str, defaults: Mapping[str, str]) -> None:
    """Every answer, every row and every index."""
    __tracebackhide__ = True
    told = world.told(schema, defaults)
    changed = {place: value for place, value in told.items() if expected.get(place) != value}
    assert (changed, expected.keys() - told.keys()) == ({}, set()), defaults
    assert differences(world.admin, "t_undisturbed", schema, ignoring=["host"]) == [], defaults


def _values(told: Any, *place: str) -> Iterator[tuple[str, Any]]:
    """Every single value by its place, but those that no two runs have in common."""
    if not isinstance(told, dict | list):
        yield "/".join(place), told
        return
    for key, value in told.items() if isinstance(told, dict) else enumerate(told):
        if key not in VOLATILE:
            yield from _values(value, *place, str(key))
