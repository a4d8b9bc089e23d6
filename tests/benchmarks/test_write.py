"""How fast a first load and later changes are, against raw COPY, statements by hand and SQLAlchemy. Ratios within one
run, and beside them the CPU seconds of this process and of the whole server.

pytest -m benchmark tests/benchmarks/test_write.py -s
"""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pgvector
import psycopg
import pytest
from pgvector.psycopg import register_vector
from pgvector.sqlalchemy import VECTOR
from psycopg.types.json import Jsonb
from sqlalchemy import Column, LargeBinary, MetaData, Table, Text, create_engine
from sqlalchemy.dialects.postgresql import insert

from vectorferry.connector._engine._opening import RARE_GARBAGE
from vectorferry.connector.plugin import MODALITIES, Batch, MappedFeature, Modality, SchemaMapping, vector_hash
from vectorferry.destinations import PgvectorDestination
from vectorferry.destinations._postgres import (
    ColumnTypes,
    Driver,
    Encoder,
    copy_rows,
    types_in,
    types_of,
    upsert_rows,
)
from vectorferry.destinations.pgvector._rows import FeatureRow
from vectorferry.destinations.pgvector._storage import VectorStorage
from vectorferry.destinations.pgvector._tables import KEY_COLUMNS, VECTOR_COLUMNS, vector_table
from vectorferry.destinations.pgvector._writer import vector_encoder

from ..builders import asset, feature
from ..urls import for_sqlalchemy

ROWS = 20_000
DIMENSION = 1024
FEATURES_PER_ASSET = 10
ASSETS_PER_BATCH = 780  # 32 MB of vectors: the default batch
ROUNDS = 9
SQLALCHEMY_ROWS = 2_000
"""SQLAlchemy's path is timed on a tenth of the rows, in its favour: it only gets slower with more."""

Row: TypeAlias = tuple[Any, ...]
STORAGE = VectorStorage("vector", DIMENSION, "cosine", "none", 16, 64)


@pytest.fixture(scope="module")
def batches() -> Iterator[list[Batch]]:
    """The rows, as the engine would hand them over. Python looks for garbage as often as in a run, for all ways."""
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
    with RARE_GARBAGE:
        yield made


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


class Cost(NamedTuple):
    """Seconds on the clock, and of the processor: of this process, and of all of the server's."""

    wall: float
    client: float
    server: float

    def __add__(self, other: tuple[Any, ...]) -> Cost:
        return Cost(*(mine + its for mine, its in zip(self, other, strict=True)))


class Meter:
    """Measures work on one server."""

    def __init__(self, url: str) -> None:
        with psycopg.connect(url) as connection:
            backend = Path(f"/proc/{connection.info.backend_pid}/stat").read_text()
        self._postmaster = int(backend.rsplit(")", 1)[1].split()[1])

    def cost(self, work: Callable[[], object]) -> Cost:
        server, client, wall = self._server_seconds(), time.process_time(), time.perf_counter()
        work()
        wall, client = time.perf_counter() - wall, time.process_time() - client
        return Cost(wall, client, self._server_seconds() - server)

    def _server_seconds(self) -> float:
        """Of the postmaster, its children, and those of them that have ended (proc(5): utime to cstime)."""
        total = 0
        for parent, own, ended in self._processes():
            total += own + ended if parent is None else own
        return total / os.sysconf("SC_CLK_TCK")

    def _processes(self) -> Iterator[tuple[int | None, int, int]]:
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            is_postmaster, parent = stat.parent.name == str(self._postmaster), int(fields[1])
            if is_postmaster or parent == self._postmaster:
                times = [int(each) for each in fields[11:15]]
                yield None if is_postmaster else parent, sum(times[:2]), sum(times[2:])


def _copy_rows(connection: psycopg.Connection[Any], table: str, types: list[str], rows: list[Row]) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(types)
        for row in rows:
            copy.write_row(row)


def _copy_into_bare_table(connection: psycopg.Connection[Any], table: str, types: list[str], rows: list[Row]) -> None:
    definitions = ", ".join(f"c{position} {kind}" for position, kind in enumerate(types))
    connection.execute(f"CREATE TABLE {table} ({definitions})")
    _copy_rows(connection, table, types, rows)
    connection.commit()


VECTOR_TYPES = ["text", "text", "text", "vector", "bytea"]
KINDS = {"double precision": "float8"}
MAPPED_TYPES = [KINDS.get(column.type, column.type) for column in SchemaMapping().columns(Modality.VIDEO).values()]
FEATURE_TYPES = ["text", "text", "text", *MAPPED_TYPES, "jsonb", "jsonb", "bytea"]


def for_pgvector(rows: list[Row]) -> list[Row]:
    """Vector rows as pgvector-python wants them."""
    return [(*row[:3], pgvector.Vector(row[3]), row[4]) for row in rows]


def for_psycopg(rows: list[Row]) -> list[Row]:
    """Feature rows as psycopg wants them."""
    return [tuple(Jsonb(value) if isinstance(value, dict) else value for value in row) for row in rows]


class Contest:
    """The same rows, by each way in, into tables of a schema that is made anew for each round."""

    def __init__(self, url: str, schema: str, batches: list[Batch]) -> None:
        self._url = url
        self._cost = Meter(url).cost
        self._schema = schema
        self._batches = batches
        self._rows = vector_rows(batches)
        self._table = vector_table(schema, "rows_of_vectors", STORAGE, "public")

    def raw_vectors(self) -> Cost:
        """COPY of the vector rows into a table without key or index: pgvector-python's adapters, declared types."""
        rows = for_pgvector(self._rows)
        with psycopg.connect(self._url) as connection:
            register_vector(connection)
            return self._cost(lambda: _copy_into_bare_table(connection, "bare_vectors", VECTOR_TYPES, rows))

    def raw_copy(self) -> Cost:
        """The same for all that a load writes into the tables: feature rows and vector rows."""
        rows = for_psycopg(feature_rows(self._batches))
        with psycopg.connect(self._url) as connection:
            taken = self._cost(lambda: _copy_into_bare_table(connection, "bare_features", FEATURE_TYPES, rows))
        return taken + self.raw_vectors()

    def load(self) -> Cost:
        """The destination: assets, features, vectors and ledger, in one transaction per batch."""
        with closing(PgvectorDestination(self._schema, self._url)) as destination:
            destination.prepare(SchemaMapping())
            taken = self._cost(lambda: [destination.apply(batch) for batch in self._batches])
            assert sum(table.rows for table in destination.status().tables if table.vector_name) == ROWS
        return taken

    def new_vectors(self) -> Cost:
        """Only the vector rows, as the destination writes new ones: COPY into a table with its key."""
        return self._into_table(lambda driver, _, *rows: copy_rows(driver, self._table, VECTOR_COLUMNS, *rows))

    def upsert(self) -> Cost:
        """Only the vector rows, as it writes changed ones: as arrays and with ON CONFLICT."""
        return self._into_table(lambda driver, types, *rows: upsert_rows(driver, self._table, types, *rows))

    def _into_table(self, write: Callable[[Driver, ColumnTypes, list[FeatureRow], Encoder[FeatureRow]], None]) -> Cost:
        self._make_table()
        encode = vector_encoder(STORAGE.column_type, "model", "ads")
        with psycopg.connect(self._url) as connection:
            connection.execute("SET search_path = public")
            asked, values = types_of([self._table])
            types = types_in(connection.execute(asked, values).fetchall(), self._table, VECTOR_COLUMNS)

            def send() -> None:
                for batch in self._batches:
                    write(
                        connection,
                        types,
                        [(each.asset_id, one) for each in batch.assets for one in each.features],
                        encode,
                    )
                    connection.commit()

            return self._cost(send)

    def sqlalchemy_bulk(self) -> Cost:
        """SQLAlchemy's bulk insert with ON CONFLICT through pgvector's type for it; a tenth of the rows, scaled."""
        keys = [Column(name, Text, primary_key=True) for name in KEY_COLUMNS]
        table = Table("by_sqlalchemy", MetaData(), *keys, Column("embedding", VECTOR), Column("digest", LargeBinary))
        statement = insert(table)
        changes = {name: statement.excluded[name] for name in ("embedding", "digest")}
        upsert = statement.on_conflict_do_update(index_elements=table.primary_key, set_=changes)
        values = [dict(zip(table.columns.keys(), row, strict=True)) for row in self._rows[:SQLALCHEMY_ROWS]]
        engine = create_engine(for_sqlalchemy(self._url))
        with engine.begin() as connection:
            table.create(connection)
            taken = self._cost(lambda: connection.execute(upsert, values))
        engine.dispose()
        return Cost(*(each * ROWS / SQLALCHEMY_ROWS for each in taken))

    def _make_table(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {self._schema}")
        engine = create_engine(for_sqlalchemy(self._url))
        self._table.metadata.create_all(engine)
        engine.dispose()

    def clean(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(
                f"DROP SCHEMA IF EXISTS {self._schema} CASCADE; "
                "DROP TABLE IF EXISTS bare_vectors, bare_features, by_sqlalchemy"
            )


@pytest.mark.benchmark
@pytest.mark.timeout(600)
def test_a_first_load_against_raw_copy_and_sqlalchemy(postgres_url: str, schema: str, batches: list[Batch]) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    contest = Contest(postgres_url, schema, batches)
    ways = [
        contest.raw_vectors,
        contest.raw_copy,
        contest.load,
        contest.new_vectors,
        contest.upsert,
        contest.sqlalchemy_bulk,
    ]
    rounds: list[dict[str, Cost]] = []
    for _ in range(ROUNDS):
        taken = {}
        for way in ways:
            contest.clean()
            taken[way.__name__] = way()
        rounds.append(taken)
    contest.clean()

    print(f"\n{ROWS:,} × {DIMENSION}-d, medians of {ROUNDS} rounds:")
    show(rounds, dict.fromkeys(rounds[0], ROWS))
    load, upsert = ratio(rounds, "load", "raw_copy"), ratio(rounds, "upsert", "raw_vectors")
    new = ratio(rounds, "new_vectors", "raw_vectors")
    bulk = ratio(rounds, "upsert", "sqlalchemy_bulk")
    print(f"first load      {load:.2f} × raw COPY of the same feature and vector rows into bare tables")
    print(f"new vectors     {new:.2f} × raw COPY of the same vector rows into a bare table")
    print(f"upsert          {upsert:.2f} × the same")
    print(f"upsert          {bulk:.1f} × SQLAlchemy's bulk insert with ON CONFLICT")
    assert load >= 0.5
    assert new >= 0.5
    assert upsert >= 0.5
    assert bulk >= 8


def show(rounds: list[dict[str, Cost]], rows: dict[str, int]) -> None:
    """Print rows a second, and the CPU of both sides for each row."""
    for name, number in rows.items():
        wall, client, server = (statistics.median(column) for column in zip(*(r[name] for r in rounds), strict=True))
        micro = 1e6 / number
        print(
            f"  {name:24} {number / wall:>9,.0f} rows/s; CPU µs a row: "
            f"{client * micro:6.1f} client, {server * micro:6.1f} server"
        )


def ratio(rounds: list[dict[str, Cost]], way: str, baseline: str) -> float:
    """How many times as fast as the baseline, round by round; the median."""
    return statistics.median(taken[baseline].wall / taken[way].wall for taken in rounds)


CHANGED_METADATA = 10_000
DELETED_ASSETS = ROWS // FEATURES_PER_ASSET // 5


def with_features(batch: Batch, change: Callable[[MappedFeature], MappedFeature], assets: int | None = None) -> Batch:
    """The batch with its features changed, its first `assets` only."""
    some = batch.assets[:assets]
    return replace(batch, assets=tuple(replace(each, features=tuple(map(change, each.features))) for each in some))


def other_metadata(one: MappedFeature) -> MappedFeature:
    return replace(one, metadata={"author": "grace"}, row_hash=one.row_hash[::-1])


def other_vector(one: MappedFeature) -> MappedFeature:
    vector = one.vectors["model"]
    assert isinstance(vector, np.ndarray)
    vector = -vector
    return replace(one, vectors={"model": vector}, vector_hashes={"model": vector_hash(vector)})


class Changes:
    """The same changes of what was loaded before, through the destination and by hand, in one schema each.

    By hand: the two tables with the same keys, and for a change what anyone would write: COPY of the changed rows into
    a temporary table, and one UPDATE from it; or one DELETE for each table.
    """

    def __init__(self, url: str, schema: str, batches: list[Batch]) -> None:
        self._url = url
        self._cost = Meter(url).cost
        self._schema = schema
        self._batches = batches
        whole = replace(batches[0], assets=tuple(each for batch in batches for each in batch.assets))
        self._few = with_features(whole, other_metadata, CHANGED_METADATA // FEATURES_PER_ASSET)
        self._rewritten = [with_features(batch, other_vector) for batch in batches]
        self._gone = [each.asset_id for each in whole.assets[-DELETED_ASSETS:]]

    def round(self) -> dict[str, Cost]:
        """What each change takes, either way."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {self._schema} CASCADE")
            connection.execute("DROP TABLE IF EXISTS bare_vectors, bare_features")
        return {**self._through_the_destination(), **self._by_hand()}

    def _through_the_destination(self) -> dict[str, Cost]:
        with closing(PgvectorDestination(self._schema, self._url)) as destination:
            destination.prepare(SchemaMapping())
            for batch in self._batches:
                destination.apply(batch)
            return {
                "metadata": self._cost(lambda: destination.apply(self._few)),
                "vectors": self._cost(lambda: [destination.apply(batch) for batch in self._rewritten]),
                "delete": self._cost(lambda: destination.remove("ads", self._gone)),
            }

    def _by_hand(self) -> dict[str, Cost]:
        with psycopg.connect(self._url) as connection:
            register_vector(connection)
            features, vectors = for_psycopg(feature_rows(self._batches)), for_pgvector(vector_rows(self._batches))
            _copy_into_bare_table(connection, "bare_features", FEATURE_TYPES, features)
            _copy_into_bare_table(connection, "bare_vectors", VECTOR_TYPES, vectors)
            for table in ("bare_features", "bare_vectors"):
                connection.execute(f"ALTER TABLE {table} ADD PRIMARY KEY (c0, c1, c2)")
            connection.commit()
            changed = for_psycopg(feature_rows([self._few]))
            rewritten = [for_pgvector(vector_rows([batch])) for batch in self._rewritten]
            return {
                "metadata, by hand": self._cost(
                    lambda: self._update(connection, "bare_features", FEATURE_TYPES, [changed])
                ),
                "vectors, by hand": self._cost(
                    lambda: self._update(connection, "bare_vectors", VECTOR_TYPES, rewritten)
                ),
                "delete, by hand": self._cost(lambda: self._delete(connection)),
            }

    def _update(
        self, connection: psycopg.Connection[Any], table: str, types: list[str], batches: list[list[Row]]
    ) -> None:
        columns = [f"c{position}" for position in range(len(types))]
        changes = ", ".join(f"{name} = stage.{name}" for name in columns[3:])
        same = " AND ".join(f"stage.{name} = {table}.{name}" for name in columns[:3])
        for rows in batches:
            connection.execute(f"CREATE TEMPORARY TABLE stage ON COMMIT DROP AS SELECT * FROM {table} WITH NO DATA")
            _copy_rows(connection, "stage", types, rows)
            connection.execute(f"UPDATE {table} SET {changes} FROM stage WHERE {same}")
            connection.commit()

    def _delete(self, connection: psycopg.Connection[Any]) -> None:
        for table in ("bare_features", "bare_vectors"):
            connection.execute(f"DELETE FROM {table} WHERE c0 = 'ads' AND c1 = ANY(%s)", [self._gone])
        connection.commit()


@pytest.mark.benchmark
@pytest.mark.timeout(900)
def test_changes_against_statements_by_hand(postgres_url: str, schema: str, batches: list[Batch]) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    changes = Changes(postgres_url, schema, batches)
    gc.collect()
    gc.freeze()
    rounds = [changes.round() for _ in range(ROUNDS)]
    number = {"metadata": CHANGED_METADATA, "vectors": ROWS, "delete": DELETED_ASSETS * FEATURES_PER_ASSET}
    print(f"\n{ROWS:,} × {DIMENSION}-d, medians of {ROUNDS} rounds:")
    show(rounds, {name: number[name.split(",")[0]] for name in rounds[0]})
    for name in number:
        print(f"{name:10} {ratio(rounds, name, f'{name}, by hand'):.2f} × by hand")
