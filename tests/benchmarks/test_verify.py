"""What a check of stores in step costs, and of stores that are not, beside reading all that they hold. Nothing is
listed at a source here. Seconds, CPU of client and server, bytes that the server sends; the ratios are of one run.

pytest -m benchmark tests/benchmarks/test_verify.py -s
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from vectorferry.connector._engine._reader import CheckReader
from vectorferry.connector._engine.verify._pairs import compare_digests
from vectorferry.connector.plugin import SchemaMapping
from vectorferry.connector.sandbox import Sandbox, running_sandbox
from vectorferry.destinations import PgvectorDestination, PineconeDestination
from vectorferry.destinations.pgvector._stored import snapshot
from vectorferry.destinations.pgvector._verify import AssetTables

from ..builders import asset, batch, feature
from ..destinations.test_slices import ByRows
from ..faults.proxy import Proxy, running_proxy
from ..pinecone import forget_budgets, pinecone_alone, pinecone_destination

FEATURES_PER_ASSET = 10
TAMPERED = 100
KEYS = "'ads', asset_id, feature_id"
FILL = f"""
CREATE UNLOGGED TABLE made AS
    SELECT md5('asset ' || number / {FEATURES_PER_ASSET})::uuid::text AS asset_id, md5('feature ' || number)::uuid::text
    AS feature_id, md5('row ' || number) AS row_hash, md5('vector ' || number) AS vector_hash,
    ARRAY(SELECT (number % 97 + place) / 100.0 FROM generate_series(1, 8) place)::vector AS embedding
    FROM generate_series(1, $rows) number ORDER BY 1, 2;
INSERT INTO assets (collection, asset_id, modality, metadata, extra, row_hash)
    SELECT DISTINCT 'ads', asset_id, 'video', '{{}}'::jsonb, '{{}}'::jsonb, decode(md5(asset_id), 'hex') FROM made;
INSERT INTO video (collection, asset_id, feature_id, start_time, transcription, metadata, extra, row_hash)
    SELECT {KEYS}, 1.5, 'somebody says something in this segment', '{{"author": "ada"}}', '{{}}',
    decode(row_hash, 'hex') FROM made;
INSERT INTO video__model_v1 (collection, asset_id, feature_id, embedding, vector_hash)
    SELECT {KEYS}, embedding, decode(vector_hash, 'hex') FROM made;
INSERT INTO _sync_ledger (collection, asset_id, fingerprint, features, contents)
    SELECT 'ads', asset_id, '1', '{{}}', jsonb_build_object('text', '[]'::jsonb, 'audio', '[]'::jsonb, 'image',
    '[]'::jsonb, 'video', jsonb_build_array(jsonb_build_array('[["model-v1", 8]]'::jsonb, jsonb_agg(feature_id))))
    FROM made GROUP BY asset_id;
INSERT INTO _sync_pinecone_ledger (collection, asset_id, fingerprint, features, row_hash, layout)
    SELECT DISTINCT 'ads', asset_id, '1', '{{}}'::jsonb, decode(md5(asset_id), 'hex'), '' FROM made;
INSERT INTO _sync_pinecone_features
    SELECT {KEYS}, 'video', decode(row_hash, 'hex'), '', '', jsonb_build_object('media-model-v1-8', vector_hash)
    FROM made;
DROP TABLE made
"""
TAMPER = [
    f"DELETE FROM video__model_v1 WHERE ctid IN (SELECT ctid FROM video__model_v1 LIMIT {TAMPERED // 2})",
    f'UPDATE _sync_pinecone_features SET records = \'{{"media-model-v1-8": "ab"}}\' '
    f"WHERE ctid IN (SELECT ctid FROM _sync_pinecone_features ORDER BY feature_id LIMIT {TAMPERED // 2})",
]


class Taken(NamedTuple):
    """What some work took, and how many differences it found."""

    seconds: float
    client: float
    server: float
    differences: int

    def __str__(self) -> str:
        return f"{self.seconds:6.2f} s, CPU {self.client:5.2f} s client {self.server:5.2f} s server"


def _stat(process: Path) -> list[str]:
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended
        return []


class Server:
    """The processes of the Postgres behind an address."""

    def __init__(self, url: str) -> None:
        with psycopg.connect(url) as connection:
            self._pid = _stat(Path("/proc") / str(connection.info.backend_pid))[1]

    def cpu(self) -> float:
        """Seconds of all processes that there are, and were."""
        tick = os.sysconf("SC_CLK_TCK")
        stats = [_stat(process) for process in Path("/proc").glob("[0-9]*")]
        there = [each for each in stats if each and each[1] == self._pid]
        postmaster = _stat(Path("/proc") / self._pid)
        return sum(sum(map(int, each[11:15])) for each in [*there, postmaster]) / tick


def _taken(server: Server, work: Callable[[], int]) -> Taken:
    seconds, client, before = time.perf_counter(), time.process_time(), server.cpu()
    differences = work()
    return Taken(time.perf_counter() - seconds, time.process_time() - client, server.cpu() - before, differences)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A local Pinecone."""
    forget_budgets()
    with running_sandbox(pinecone_alone()) as running:
        yield running


@contextmanager
def stores(sandbox: Sandbox, url: str, schema: str) -> Iterator[tuple[PgvectorDestination, PineconeDestination]]:
    """Pgvector and Pinecone with a manifest beside it, prepared, each with one asset."""
    pinecone = pinecone_destination(sandbox, url, schema)
    with closing(PgvectorDestination(schema, url)) as pgvector, closing(pinecone):
        for store in (pgvector, pinecone):
            store.prepare(SchemaMapping())
            store.apply(batch(asset("first", feature("f"))))
        yield pgvector, pinecone


def _ledger_by_sums(pgvector: PgvectorDestination) -> int:
    return sum(1 for _ in pgvector.discrepancies("ads", 0))


def _ledger_by_rows(pgvector: PgvectorDestination) -> int:
    """Only reads them: comparing costs something more."""
    schema = pgvector._prepared()
    with snapshot(schema) as (connection, cursors):
        for _ in AssetTables(connection, cursors, schema, "ads", None, whole=False).assets():
            pass
    return 0


def _counted(url: str, schema: str) -> int:
    """What a scan costs that adds nothing up."""
    with psycopg.connect(url) as sql:
        for table in ("assets", "video", "video__model_v1", "_sync_ledger"):
            sql.execute(f"SELECT count(*) FROM {schema}.{table} WHERE collection = 'ads'".encode())
    return 0


def _pairs(first: CheckReader, other: CheckReader) -> int:
    async def count() -> int:
        try:
            return sum([1 async for _ in compare_digests(first, other, "ads", [])])
        finally:
            first.close()
            other.close()

    return asyncio.run(count())


@pytest.mark.benchmark
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("rows", [10_000, 100_000, 1_000_000])
def test_a_check_by_sums_beside_one_by_rows(
    postgres_url: str, schema: str, sandbox: Sandbox, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, sent = Server(postgres_url), [0]

    def told(_: Proxy, piece: bytes) -> bool:
        sent[0] += len(piece)
        return True

    monkeypatch.setattr(Proxy, "_told", told)

    def moved(work: Callable[[PgvectorDestination, PineconeDestination], int]) -> int:
        with running_proxy(postgres_url) as (_, proxied), stores(sandbox, proxied, schema) as (first, other):
            list(first.digest_sums("", 1))  # with what each connection is told to begin with
            other.digest_sums("", 1)
            before = sent[0]
            work(first, other)
            return sent[0] - before

    with stores(sandbox, postgres_url, schema) as (pgvector, pinecone):
        with psycopg.connect(postgres_url, autocommit=True) as sql:
            sql.execute(f"SET search_path = {schema}, public".encode())
            sql.execute(FILL.replace("$rows", str(rows)).encode())
            sql.execute(b"VACUUM ANALYZE")
        ways: dict[str, Callable[[], int]] = {
            "counting the same tables' rows": lambda: _counted(postgres_url, schema),
            "ledger against tables, by sums": lambda: _ledger_by_sums(pgvector),
            "ledger against tables, by rows": lambda: _ledger_by_rows(pgvector),
            "store against store, by sums": lambda: _pairs(CheckReader(pgvector), CheckReader(pinecone)),
            "store against store, by rows": lambda: _pairs(ByRows(pgvector), ByRows(pinecone)),
        }
        print(f"\n{rows:,} vectors in step")
        taken = {}
        for way, work in ways.items():
            taken[way] = min(_taken(server, work) for _ in range(1 if "by rows" in way else 3))
            print(f"  {way}: {taken[way]}")
            assert taken[way].differences == 0
        in_step = moved(lambda first, other: _pairs(CheckReader(first), CheckReader(other)))
        print(f"  store against store sends {in_step:,} bytes")
        with psycopg.connect(postgres_url, autocommit=True) as sql:
            sql.execute(f"SET search_path = {schema}, public".encode())
            for statement in TAMPER:
                sql.execute(statement.encode())
        print(f"  {TAMPERED} rows tampered with")
        for way, work in ways.items():
            if "sums" in way:
                changed = _taken(server, work)
                print(f"  {way}: {changed}, {changed.differences} differences")
                assert changed.differences == (TAMPERED // 2 if "ledger" in way else TAMPERED)
    assert in_step < 200_000
    for what in ("ledger against tables", "store against store"):
        one, all_rows = taken[f"{what}, by sums"], taken[f"{what}, by rows"]
        assert one.client + one.server < all_rows.client + all_rows.server
