"""A sync in trouble, the same sync once more, and what an undisturbed one would have left."""

from __future__ import annotations

import contextlib
import gc
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import psycopg
from psycopg import sql

from connector import Destination, Quarantined, Summary, VectorferryError, parse_settings, run_sync
from connector.sandbox import Sandbox
from destinations import PgvectorDestination

from ..tables import tables_of
from .media import ASSETS, Content, Service
from .proxy import Proxy
from .troubles import Trouble

__all__ = ["AFTER", "BEFORE", "Outcome", "TroubledWorld"]

Connection = psycopg.Connection[Any]

BEFORE: Final[Content] = dict.fromkeys(range(ASSETS), 0)
AFTER: Final[Content] = {number: number % 3 for number in range(2, ASSETS + 2)}
"""Two assets are gone, two are new, and most of the others have changed."""

WHEN: Final = ["synced_at", "seen_at"]
KEY: Final = (
    "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) "
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
    """A source, a Postgres behind a proxy, and the schema that an undisturbed sync has filled."""

    service: Service
    sandbox: Sandbox
    proxy: Proxy
    database: str
    proxied: str
    undisturbed: str

    def serve(self, content: Content) -> None:
        """Let the source hold this, and nothing else."""
        self.service.serve(self.sandbox, content)

    def sync(self, schema: str, url: str | None = None) -> Summary:
        """To its end, in this process."""
        return run_sync(parse_settings(self._settings(schema, url or self.database), "test"))

    def go_through(self, trouble: Trouble, schema: str, *, update: bool = True) -> int:
        """Sync (an `update`: on top of something older) in trouble, and then without, until nothing is set aside.

        How many requests or connections it hit.
        """
        if update:
            self.serve(BEFORE)
            assert self.sync(schema).exit_code == 0
        self.serve(AFTER)
        with _lost_cursors(), self._in(trouble) as happened, contextlib.suppress(VectorferryError):
            summary = self.sync(schema, self.proxied)
            assert not (trouble.fails and _misled(self.sandbox)) or summary.exit_code not in (0, 3)
        self.serve(AFTER)
        if self.sync(schema).exit_code == 3:
            self._read_again(schema)
            assert self.sync(schema).exit_code == 0
        return happened.total()

    def outcome(self, connection: Connection, schema: str) -> Outcome:
        """What the schema lacks, and what it has too much of."""
        found = Outcome()
        for table in tables_of(connection, self.undisturbed):
            wanted, held = _rows(connection, self.undisturbed, table), _rows(connection, schema, table)
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
        assert isinstance(destination, Quarantined)
        with contextlib.closing(destination):
            named = {record.asset_id for _, record, _ in destination.rejected(self.service.collection)}
            destination.read_again(self.service.collection, sorted(named))

    def _settings(self, schema: str, url: str) -> dict[str, Any]:
        retry = {
            "attempts": 3,
            "first_wait": 0.01,
            "longest_wait": 0.05,
            "total_seconds": 10,
            "timeout_seconds": 0.5,
        }
        few = {"collections": [self.service.collection], "page_size": 5, "concurrency": 3}
        source = self.service.source(self.sandbox.url, self.sandbox.api_key)
        return {
            "name": "media",
            "source": {**source, **few, "retry": retry},
            "destinations": [{"type": "pgvector", "url": url, "schema": schema}],
            "batch": {"rows": 15},
            "deletes": {"max_share": 1.0},
        }


def _misled(sandbox: Sandbox) -> bool:
    """Whether a wrong answer was given."""
    return any(sandbox.faults.hits())


@contextlib.contextmanager
def _lost_cursors() -> Iterator[None]:
    """psycopg warns of a cursor that could not be closed because its connection was gone: not of a leak, here.

    SQLAlchemy logs it, and what a test logs is kept until it ends, with the cursor.
    """
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
    for (row,) in connection.execute(query, [WHEN]):
        key = str([row[name] for name in keys] or row)
        rows.setdefault(key, Counter())[str(row)] += 1
    return rows
