"""A check that compares slices finds what reading every row finds, and reads only the slices that differ."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import psycopg
import pytest
from sqlalchemy import text

from vectorferry.connector.plugin import SLICES, Difference, Discrepancy, Modality, SchemaMapping
from vectorferry.destinations import PgvectorDestination
from vectorferry.destinations._postgres import read_sums
from vectorferry.destinations.pgvector import _slices, _stored, _verify
from vectorferry.destinations.pgvector._stored import Reader

from ...builders import asset, batch, dense, feature
from ...examples import family

Sql = psycopg.Connection[Any]

TAMPERINGS: Sequence[tuple[str, Sequence[Discrepancy]]] = [
    ("DELETE FROM assets WHERE asset_id = 'a'", [Discrepancy(Difference.MISSING, "a")]),
    ("DELETE FROM video WHERE feature_id = 'a 1'", [Discrepancy(Difference.MISSING, "a", "a 1", Modality.VIDEO)]),
    (
        "DELETE FROM video__model_v1 WHERE feature_id = 'a 1'",
        [Discrepancy(Difference.MISSING, "a", "a 1", Modality.VIDEO, "model-v1")],
    ),
    # The newer generation's row: the older one stays, and counts again.
    (
        "DELETE FROM video__model_v1_3 WHERE asset_id = 'wide'",
        [Discrepancy(Difference.MISSING, "wide", "w", Modality.VIDEO, "model-v1")],
    ),
    (
        "UPDATE video__words SET asset_id = 'b' WHERE feature_id = 'a 2'",
        [
            Discrepancy(Difference.MISSING, "a", "a 2", Modality.VIDEO, "words"),
            Discrepancy(Difference.EXTRA, "b", "a 2", Modality.VIDEO, "words"),
        ],
    ),
    (
        "UPDATE video SET feature_id = 'other' WHERE feature_id = 'a 1'",
        [
            Discrepancy(Difference.MISSING, "a", "a 1", Modality.VIDEO),
            Discrepancy(Difference.EXTRA, "a", "other", Modality.VIDEO),
        ],
    ),
    (
        "UPDATE video SET deleted_at = now() WHERE feature_id = 'a 1'",
        [
            Discrepancy(Difference.MISSING, "a", "a 1", Modality.VIDEO),
            Discrepancy(Difference.MISSING, "a", "a 1", Modality.VIDEO, "model-v1"),
        ],
    ),
    (
        "UPDATE _sync_ledger SET contents = jsonb_set(contents, '{video,0,1,0}', '\"ghost\"') WHERE asset_id = 'b'",
        [
            Discrepancy(Difference.MISSING, "b", "ghost", Modality.VIDEO),
            Discrepancy(Difference.MISSING, "b", "ghost", Modality.VIDEO, "model-v1"),
            Discrepancy(Difference.EXTRA, "b", "b 1", Modality.VIDEO),
            Discrepancy(Difference.EXTRA, "b", "b 1", Modality.VIDEO, "model-v1"),
        ],
    ),
    (
        "DELETE FROM _sync_ledger WHERE asset_id = 'b'",
        [Discrepancy(Difference.EXTRA, "b", detail="stored, but the ledger has no entry of it")],
    ),
    (
        "INSERT INTO _sync_ledger SELECT collection, 'ghost', fingerprint, features, '{}' FROM _sync_ledger "
        "WHERE asset_id = 'b'",
        [Discrepancy(Difference.MISSING, "ghost")],
    ),
]


@pytest.fixture
def store(postgres_url: str, schema: str) -> Iterator[PgvectorDestination]:
    """Three assets and one that was hidden; a feature with two vectors, one with another dimension than it had."""
    with closing(PgvectorDestination(schema, postgres_url)) as store:
        store.prepare(SchemaMapping())
        words = {"model-v1": dense(1), "words": dense(2, dimension=4)}
        store.apply(batch(asset("a", feature("a 1"), feature("a 2", words)), asset("gone", feature("g"))))
        store.apply(batch(asset("b", feature("b 1")), asset("wide", feature("w"))))
        store.apply(batch(asset("wide", feature("w", {"model-v1": dense(1, dimension=3)}), fingerprint="2")))
        store.tombstone("ads", ["gone"])
        yield store


@pytest.fixture
def sql(postgres_url: str, schema: str) -> Iterator[Sql]:
    """A connection that finds the schema's tables by their names."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"SET search_path = {schema}, public".encode())
        yield connection


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The assets whose rows a check has read without looking into them; None: all."""
    asked: list[Any] = []

    class Listed(_verify.AssetTables):
        def __init__(self, *arguments: Any, whole: bool) -> None:
            super().__init__(*arguments, whole=whole)
            asked.extend([] if whole else [arguments[-1]])

    monkeypatch.setattr(_verify, "AssetTables", Listed)
    return asked


def test_what_is_in_step_is_not_listed(store: PgvectorDestination, listed: list[Any]) -> None:
    assert list(store.discrepancies("ads", 0)) == []
    assert list(store.discrepancies("nothing was ever synced", 0)) == []
    assert listed == []


@pytest.mark.parametrize(("tampering", "expected"), family(TAMPERINGS, always=(3,)))
def test_what_was_tampered_with_is_named_as_by_reading_everything(
    store: PgvectorDestination, sql: Sql, listed: list[Any], tampering: str, expected: Sequence[Discrepancy]
) -> None:
    assert sql.execute(tampering.encode()).rowcount == 1
    assert set(store.discrepancies("ads", 0)) == set(expected)
    assert set(store.discrepancies("ads", None)) == set(expected)
    (asset_ids,) = listed
    assert {each.asset_id for each in expected} <= set(asset_ids) < {"a", "b", "wide", "gone", "ghost"}


@pytest.mark.long
def test_no_more_slices_are_read_than_rows_were_tampered_with_and_everything_where_most_differ(
    postgres_url: str, schema: str, sql: Sql, listed: list[Any]
) -> None:
    number, rows = 700, 100
    with closing(PgvectorDestination(schema, postgres_url)) as store:
        store.prepare(SchemaMapping())
        store.apply(batch(*(asset(f"asset {each}", feature(f"f {each}")) for each in range(number))))
        sql.execute("DELETE FROM video__model_v1 WHERE asset_id IN (SELECT asset_id FROM assets LIMIT 100)")
        missing = list(store.discrepancies("ads", 0))
        assert (len(missing), {each.kind for each in missing}) == (rows, {Difference.MISSING})
        (asset_ids,) = listed
        slices = "SELECT count(DISTINCT hashtextextended(asset_id, hashtextextended(collection, 0)) & 4095) FROM assets"
        ((count,),) = sql.execute(f"{slices} WHERE asset_id = ANY(%s)".encode(), [asset_ids])
        assert count <= rows
        sql.execute("DELETE FROM video")
        assert len(list(store.discrepancies("ads", 0))) == rows + number
        assert listed[1:] == [None]


@pytest.mark.long
def test_what_a_sync_writes_between_two_looks_is_no_difference(
    store: PgvectorDestination, postgres_url: str, schema: str, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums and rows are of one snapshot, before each of which another process replaces the same asset here."""
    sql.execute("DELETE FROM video__model_v1 WHERE feature_id = 'a 1'")
    versions = itertools.count(2)
    with closing(PgvectorDestination(schema, postgres_url)) as other:
        other.prepare(SchemaMapping())

        def after_sync(call: Callable[..., Any]) -> Callable[..., Any]:
            def called(*arguments: Any) -> Any:
                version = str(next(versions))
                other.apply(batch(asset("a", feature(f"a {version}"), fingerprint=version)))
                return call(*arguments)

            return called

        monkeypatch.setattr(_slices, "read_sums", after_sync(read_sums))
        monkeypatch.setattr(Reader, "rows", after_sync(Reader.rows))
        expected = Discrepancy(Difference.MISSING, "a", "a 1", Modality.VIDEO, "model-v1")
        assert list(store.discrepancies("ads", 0)) == [expected]
        assert list(store.discrepancies("ads", 0)) == []
        assert next(versions) > 10


@pytest.mark.long
def test_vectors_are_looked_up_among_features_only_where_one_is_hidden(postgres_url: str, schema: str) -> None:
    scans = f"SELECT seq_scan + idx_scan FROM pg_stat_xact_user_tables WHERE relid = '{schema}.video'::regclass"

    def looks() -> int:
        with _stored.snapshot(pgvector._prepared()) as (connection, _):
            reader = _slices.SliceReader(connection, pgvector._prepared(), "ads")
            assert reader.digests(1)
            looks = connection.execute(text(scans)).scalar_one()
            assert not reader.unlike_ledger()
            return int(looks)

    with closing(PgvectorDestination(schema, postgres_url)) as pgvector:
        pgvector.prepare(SchemaMapping())
        pgvector.apply(batch(asset("a", feature("f 1"), feature("f 2")), asset("b", feature("g"))))
        assert looks() == 1
        pgvector.tombstone("ads", ["b"])
        assert looks() > 1


@pytest.mark.long
@pytest.mark.parametrize("server", ["postgres_url", "other_postgres_url"])
def test_sums_of_vectors_are_read_out_of_the_index_of_their_key(
    request: pytest.FixtureRequest, server: str, schema: str
) -> None:
    """A row of 256 dimensions is ten times as long as its entry in the index."""
    url, made = request.getfixturevalue(server), {"model-v1": np.ones(256, np.float32)}
    with closing(PgvectorDestination(schema, url)) as store:
        store.prepare(SchemaMapping())
        store.apply(batch(*(asset(f"asset {each}", feature(f"f {each}", made)) for each in range(3_000))))
        with psycopg.connect(url, autocommit=True) as sql:
            sql.execute(f"VACUUM ANALYZE {schema}.video__model_v1, {schema}.video".encode())
        with _stored.snapshot(store._prepared()) as (connection, _):
            reader = _slices.SliceReader(connection, store._prepared(), "ads")
            for slices in (1, SLICES):
                assert reader.digests(slices)
                assert not reader.unlike_ledger()
            scans = "SELECT seq_scan, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relid = :table ::regclass"
            assert connection.execute(text(scans), {"table": f"{schema}.video__model_v1"}).one() == (0, 0)
