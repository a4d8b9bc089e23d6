"""`verify --security`: each thing that lets others do more than they need is found, with what ends it; a clean store
gives no finding."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from vectorferry.connector.plugin import DestinationError, SchemaMapping, SecurityFinding
from vectorferry.connector.sandbox import running_sandbox
from vectorferry.destinations import PgvectorDestination

from ..builders import asset, batch, feature
from ..connector.cli.conftest import COMMANDS
from ..examples import family
from ..pinecone import forget_budgets, pinecone_alone, pinecone_destination
from ..urls import as_user
from .test_neighbours import Database, Sql, database  # noqa: F401 - a fixture

AS_LOADER = pytest.mark.parametrize("database", ["loader, public"], indirect=True)


@pytest.fixture
def store(database: Database) -> Database:  # noqa: F811
    """A sync's, as it leaves it, and the two grants of one who may only ask."""
    with closing(PgvectorDestination("media", database.url)) as destination:
        destination.prepare(SchemaMapping())
        destination.apply(batch(asset("a", feature("f1"))))
        destination.build_indexes()
    neighbour = database.neighbour
    database.as_owner.execute(f"GRANT USAGE ON SCHEMA media TO {neighbour}")
    database.as_owner.execute(f"GRANT SELECT ON media.video_model_v1 TO {neighbour}")
    return database


def findings(url: str) -> list[SecurityFinding]:
    with closing(PgvectorDestination("media", url)) as destination:
        return [each for each in destination.security().findings if "superuser" not in each.problem]


ATTACKS = {
    "schema": "ALTER SCHEMA media OWNER TO {neighbour}",
    "table": "ALTER TABLE media.video OWNER TO {neighbour}",
    "create": "GRANT CREATE ON SCHEMA media TO {neighbour}",
    "write": "GRANT UPDATE, TRIGGER ON media.video TO {neighbour}",
    "column": "GRANT UPDATE (text) ON media.video TO {neighbour}",
    "pass on": "GRANT SELECT ON media.video TO {neighbour} WITH GRANT OPTION",
    "everybody": "GRANT SELECT ON media.assets TO PUBLIC",
    "by default": "ALTER DEFAULT PRIVILEGES FOR ROLE {loader} IN SCHEMA media GRANT INSERT ON TABLES TO PUBLIC",
    "trigger": "CREATE TRIGGER trap BEFORE INSERT ON media.video FOR EACH ROW EXECUTE FUNCTION traps.trap()",
    "rule": "CREATE RULE trap AS ON INSERT TO media.assets DO ALSO SELECT 1",
    "function": "CREATE FUNCTION media.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'; "
    "ALTER FUNCTION media.mine OWNER TO {neighbour}",
}
HOME = """
ALTER SCHEMA media OWNER TO {loader}; ALTER TABLE media.video OWNER TO {loader}; DROP FUNCTION IF EXISTS media.mine();
"""
NAMED = {
    "schema": "schema media",
    "table": "table media.video",
    "create": "schema media",
    "write": "table media.video",
    "column": "column media.video.text",
    "pass on": "table media.video",
    "everybody": "table media.assets",
    "by default": "tables that {loader} makes",
    "trigger": "trigger trap on media.video",
    "rule": "rule trap on media.assets",
    "function": "function media.mine()",
}


@pytest.mark.parametrize("database", family(["loader, public", "superuser, extensions"]), indirect=True)
def test_each_is_found_by_whoever_looks_and_what_is_advised_ends_it(store: Database) -> None:
    reader = f"{store.neighbour}_reader"
    store.as_owner.execute(f"CREATE ROLE {reader} LOGIN")
    reader_url = as_user(store.url, reader)
    assert findings(store.url) == findings(reader_url) == []
    for attack, statements in ATTACKS.items():
        store.as_owner.execute(statements.format(loader=store.loader, neighbour=store.neighbour).encode())
        (finding,) = findings(store.url)
        assert finding.subject == NAMED[attack].format(loader=store.loader)
        if attack != "schema":  # to one who only looks, its owner is who loads
            assert findings(reader_url) == [finding]
        remedy = finding.remedy.partition("to be trusted: ")[2] or finding.remedy
        store.as_owner.execute(remedy.encode())
        assert findings(store.url) == []
        store.as_owner.execute(f"REVOKE {store.neighbour} FROM {store.loader}")
        store.as_owner.execute(HOME.format(loader=store.loader))


@AS_LOADER
@pytest.mark.long
def test_who_may_make_things_beside_pgvector_is_named(store: Database) -> None:
    owner = store.as_owner
    for place in ("public", "extensions", "vectors"):
        owner.execute(f"CREATE SCHEMA IF NOT EXISTS {place}; ALTER EXTENSION vector SET SCHEMA {place}")
        assert findings(store.url) == []
        owner.execute(f"GRANT CREATE ON SCHEMA {place} TO PUBLIC")
        (finding,) = findings(store.url)
        assert finding.problem.startswith("everybody may make things in it")
        owner.execute(finding.remedy.encode())
        owner.execute(f"ALTER SCHEMA {place} OWNER TO {store.neighbour}")
        (finding,) = findings(store.url)
        assert finding.problem.startswith(f"{store.neighbour} may make things in it")


@AS_LOADER
@pytest.mark.long
def test_two_loaders_that_share_a_role_are_no_strangers(store: Database) -> None:
    store.as_owner.execute(f"GRANT {store.loader} TO {store.neighbour}")
    assert findings(as_user(store.url, store.neighbour)) == []


def test_a_superuser_is_advised_to_be_none(store: Database) -> None:
    with closing(PgvectorDestination("media", store.url)) as destination:
        check = destination.security()
    is_superuser = store.as_owner.execute("SELECT rolsuper FROM pg_roles WHERE rolname = %s", [store.loader]).fetchone()
    assert (len(check.findings), check.loader) == (int(is_superuser == (True,)), store.loader)


@pytest.fixture
def embedded(passable_path: Path) -> Path:
    """The directory of an embedded server that has run."""
    directory = passable_path / "postgres"
    with closing(PgvectorDestination("media", None, directory=directory)) as destination:
        destination.prepare(SchemaMapping())
    return directory


def embedded_findings(directory: Path) -> list[Any]:
    with closing(PgvectorDestination("media", None, directory=directory)) as destination:
        return [*destination.security().findings]


@pytest.mark.long
def test_modes_of_an_embedded_server(embedded: Path) -> None:
    assert embedded_findings(embedded) == []
    for path, mode in ((embedded, 0o777), (embedded / "log", 0o644), ((embedded / "data").resolve(), 0o755)):
        before = path.stat().st_mode & 0o777
        path.chmod(mode)
        (finding,) = embedded_findings(embedded)
        assert finding.subject == str(path)
        path.chmod(before)
    assert embedded_findings(embedded) == []


@AS_LOADER
def test_nothing_is_made_where_nothing_was_synced(passable_path: Path, database: Database) -> None:  # noqa: F811
    with closing(PgvectorDestination("media", database.url)) as destination, pytest.raises(DestinationError):
        destination.security()
    with pytest.raises(DestinationError, match="run `vectorferry sync` first"):
        embedded_findings(passable_path / "new")
    assert not os.path.lexists(passable_path / "new")


def test_the_manifest_of_pinecone_is_looked_at_too(postgres_url: str, schema: str) -> None:
    forget_budgets()
    with (
        running_sandbox(pinecone_alone()) as sandbox,
        closing(pinecone_destination(sandbox, postgres_url, schema)) as destination,
        psycopg.connect(postgres_url, autocommit=True) as owner,
    ):
        with pytest.raises(DestinationError, match="run `vectorferry sync` first"):
            destination.security()
        destination.prepare(SchemaMapping())
        owner.execute(f"GRANT DELETE ON {schema}._sync_pinecone_ledger TO PUBLIC")
        assert [each.subject for each in destination.security().findings if "superuser" not in each.problem] == [
            f"table {schema}._sync_pinecone_ledger"
        ]


def command(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(COMMANDS, ["verify", "--security", *arguments])
    return result.exit_code, result.output


@AS_LOADER
def test_the_command(store: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("vectorferry.yaml").write_text(
        "name: media\nsource: {type: sandbox}\n"
        f"destinations: [{{type: pgvector, schema: media, url: '{as_user(store.url, store.neighbour)}'}}]\n"
    )
    code, shown = command()
    assert (code, f"loaded by {store.loader}: nothing was found" in shown) == (0, True)
    store.as_owner.execute(ATTACKS["write"].format(neighbour=store.neighbour).encode())
    code, shown = command()
    assert code == 1
    assert f"table media.video {store.neighbour} has TRIGGER, UPDATE" in shown
    assert f'REVOKE TRIGGER, UPDATE ON TABLE media.video FROM "{store.neighbour}";' in shown
    code, answer = command("--json")
    told = json.loads(answer)
    assert (code, told["exit_code"], told["destinations"]["pgvector"]["loader"]) == (1, 1, store.loader)
    assert {"subject", "problem", "remedy"} == told["destinations"]["pgvector"]["findings"][-1].keys()
    assert command("--repair")[0] == 2
