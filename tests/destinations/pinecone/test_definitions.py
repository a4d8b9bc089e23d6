"""What somebody takes away from the tables of a manifest is given back, and what did not hold to it is written anew."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest

from vectorferry.connector.plugin import Difference, SchemaMapping
from vectorferry.connector.sandbox import Sandbox

from ...builders import asset, batch, feature
from ...examples import family
from ...pinecone import pinecone_destination
from .conftest import Open
from .store import stored_ids

BATCH = batch(asset("a", feature("f1")), asset("b", feature("f1")))
FEATURES, LEDGER = "_sync_pinecone_features", "_sync_pinecone_ledger"


def keyless(table: str, rows: str = "WHERE asset_id = 'a'") -> str:
    return f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey; INSERT INTO {table} SELECT * FROM {table} {rows}"


def nothing(table: str, column: str, rows: str = "WHERE asset_id = 'a'") -> str:
    return f"ALTER TABLE {table} ALTER {column} DROP NOT NULL; UPDATE {table} SET {column} = NULL {rows}"


TAKEN = [
    (keyless(FEATURES), {"a"}),
    (nothing(FEATURES, "records"), {"a"}),
    (nothing(FEATURES, "metadata_hash"), {"a"}),
    (nothing(FEATURES, "modality"), {"a"}),
    (keyless(LEDGER), {"a"}),
    (nothing(LEDGER, "row_hash"), {"a"}),
    (nothing(LEDGER, "fingerprint"), {"a"}),
    (nothing(LEDGER, "features"), {"a"}),
    (nothing(LEDGER, "layout"), {"a"}),
    (keyless("_sync_pinecone_namespaces", ""), set[str]()),
    (nothing("_sync_pinecone_namespaces", "visible", ""), set[str]()),
    (keyless("_sync_pinecone_indexes", ""), set[str]()),
    (nothing("_sync_pinecone_indexes", "complete", ""), {"a", "b"}),  # looked up in the index again
    (f"ALTER TABLE {FEATURES} ALTER records TYPE json", set[str]()),
    (f"ALTER TABLE {LEDGER} ALTER synced_at DROP DEFAULT", set[str]()),
]


@pytest.mark.parametrize(("taking", "again"), family(TAKEN, always=()))
def test_what_somebody_has_taken_from_a_manifest_is_given_back(
    sandbox: Sandbox, open_pinecone: Open, postgres_url: str, schema: str, taking: str, again: set[str]
) -> None:
    first = open_pinecone()
    first.apply(BATCH)
    before = first.known("ads", ["a", "b"])
    with psycopg.connect(postgres_url, autocommit=True) as sql:
        sql.execute(f"SET search_path = {schema}".encode())
        sql.execute(taking.encode())
    with closing(pinecone_destination(sandbox, postgres_url, schema)) as looking:
        if "json" not in taking:  # of which it can count nothing
            assert any("ALTER TABLE" in each for each in looking.planned(SchemaMapping()).statements)
        destination = open_pinecone()
        known = destination.known("ads", ["a", "b"])
        assert {name for name in before if known.get(name) != before[name]} == again
        destination.apply(BATCH)
        assert stored_ids(sandbox) == {"a#f1", "b#f1"}
        assert list(destination.discrepancies("ads")) == []
        assert [*looking.planned(SchemaMapping()).statements] == []


@pytest.mark.long
@pytest.mark.parametrize("records", ['{"media-model-v1-8": null}', '{"media-model-v1-8": "never a hash"}'])
def test_what_is_no_hash_is_found_and_written_again(
    open_pinecone: Open, postgres_url: str, schema: str, records: str
) -> None:
    destination = open_pinecone()
    destination.apply(BATCH)
    with psycopg.connect(postgres_url, autocommit=True) as sql:
        sql.execute(f"UPDATE {schema}.{FEATURES} SET records = %s WHERE asset_id = 'a'".encode(), [records])
    named = list(destination.discrepancies("ads"))
    assert [(each.kind, each.asset_id) for each in named] == [(Difference.DIFFERENT, "a")]
    destination.distrust("ads", named)
    destination.apply(BATCH)
    assert list(destination.discrepancies("ads")) == []
