"""What somebody takes away from our tables by hand is given back, and what no longer held to it is mended."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from vectorferry import Summary, Verification
from vectorferry.connector.plugin import (
    Asset,
    DestinationError,
    Difference,
    Discrepancy,
    Feature,
    Modality,
    SchemaMapping,
    SearchQuery,
)
from vectorferry.connector.testing import MemorySource, sync, verify
from vectorferry.destinations import PgvectorDestination

from ... import builders
from ...builders import batch, dense
from ...examples import family
from .test_verify import found, own, store

__all__ = ["store"]

PLAIN = {"index": "none"}
MAPPING = SchemaMapping.model_validate(
    {
        "video": {
            "columns": {"takes": {"path": "takes", "type": "bigint"}},
            "vectors": {"model": PLAIN, "half": {"storage": "halfvec", **PLAIN}},
        }
    }
)

Sql = psycopg.Connection[Any]

SHAPE = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated, a.attcollation,
    pg_get_expr(d.adbin, d.adrelid)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r'
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = current_schema()::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL SELECT c.relname, NULL, pg_get_indexdef(k.conindid), i.indisvalid, NULL, NULL, pg_get_constraintdef(k.oid)
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_index i ON i.indexrelid = k.conindid
WHERE k.connamespace = current_schema()::regnamespace AND k.contype = 'p'
UNION ALL SELECT relname, NULL, NULL, NULL, NULL, NULL, pg_get_viewdef(oid) || coalesce(relacl::text, '')
FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind = 'v' ORDER BY 1, 2
"""


def keyless(table: str, columns: str = "*") -> str:
    """Without its key, and one row twice."""
    rows = f"SELECT {columns} FROM {table} WHERE asset_id = 'a'" if columns else ""
    into = "" if columns == "*" else f" ({columns})"
    return f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey; INSERT INTO {table}{into} {rows}"


def nothing(table: str, column: str, rows: str = "WHERE asset_id = 'a'") -> str:
    """Without a NOT NULL, and nothing in some rows."""
    return f"ALTER TABLE {table} ALTER {column} DROP NOT NULL; UPDATE {table} SET {column} = NULL {rows}"


def retyped(table: str, column: str, kind: str, before: str = "") -> str:
    """Another type."""
    return f"{before}; ALTER TABLE {table} ALTER {column} TYPE {kind}"


KEYS = "collection, asset_id, feature_id"
VECTORS = f"{KEYS}, embedding, vector_hash"
NO_VIEW, NO_KEY = "DROP VIEW video_model CASCADE", "ALTER TABLE video DROP CONSTRAINT video_pkey"
NO_VIEWS = "DROP VIEW video_half CASCADE; " + NO_VIEW

READ_AGAIN = [
    keyless("video", f"{KEYS}, takes, metadata, extra, row_hash"),
    nothing("video", "row_hash"),
    nothing("video__half", "vector_hash"),
    nothing("_sync_ledger", "features"),
    keyless("video__model", VECTORS),
    keyless("assets"),
    keyless("_sync_ledger"),
    nothing("video", "metadata"),
    nothing("assets", "extra"),
    nothing("video__model", "embedding"),
    nothing("_sync_ledger", "fingerprint"),
    nothing("_sync_ledger", "contents"),
    f"{NO_KEY}; {nothing('video', 'feature_id')}",
    retyped("video__model", "embedding", "vector USING '[1,2]'::vector", NO_VIEW),
    "UPDATE _sync_ledger SET features = '{\"smell\": 1}' WHERE asset_id = 'a'",
    "UPDATE _sync_ledger SET features = '[1]' WHERE asset_id = 'a'",
]
"""Of which the next sync reads an asset again."""

TAKEN = [
    "ALTER TABLE video__model ALTER feature_key DROP EXPRESSION; UPDATE video__model SET feature_key = 7",
    "ALTER TABLE video ALTER feature_key DROP EXPRESSION; UPDATE video SET feature_key = 7",
    "UPDATE _sync_ledger SET contents = '[1]' WHERE asset_id = 'a'",
    "UPDATE _sync_ledger SET contents = '{\"smell\": [[[], [\"x\"]]]}' WHERE asset_id = 'a'",
    f"{NO_KEY}; {nothing('video', 'asset_id')}",
    keyless("_sync_origins").replace(" WHERE asset_id = 'a'", ""),
    keyless("_sync_vectors").replace(" WHERE asset_id = 'a'", ""),
    "ALTER TABLE _sync_cursors DROP CONSTRAINT _sync_cursors_pkey",
    "ALTER TABLE video ADD UNIQUE (collection, asset_id, feature_id); " + NO_KEY,
    "ALTER TABLE video DROP CONSTRAINT video_pkey, ADD PRIMARY KEY (feature_id, asset_id, collection)",
    "ALTER TABLE video DROP CONSTRAINT video_pkey, ADD PRIMARY KEY (collection, asset_id, feature_id) DEFERRABLE",
    "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'video__model_pkey'::regclass",
    nothing("_sync_modalities", "columns", ""),
    nothing("_sync_vectors", "own_digest", ""),
    nothing("_sync_runs", "counts", ""),
    "ALTER TABLE _sync_ledger ALTER synced_at DROP DEFAULT",
    retyped("video__model", "embedding", "halfvec(8)", NO_VIEW),
    retyped("video__model", "embedding", "vector(3)", NO_VIEW + "; TRUNCATE video__model"),
    retyped("video__model", "vector_hash", "text USING encode(vector_hash, 'hex')"),
    retyped("assets", "created_at", "timestamp"),
    retyped("_sync_ledger", "contents", "json"),
    retyped("_sync_ledger", "asset_id", 'text COLLATE "ucs_basic"'),
    retyped("video", "feature_id", "varchar(50)", NO_VIEWS + "; ALTER TABLE video ALTER feature_key DROP EXPRESSION"),
]


def feature(name: str = "f1", takes: int = 3) -> Feature:
    told = {"takes": takes, "metadata": {"by": "x"}}
    return Feature(name, "video", told, {"model": dense(0.1, 2.5), "half": dense(1 / 3)})


@pytest.fixture
def source() -> MemorySource:
    """Two assets of a feature."""
    return MemorySource({"ads": [Asset(name, "v1", "video", features=(feature(),)) for name in ("a", "b")]})


def synced(source: MemorySource, store: PgvectorDestination) -> Summary:
    return asyncio.run(sync(source, [store], name="media", mapping=MAPPING))


def checked(source: MemorySource, store: PgvectorDestination, *, repair: bool = False) -> Verification:
    return asyncio.run(verify(source, [store], name="media", mapping=MAPPING, sample=None, repair=repair))


def shape(sql: Sql) -> list[Any]:
    return sql.execute(SHAPE.encode()).fetchall()


def mended(source: MemorySource, store: PgvectorDestination, sql: Sql, before: list[Any]) -> None:
    """Everything is as if nothing had been taken, and goes on to be."""
    assert own(store) == list(store.discrepancies("ads", 0)) == []
    assert synced(source, store).exit_code == 0
    assert shape(sql) == before
    source.assets["ads"]["b"] = Asset("b", "v2", "video", features=(feature(takes=5),))
    assert synced(source, store).exit_code == 0
    assert checked(source, store).in_step
    rows = store.search(SearchQuery(Modality.VIDEO, "model", dense(0.1, 2.5))).rows
    assert sorted(row["asset_id"] for row in rows) == ["a", "b"]


@pytest.mark.parametrize("taking", family(READ_AGAIN, always=(0,)))
def test_what_somebody_has_taken_from_rows_is_a_finding_that_the_next_sync_mends(
    source: MemorySource, store: PgvectorDestination, sql: Sql, taking: str
) -> None:
    synced(source, store)
    before = shape(sql)
    sql.execute(taking.encode())
    planned = store.planned(MAPPING)
    is_damage = "UPDATE _sync_ledger SET features = '" not in taking
    assert any("somebody has taken away" in note for note in planned.notes) == is_damage
    assert [*planned.known("ads", ["a", "b"])] == ["a", "b"]
    verified = checked(source, store)
    assert {each.asset_id for each in found(verified)} >= {"a"}
    assert verified.exit_code == 1
    assert synced(source, store).collections["ads"].pulled >= 1
    mended(source, store, sql, before)


@pytest.mark.parametrize("taking", family(TAKEN, always=(0,)))
def test_what_somebody_has_taken_from_a_table_is_given_back_by_a_repair(
    source: MemorySource, store: PgvectorDestination, sql: Sql, taking: str
) -> None:
    synced(source, store)
    before = shape(sql)
    sql.execute(taking.encode())
    assert checked(source, store, repair=True).exit_code == 0
    mended(source, store, sql, before)


@pytest.mark.parametrize("table", family(["video", "video__model_v1"]))
def test_a_trigger_that_keeps_rows_back_is_named_and_nothing_counts_as_written(
    destination: PgvectorDestination, sql: Sql, table: str
) -> None:
    destination.apply(batch(builders.asset("a", builders.feature("f1"))))
    sql.execute(b"CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    sql.execute(f"CREATE TRIGGER keeper BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION nothing()".encode())
    changed = builders.feature("f1", {"model-v1": dense(2)}, transcription="other")
    for changing in (builders.asset("a", changed, fingerprint="2"), builders.asset("b", builders.feature("f1"))):
        with pytest.raises(DestinationError, match=rf"{table} has taken 0 of 1 rows: .*\(keeper\)\. Drop it"):
            destination.apply(batch(changing))
    known = destination.known("ads", ["a", "b"])
    assert {name: each.fingerprint for name, each in known.items()} == {"a": "1"}


@pytest.mark.parametrize("table", family(["video", "assets", "video__model_v1", "_sync_ledger"], always=(0, 2)))
@pytest.mark.parametrize("way", ["remove", "tombstone", "apply"])
def test_a_trigger_that_keeps_rows_from_going_is_named_and_the_assets_stay_in_the_books(
    destination: PgvectorDestination, sql: Sql, table: str, way: str
) -> None:
    """What stayed would be found by searches for good: nothing would take it away once the books have forgotten it."""
    asset = builders.asset("a", builders.feature("f1"), builders.feature("f2"))
    destination.apply(batch(asset))
    sql.execute(b"CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    kept = "UPDATE" if way == "tombstone" and not table.startswith("_") else "DELETE"
    sql.execute(f"CREATE TRIGGER keeper BEFORE {kept} ON {table} FOR EACH ROW EXECUTE FUNCTION nothing()".encode())

    def take() -> object:
        fewer = batch(builders.asset("a", builders.feature("f1"), fingerprint="2"))
        return destination.apply(fewer) if way == "apply" else getattr(destination, way)("ads", ["a"])

    if (way, table) in {("tombstone", "video__model_v1"), ("apply", "assets"), ("apply", "_sync_ledger")}:
        take()  # which leaves that table alone
        return
    with pytest.raises(DestinationError, match=rf"{table} keeps rows that were to go: .*\(keeper\)\. Drop it"):
        take()
    assert destination.known("ads", ["a"])["a"].fingerprint == "1"
    sql.execute(f"DROP TRIGGER keeper ON {table}".encode())
    take()


@pytest.mark.long
def test_a_view_that_goes_for_it_keeps_its_rights(source: MemorySource, store: PgvectorDestination, sql: Sql) -> None:
    synced(source, store)
    sql.execute(b"GRANT SELECT ON video_model TO PUBLIC")
    sql.execute(TAKEN[0].encode())
    before = sql.execute(b"SELECT relacl FROM pg_class WHERE oid = 'video_model'::regclass").fetchone()
    synced(source, store)
    assert sql.execute(b"SELECT relacl FROM pg_class WHERE oid = 'video_model'::regclass").fetchone() == before


def test_a_reason_that_only_another_version_knows_can_be_read(destination: PgvectorDestination, sql: Sql) -> None:
    sql.execute(
        b"INSERT INTO _sync_quarantine (collection, asset_id, feature_id, modality, reason, detail, vector_name, "
        b"column_name, kept) VALUES ('ads', 'a', 'f1', 'video', 'whim', 'said so', '', '', false)"
    )
    assert [(each.reason, each.detail) for _, each, _ in destination.rejected()] == [("malformed", "said so")]


@pytest.mark.long
def test_an_index_that_lacks_a_row_is_named_with_the_statement_that_helps(
    source: MemorySource, store: PgvectorDestination, sql: Sql
) -> None:
    """Sums are of the table itself; the rows of one asset are looked up in the index of its key."""
    source.assets["ads"] |= {
        f"x{number}": Asset(f"x{number}", "v1", features=(feature("f1"),)) for number in range(600)
    }
    synced(source, store)
    index = b"WHERE indexrelid = 'video_pkey'::regclass"
    sql.execute(b"UPDATE pg_index SET indisready = false, indisvalid = false " + index)
    sql.execute(
        b"INSERT INTO video (collection, asset_id, feature_id, metadata, extra, row_hash) "
        b"SELECT collection, asset_id, 'ghost', metadata, extra, row_hash FROM video WHERE asset_id = 'a'"
    )
    sql.execute(b"UPDATE pg_index SET indisready = true, indisvalid = true " + index)
    with pytest.raises(DestinationError, match=r"index is broken, .* verify again: (REINDEX SCHEMA .\w+.;)") as caught:
        list(store.discrepancies("ads", 0))
    sql.execute(str(caught.value).rpartition(": ")[2].encode())
    assert list(store.discrepancies("ads", 0)) == [Discrepancy(Difference.EXTRA, "a", "ghost", Modality.VIDEO)]
    assert checked(source, store, repair=True).exit_code == 0
    assert checked(source, store).in_step
