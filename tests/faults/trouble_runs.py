"""A sync in trouble, the same sync once more, and what an undisturbed one would have left."""

from __future__ import annotations

import contextlib
import gc
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql

from vectorferry import Reread, Summary, SyncOptions, parse_settings, run_sync
from vectorferry.connector.plugin import Capability, Destination, VectorferryError
from vectorferry.connector.sandbox import Sandbox
from vectorferry.destinations import PgvectorDestination

from ..tables import DIGESTS, RUNS, WRITTEN_AT, differences, tables_of
from .media import ASSETS, Content, Service
from .proxy import Proxy, running_proxy
from .troubles import Trouble

__all__ = ["AFTER", "BEFORE", "Course", "Outcome", "TroubledWorld", "Worlds", "troubled_worlds"]

Connection = psycopg.Connection[Any]

BEFORE: Final[Content] = dict.fromkeys(range(ASSETS), 0)
AFTER: Final[Content] = {number: number % 3 for number in range(2, ASSETS + 2)}
"""Two assets are gone, two are new, and most of the others have changed."""

GUARDED: Final = 0.1
"""A share that not even one page of assets is."""

KEY: Final = (
    "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid "
    "AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]) "  # without what it only includes
    "WHERE i.indisprimary AND i.indrelid = format('%%I.%%I', %s::text, %s::text)::regclass"
)


@dataclass
class Outcome:
    """Rows of all tables together, against those of an undisturbed run."""

    missing: int = 0
    duplicated: int = 0
    stale: int = 0
    """Of another content, or of something that is gone."""

    def __iadd__(self, other: Outcome) -> Outcome:
        self.missing += other.missing
        self.duplicated += other.duplicated
        self.stale += other.stale
        return self


@dataclass(frozen=True)
class TroubledWorld:
    """A source, a Postgres behind a proxy, and what undisturbed syncs leave."""

    service: Service
    sandbox: Sandbox
    proxy: Proxy
    database: str
    proxied: str
    undisturbed: str
    """The schema that an undisturbed sync has filled."""

    def serve(self, content: Content) -> None:
        """Let the source hold this, and nothing else."""
        self.service.serve(self.sandbox, content)

    def sync(self, schema: str, url: str | None = None, *, max_share: float = 1.0, reread: bool = False) -> Summary:
        """To its end, in this process."""
        settings = {**self._settings(schema, url or self.database), "deletes": {"max_share": max_share}}
        return run_sync(parse_settings(settings, "test"), SyncOptions(reread=Reread(everything=reread)))

    def mislead(self, trouble: Trouble, schema: str) -> int:
        """Sync, and read everything again while answers are plausible and wrong. How many requests they answered."""
        assert self.sync(schema).exit_code == 0
        with self._in(trouble) as happened, contextlib.suppress(VectorferryError):
            self.sync(schema, max_share=GUARDED, reread=True)
        return happened.total()

    def heal(self, schema: str) -> Summary:
        """Read everything again while all answers are right."""
        return self.sync(schema, max_share=GUARDED, reread=True)

    def lost(self, connection: Connection, schema: str) -> list[str]:
        """Tables of assets, features and vectors that have lost rows; a vector of another dimension is none."""
        tables = [table for table in tables_of(connection, self.undisturbed) if not table.startswith("_")]
        rows = {
            table: (_rows(connection, self.undisturbed, table), _rows(connection, schema, table)) for table in tables
        }
        return [table for table, (wanted, held) in rows.items() if wanted.keys() - held.keys()]

    def fill(self, schema: str, content: Content) -> None:
        """Sync this content without any trouble."""
        self.serve(content)
        assert self.sync(schema).exit_code == 0

    def go_through(self, trouble: Trouble, schema: str, content: Content = AFTER) -> int:
        """Sync this content in trouble, and then without, until nothing is set aside.

        How many requests or connections it hit.
        """
        self.serve(content)
        with _lost_cursors(trouble), self._in(trouble) as happened, contextlib.suppress(VectorferryError):
            summary = self.sync(schema, self.proxied)
            assert not (trouble.fails and _misled(self.sandbox)) or summary.exit_code not in (0, 3)
        self.serve(content)
        if self.sync(schema).exit_code == 3:
            self._read_again(schema)
            assert self.sync(schema).exit_code == 0
        return happened.total()

    def outcome(self, connection: Connection, schema: str, undisturbed: str = "", *, without: str = "") -> Outcome:
        """What the schema lacks, and what it has too much of, in all tables but one, and the record of runs."""
        found, undisturbed = Outcome(), undisturbed or self.undisturbed
        tables = {table for table in tables_of(connection, undisturbed) if not RUNS.fullmatch(table)}
        for table in tables - {without}:
            wanted, held = _rows(connection, undisturbed, table), _rows(connection, schema, table)
            found.missing += len(wanted.keys() - held.keys())
            found.duplicated += sum(rows.total() - 1 for rows in held.values())
            found.stale += sum(wanted.get(key) != rows for key, rows in held.items() if rows.total() == 1)
        return found

    @contextlib.contextmanager
    def _in(self, trouble: Trouble) -> Iterator[Counter[str]]:
        hits: Counter[str] = Counter()
        self.proxy.cuts, self.proxy.cut = 0, trouble.cut
        self.sandbox.faults.add(*trouble.rules)
        try:
            yield hits
        finally:
            hits[trouble.name] = sum(self.sandbox.faults.hits()) + self.proxy.cuts
            self.sandbox.faults.clear()
            self.proxy.cut = None

    def _read_again(self, schema: str) -> None:
        destination: Destination = PgvectorDestination(schema, self.database)
        assert Capability.QUARANTINE in destination.capabilities
        with contextlib.closing(destination):
            named = {record.asset_id for _, record, _ in destination.rejected(self.service.collection)}
            destination.read_again(self.service.collection, sorted(named))

    def _settings(self, schema: str, url: str) -> dict[str, Any]:
        retry = {"attempts": 3, "first_wait": 0.01, "longest_wait": 0.05}
        if url != self.database:  # in trouble, where nothing has to succeed
            retry |= {"total_seconds": 10, "timeout_seconds": 0.5}
        few = {"collections": [self.service.collection], "page_size": 5, "concurrency": 3}
        source = self.service.source(self.sandbox.url, self.sandbox.api_key)
        return {
            "name": "media",
            "source": {**source, **few, "retry": retry},
            "destinations": [{"type": "pgvector", "url": url, "schema": schema}],
            "batch": {"rows": 15},
        }


Worlds = Callable[[Service], TroubledWorld]


class Course:
    """One schema that goes from trouble to trouble, each time to the other one of two contents."""

    def __init__(self, world: TroubledWorld) -> None:
        self._world = world
        self._content = BEFORE
        self._schema = f"{world.undisturbed}_troubled"
        self._undisturbed = {id(AFTER): world.undisturbed, id(BEFORE): f"{world.undisturbed}_before"}
        self._sound = False
        world.fill(self._undisturbed[id(BEFORE)], BEFORE)

    def go_through(self, connection: Connection, trouble: Trouble) -> tuple[int, Outcome]:
        """How often the trouble hit, and what the next sync leaves against what an undisturbed one does.

        Of tables that differ in anything else than their rows it asserts that there are none.
        """
        if not self._sound:
            connection.execute(f"DROP SCHEMA IF EXISTS {self._schema} CASCADE")
            self._world.fill(self._schema, self._content)
        self._sound = False
        self._content = BEFORE if self._content is AFTER else AFTER
        undisturbed = self._undisturbed[id(self._content)]
        hits = self._world.go_through(trouble, self._schema, self._content)
        outcome = self._world.outcome(connection, self._schema, undisturbed)
        assert outcome != Outcome() or differences(connection, undisturbed, self._schema) == []
        self._sound = outcome == Outcome()
        return hits, outcome


@contextlib.contextmanager
def troubled_worlds(sandbox: Sandbox, database: str, schemas: str) -> Iterator[Worlds]:
    """That of each service, made when it is first asked for, in a schema whose name begins so."""
    made: dict[str, TroubledWorld] = {}
    with running_proxy(database) as (proxy, proxied):

        def world_of(service: Service) -> TroubledWorld:
            if service.name not in made:
                undisturbed = f"{schemas}_{service.name}"
                world = made[service.name] = TroubledWorld(service, sandbox, proxy, database, proxied, undisturbed)
                world.fill(undisturbed, AFTER)
            return made[service.name]

        yield world_of


def _misled(sandbox: Sandbox) -> bool:
    """Whether a wrong answer was given."""
    return any(sandbox.faults.hits())


@contextlib.contextmanager
def _lost_cursors(trouble: Trouble) -> Iterator[None]:
    """psycopg warns of a cursor that could not be closed because its connection was gone: not of a leak, here.

    SQLAlchemy logs it, and what a test logs is kept until it ends, with the cursor.
    """
    if trouble.cut is None:
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*ServerCursor.* was deleted while still open", ResourceWarning)
        logging.disable(logging.ERROR)
        yield
        logging.disable(logging.NOTSET)
        gc.collect()


def _rows(connection: Connection, schema: str, table: str) -> dict[str, Counter[str]]:
    """By key, the contents of the rows that have it; a row of a table without one is its own key."""
    rows: dict[str, Counter[str]] = {}
    keys = [name for (name,) in connection.execute(KEY, [schema, table])]
    query = sql.SQL("SELECT to_jsonb(a) - %s::text[] FROM {} a").format(sql.Identifier(schema, table))
    for (row,) in connection.execute(query, [[*WRITTEN_AT, *DIGESTS]]):
        key = str([row[name] for name in keys] or row)
        rows.setdefault(key, Counter())[str(row)] += 1
    return rows
