"""The disk under Postgres is full: the sync says so and leaves nothing half written; with space again, the next one
makes up for it.

On a Postgres of its own, with small disks for its data and for its write-ahead log.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest
from psycopg import sql

from vectorferry import parse_settings, run_sync
from vectorferry.connector.plugin import DestinationError
from vectorferry.connector.sandbox import GeneratedCatalogue, Sandbox, SandboxSettings, running_sandbox
from vectorferry.destinations import EmbeddedPostgres
from vectorferry.destinations._embedded import _server
from vectorferry.destinations._postgres import _errors

from ..examples import family
from ..tables import differences
from .media import Content
from .mixpeek_media import MIXPEEK
from .proxy import Proxy
from .small_disk import SmallDisk, end_of_log_near, files_no_larger_than, log_offset, mounted
from .trouble_runs import AFTER, BEFORE, Outcome, TroubledWorld

Connection = psycopg.Connection[Any]

OLD, NEW = "t_old", "t_new"
LARGE = GeneratedCatalogue(assets=40, features_per_asset=20, dimension=1024, collections=("ads",))
FULL = r"The server's disk is full\. Free space and run again; nothing of the last batch was kept\."
GONE = r"Postgres at [^\n]*\n(Check that the server runs|Wait until it takes connections)"
WITH_ASSETS = """
SELECT table_name FROM information_schema.columns JOIN pg_tables ON (schemaname, tablename) = (table_schema, table_name)
WHERE table_schema = %s AND column_name = 'asset_id'
"""


class Store:
    """A Postgres with what undisturbed syncs leave of the older and of the newer content. It can be stopped."""

    def __init__(self, directory: Path, sandbox: Sandbox) -> None:
        self._directory = directory
        self._sandbox = sandbox
        self._server = EmbeddedPostgres(directory)
        self.sync(OLD, BEFORE)
        self.sync(NEW, AFTER)

    @property
    def world(self) -> TroubledWorld:
        """To sync into it."""
        return TroubledWorld(MIXPEEK, self._sandbox, Proxy(), self._server.url, self._server.url, NEW)

    def sync(self, schema: str, content: Content) -> None:
        """One that must succeed."""
        self.world.serve(content)
        assert self.world.sync(schema).exit_code == 0

    def fail(self, schema: str, content: Content) -> str:
        """One that must not; what it says."""
        self.world.serve(content)
        with pytest.raises(DestinationError) as caught:
            self.world.sync(schema)
        assert caught.value.exit_code == 1
        return str(caught.value)

    def connect(self) -> Connection:
        """With every statement in a transaction of its own."""
        return psycopg.connect(self._server.url, autocommit=True)

    def stop(self) -> None:
        """Or let go of one that has ended by itself."""
        self._server.close()

    def start(self) -> None:
        """Again, after `stop`."""
        self._server = EmbeddedPostgres(self._directory)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox() as running, pytest.MonkeyPatch.context() as patches:
        patches.setattr(_errors, "_SECONDS_TO_RESTART", 0.05)
        patches.setattr(_server, "_PATIENT_SECONDS", 0.5)
        yield running


@pytest.fixture
def disk(passable_path: Path) -> Iterator[SmallDisk]:
    with mounted(passable_path / "small") as mount:
        yield mount


@pytest.fixture(scope="module")
def small(sandbox: Sandbox) -> Iterator[tuple[Store, SmallDisk]]:
    """A store whose data are on a small disk."""
    with TemporaryDirectory(prefix="vectorferry-test-") as name, mounted(Path(name) / "small") as disk:
        Path(name).chmod(0o755)
        store = Store(disk.path / "postgres", sandbox)
        yield store, disk
        store.stop()


@pytest.mark.parametrize("update", family([True, False]))
@pytest.mark.long
def test_a_disk_that_is_full_for_the_data(small: tuple[Store, SmallDisk], schema: str, update: bool) -> None:
    store, disk = small
    if update:
        store.sync(schema, BEFORE)
    disk.fill()
    assert_matches(store.fail(schema, AFTER), FULL)
    disk.free()
    assert_made_up(store, schema)


@pytest.mark.long
def test_a_disk_that_is_full_after_some_batches(small: tuple[Store, SmallDisk], schema: str) -> None:
    """With more and more room, until it suffices."""
    store, disk = small
    for turn in range(1, 20):
        store.sync(f"{schema}_{turn}", BEFORE)
        disk.fill(turn * 80_000)
        store.world.serve(AFTER)
        with suppress(DestinationError):
            assert store.world.sync(f"{schema}_{turn}").exit_code == 0
            break
        assert_assets_are_whole(store, f"{schema}_{turn}")
        disk.free()
        assert_made_up(store, f"{schema}_{turn}")
    disk.free()
    assert turn > 1


@pytest.mark.long
def test_a_disk_that_is_full_for_the_log(disk: SmallDisk, passable_path: Path, sandbox: Sandbox) -> None:
    """Postgres ends itself, and cannot start before there is space."""
    store = Store(passable_path / "postgres", sandbox)
    store.sync("t_full", BEFORE)
    store.stop()
    _move(passable_path / "postgres" / "data" / "pg_wal", disk.path / "log")
    store.start()
    try:
        with store.connect() as connection:
            end_of_log_near(connection, left=100_000)
        disk.fill()
        assert_matches(store.fail("t_full", AFTER), f"{FULL}|{GONE}")
        disk.free()
        store.stop()
        store.start()
        assert_assets_are_whole(store, "t_full")
        assert_made_up(store, "t_full")
    finally:
        store.stop()


@pytest.mark.long
def test_a_log_that_may_not_grow(passable_path: Path, sandbox: Sandbox) -> None:
    """As under a quota. It needs no permission, so that it is tried everywhere."""
    store = Store(passable_path / "postgres", sandbox)
    try:
        store.sync("t_full", BEFORE)
        with store.connect() as connection:
            reached = log_offset(connection)
        store.stop()
        with files_no_larger_than(reached + 150_000):
            store.start()
        assert_matches(store.fail("t_full", AFTER), f"{FULL}|{GONE}")
        store.stop()
        store.start()
        assert_assets_are_whole(store, "t_full")
        assert_made_up(store, "t_full")
    finally:
        store.stop()


@pytest.mark.usefixtures("sandbox")
@pytest.mark.long
@pytest.mark.parametrize("megabytes", [38, 20, 54])
def test_a_disk_that_is_too_small_from_the_beginning(passable_path: Path, megabytes: int) -> None:
    """For an embedded Postgres: too small to make its data, to start, to make tables, to write, or to build indexes."""
    with running_sandbox(SandboxSettings(generate=LARGE)) as large, mounted(passable_path / "small", megabytes) as disk:
        settings = parse_settings(
            {
                "name": "media",
                "source": {"type": "mixpeek", "base_url": large.url, "api_key": large.api_key},
                "destinations": [{"type": "pgvector", "directory": str(disk.path / "postgres")}],
            },
            "test",
        )
        with pytest.raises(DestinationError) as caught:
            run_sync(settings)
        assert_matches(str(caught.value), rf"^(the )?embedded Postgres in .*\n({FULL}|The disk is full\. Free 100 MB)")
        disk.grow(400)
        summary = run_sync(settings)
        assert summary.exit_code == 0
        assert run_sync(settings).destinations["pgvector"].applied.assets.unchanged == LARGE.assets


def assert_matches(said: str, pattern: str) -> None:
    """What a sync said, in two lines."""
    __tracebackhide__ = True
    assert len(said.splitlines()) <= 2, said
    assert re.search(pattern, said), said


def assert_made_up(store: Store, schema: str) -> None:
    """The next sync leaves what an undisturbed one would have left."""
    store.sync(schema, AFTER)
    with store.connect() as connection:
        assert differences(connection, NEW, schema) == []
        assert store.world.outcome(connection, schema) == Outcome()


def assert_assets_are_whole(store: Store, schema: str) -> None:
    """Each as the older content has it in every table, or as the newer one has it."""
    with store.connect() as connection:
        old, new, held = (_by_asset(connection, one) for one in (OLD, NEW, schema))
    assert held
    for asset_id in old.keys() | new.keys():
        assert held.get(asset_id) in (old.get(asset_id), new.get(asset_id)), asset_id


def _by_asset(connection: Connection, schema: str) -> dict[str, Counter[str]]:
    """The rows of all tables."""
    found: dict[str, Counter[str]] = {}
    for (table,) in connection.execute(WITH_ASSETS, [schema]).fetchall():
        query = sql.SQL("SELECT asset_id, (to_jsonb(t) - 'synced_at' - 'seen_at')::text FROM {} t")
        for asset_id, row in connection.execute(query.format(sql.Identifier(schema, table))):
            found.setdefault(asset_id, Counter())[f"{table}: {row}"] += 1
    return found


def _move(directory: Path, to: Path) -> None:
    """With everything that belongs to whoever it belongs to, and a link in its place."""
    owner = directory.stat()
    shutil.copytree(directory, to)
    for path in (to, *to.rglob("*")):
        shutil.chown(path, owner.st_uid, owner.st_gid)
    to.chmod(0o700)
    shutil.rmtree(directory)
    directory.symlink_to(to)
