"""No secret comes out anywhere: of any command, into any table, or into any file that is written meanwhile."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.examples import family
from vectorferry.connector.sandbox import Fault, GeneratedCatalogue, SandboxSettings, Status, running_sandbox

from .canary import DATABASE, PINECONE, SECRETS, SOURCE, leaks, stored, written
from .commands import Process, World, run_everything, run_some
from .services import echoing_service, refusing_postgres

CATALOGUE = GeneratedCatalogue(assets=4, features_per_asset=2, dimension=8, collections=("ads",))
ENDS = ("succeeded", "failed")
REVOKED = Fault(route="assets.features", do=Status(status=401), nth=2, times=None)


@pytest.fixture(scope="module")
def world(
    postgres_url: str, tmp_path_factory: pytest.TempPathFactory, unused_tcp_port_factory: Callable[[], int]
) -> Iterator[World]:
    """A good source and a good Pinecone, and bad ones of every kind."""
    directory = tmp_path_factory.mktemp("canary")
    (directory / "configured").mkdir()
    (directory / "work").mkdir()
    source = SandboxSettings(api_key=SOURCE, generate=CATALOGUE)
    with (
        running_sandbox(source) as good,
        running_sandbox(source.model_copy(update={"faults": (REVOKED,)})) as revoking,
        running_sandbox(SandboxSettings(api_key=PINECONE)) as pinecone,
        echoing_service() as echo,
        refusing_postgres() as port,
    ):
        feature_id = good.mixpeek.feature_ids(good.mixpeek.asset_ids("ads")[0])[0]
        good.mixpeek.put_vector(feature_id, "multimodal-v1", b"[NaN, 0.5]")
        yield World(
            source=good.url,
            revoking=revoking.url,
            pinecone=pinecone.url,
            echo=echo,
            database=make_url(postgres_url).set(password=DATABASE).render_as_string(hide_password=False),
            refusing=f"postgresql://ferry:{quote(DATABASE, safe='')}@127.0.0.1:{port}/media",
            nowhere=f"http://127.0.0.1:{unused_tcp_port_factory()}",
            directory=directory,
        )


@pytest.fixture(scope="module", params=family([run_some, run_everything]))
def processes(request: pytest.FixtureRequest, world: World) -> list[Process]:
    """Every command, once it has ended."""
    return list(request.param(world))


def test_every_command_ends_as_it_should_and_tells_no_secret(processes: list[Process]) -> None:
    assert len(processes) >= 12
    assert {process.name: leaks(process.output) for process in processes if leaks(process.output)} == {}
    assert [process for process in processes if process.exit_code != process.expected] == []
    for dagster in (process for process in processes if process.name == "dagster"):
        assert [line for line in dagster.output.splitlines() if line in ENDS] == ["succeeded", "succeeded", "failed"]


def test_no_secret_is_in_a_table(processes: list[Process], postgres_url: str) -> None:
    assert processes
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        contents = dict(stored(connection))
    assert {"t_canary.assets", "t_canary._sync_quarantine", "t_canary_literal.video"} <= contents.keys()
    assert {table: leaks(rows) for table, rows in contents.items() if leaks(rows)} == {}


def test_no_secret_is_in_a_file(processes: list[Process], world: World, postgres_directory: Path) -> None:
    assert processes
    files = dict(written(world.directory / "work"))
    if any(process.name == "dagster" for process in processes):
        assert any(name.endswith(".db") and b"STEP_FAILURE" in content for name, content in files.items())
        assert any(name.endswith(".db") and b"ASSET_MATERIALIZATION" in content for name, content in files.items())
        assert any(name.endswith(".err") and content for name, content in files.items())
    files["Postgres' log"] = (postgres_directory / "log").read_bytes()
    assert {name: leaks(content) for name, content in files.items() if leaks(content)} == {}


@pytest.mark.parametrize("secret", family(SECRETS.values()), ids=SECRETS)
@pytest.mark.parametrize(
    "form",
    [
        lambda secret: secret,
        lambda secret: f"postgresql://u:{quote(secret, safe='')}@h",
        lambda secret: b64encode(f"user:{secret}".encode()).decode(),
        lambda secret: repr({"key": secret}),
    ],
    ids=["plain", "in an address", "in base64", "in a dictionary"],
)
def test_a_leak_would_be_found(
    secret: str, form: Callable[[str], str], tmp_path: Path, postgres_url: str, schema: str
) -> None:
    leaked = f"before {form(secret)} after"
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").write_text(leaked, encoding="utf-8")
    assert leaks(leaked)
    assert [name for name, content in written(tmp_path) if leaks(content)] == ["below/file"]
    with psycopg.connect(postgres_url) as connection:
        connection.execute(f"CREATE SCHEMA {schema} CREATE TABLE held (said jsonb)")
        connection.execute(f"INSERT INTO {schema}.held VALUES (to_jsonb(%s::text))", [leaked])
        found = [table for table, rows in stored(connection) if leaks(rows)]
        assert f"{schema}.held" in found
        connection.rollback()


def test_what_is_no_leak_is_not_taken_for_one() -> None:
    assert leaks("sk_canary, pcsk_, canary, postgresql://ferry:***@127.0.0.1/media") == []
