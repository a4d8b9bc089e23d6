"""How fast a first load is, against raw COPY and against what SQLAlchemy offers. Ratios within one run.

pytest -m benchmark tests/benchmarks/test_write.py -s
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pgvector
import psycopg
import pytest
from pgvector.psycopg import register_vector
from psycopg.types.json import Jsonb
from sqlalchemy import create_engine
from sqlalchemy.dialects.postgresql import insert

from vectorferry.connector.plugin import MODALITIES, Batch, Modality, SchemaMapping
from vectorferry.destinations import PgvectorDestination
from vectorferry.destinations._postgres import upsert_rows
from vectorferry.destinations.pgvector._storage import VectorStorage
from vectorferry.destinations.pgvector._tables import VECTOR_COLUMNS, vector_table
from vectorferry.destinations.pgvector._writer import VECTOR_DUMPERS

from ..builders import asset, feature
from ..urls import for_sqlalchemy

ROWS = 20_000
DIMENSION = 1024
FEATURES_PER_ASSET = 10
ASSETS_PER_BATCH = 780  # 32 MB of vectors: the default batch
ROUNDS = 5
SQLALCHEMY_ROWS = 2_000
"""SQLAlchemy's path is timed on a tenth of the rows, in its favour: it only gets slower with more."""

Row: TypeAlias = tuple[Any, ...]
STORAGE = VectorStorage("vector", DIMENSION, "cosine", "none", 16, 64)


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    """The rows, as the engine would hand them over."""
    vectors = np.random.default_rng(0).standard_normal((ROWS, DIMENSION), dtype=np.float32)
    features = [
        feature(
            f"{number:08d}-0000-4000-8000-{number:012d}",
            {"model": vectors[number]},
            metadata={"author": "ada"},
            start_time=float(number),
            transcription="somebody says something in this segment of a video",
        )
        for number in range(ROWS)
    ]
    groups = [features[start : start + FEATURES_PER_ASSET] for start in range(0, ROWS, FEATURES_PER_ASSET)]
    assets = [asset(f"{number:08d}-0000-4000-8000-{number:012d}", *group) for number, group in enumerate(groups)]
    starts = range(0, len(assets), ASSETS_PER_BATCH)
    made = [Batch("ads", frozenset(MODALITIES), tuple(assets[start : start + ASSETS_PER_BATCH])) for start in starts]
    gc.collect()
    gc.freeze()  # the rows are made beforehand here; in a sync they come and go
    return made


def vector_rows(batches: list[Batch]) -> list[Row]:
    """The vector rows of the batches, in the columns of their table."""
    return [
        ("ads", each.asset_id, one.feature_id, one.vectors["model"], one.vector_hashes["model"])
        for batch in batches
        for each in batch.assets
        for one in each.features
    ]


def feature_rows(batches: list[Batch]) -> list[Row]:
    """The feature rows of the batches, in the columns of their table."""
    return [
        ("ads", each.asset_id, one.feature_id, *one.columns.values(), one.metadata, one.extra, one.row_hash)
        for batch in batches
        for each in batch.assets
        for one in each.features
    ]


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _copy_into_bare_table(connection: psycopg.Connection[Any], table: str, columns: list[str], rows: list[Row]) -> None:
    definitions = ", ".join(f"c{position} {kind}" for position, kind in enumerate(columns))
    connection.execute(f"CREATE TABLE {table} ({definitions})")
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(columns)
        for row in rows:
            copy.write_row(row)
    connection.commit()


class Contest:
    """The same rows, by each way in, into tables of a schema that is made anew for each round."""

    def __init__(self, url: str, schema: str, batches: list[Batch]) -> None:
        self._url = url
        self._schema = schema
        self._batches = batches
        self._rows = vector_rows(batches)
        self._table = vector_table(schema, "rows_of_vectors", STORAGE, "public")

    def raw_vectors(self) -> float:
        """COPY of the vector rows into a table without key or index: pgvector-python's adapters, declared types."""
        columns = ["text", "text", "text", "vector", "bytea"]
        rows = [(*row[:3], pgvector.Vector(row[3]), row[4]) for row in vector_rows(self._batches)]
        with psycopg.connect(self._url) as connection:
            register_vector(connection)
            return seconds(lambda: _copy_into_bare_table(connection, "bare_vectors", columns, rows))

    def raw_copy(self) -> float:
        """The same for all that a load writes into the tables: feature rows and vector rows."""
        types = {"double precision": "float8"}
        mapped = [types.get(column.type, column.type) for column in SchemaMapping().columns(Modality.VIDEO).values()]
        columns = ["text", "text", "text", *mapped, "jsonb", "jsonb", "bytea"]
        rows = [tuple(Jsonb(v) if isinstance(v, dict) else v for v in row) for row in feature_rows(self._batches)]
        with psycopg.connect(self._url) as connection:
            taken = seconds(lambda: _copy_into_bare_table(connection, "bare_features", columns, rows))
        return taken + self.raw_vectors()

    def load(self) -> float:
        """The destination: assets, features, vectors and ledger, in one transaction per batch."""
        destination = PgvectorDestination(self._schema, self._url)
        destination.prepare(SchemaMapping())
        taken = seconds(lambda: [destination.apply(batch) for batch in self._batches])
        assert sum(table.rows for table in destination.status().tables if table.vector_name) == ROWS
        destination.close()
        return taken

    def staged_upsert(self) -> float:
        """Only the vector rows, through staging and ON CONFLICT, into a table with its key."""
        self._make_table()
        with psycopg.connect(self._url) as connection:
            connection.execute("SET search_path = public")
            size = ASSETS_PER_BATCH * FEATURES_PER_ASSET

            def upsert() -> None:
                for start in range(0, ROWS, size):
                    upsert_rows(
                        connection, self._table, VECTOR_COLUMNS, self._rows[start : start + size], VECTOR_DUMPERS
                    )
                    connection.commit()

            return seconds(upsert)

    def sqlalchemy_bulk(self) -> float:
        """SQLAlchemy's bulk insert with ON CONFLICT, a tenth of the rows; scaled to all of them."""
        self._make_table()
        engine = create_engine(for_sqlalchemy(self._url))
        statement = insert(self._table)
        keys = {column.name for column in self._table.primary_key}
        changes = {name: statement.excluded[name] for name in VECTOR_COLUMNS if name not in keys}
        upsert = statement.on_conflict_do_update(index_elements=sorted(keys), set_=changes)
        values = [dict(zip(VECTOR_COLUMNS, row, strict=True)) for row in self._rows[:SQLALCHEMY_ROWS]]
        with engine.begin() as connection:
            taken = seconds(lambda: connection.execute(upsert, values))
        engine.dispose()
        return taken * ROWS / SQLALCHEMY_ROWS

    def _make_table(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {self._schema}")
        engine = create_engine(for_sqlalchemy(self._url))
        self._table.metadata.create_all(engine)
        engine.dispose()

    def clean(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(
                f"DROP SCHEMA IF EXISTS {self._schema} CASCADE; DROP TABLE IF EXISTS bare_vectors, bare_features"
            )


@pytest.mark.benchmark
@pytest.mark.timeout(600)
def test_a_first_load_against_raw_copy_and_sqlalchemy(postgres_url: str, schema: str, batches: list[Batch]) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    contest = Contest(postgres_url, schema, batches)
    ways = [contest.raw_vectors, contest.raw_copy, contest.load, contest.staged_upsert, contest.sqlalchemy_bulk]
    rounds: list[dict[str, float]] = []
    for _ in range(ROUNDS):
        taken = {}
        for way in ways:
            contest.clean()
            taken[way.__name__] = way()
        rounds.append(taken)
    contest.clean()

    def ratio(way: str, baseline: str) -> float:
        """How many times as fast as the baseline, round by round; the median."""
        return statistics.median(taken[baseline] / taken[way] for taken in rounds)

    load, staged = ratio("load", "raw_copy"), ratio("staged_upsert", "raw_vectors")
    bulk = ratio("staged_upsert", "sqlalchemy_bulk")
    print(f"\n{ROWS:,} × {DIMENSION}-d, medians of {ROUNDS} rounds, rows/s:")
    for name in rounds[0]:
        print(f"  {name:16} {ROWS / statistics.median(taken[name] for taken in rounds):>9,.0f}")
    print(f"first load      {load:.2f} × raw COPY of the same feature and vector rows into bare tables")
    print(f"staged upsert   {staged:.2f} × raw COPY of the same vector rows into a bare table")
    print(f"staged upsert   {bulk:.1f} × SQLAlchemy's bulk insert with ON CONFLICT")
    assert load >= 0.5
    assert staged >= 0.5
    assert bulk >= 8
