"""Two stores whose hashes are summed up are told apart as by reading every hash, of which only few are read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from vectorferry.connector._engine._reader import CheckReader
from vectorferry.connector._engine.verify._pairs import compare_digests
from vectorferry.connector.plugin import Destination, Finding, Modality, Reason, Rejected, SchemaMapping
from vectorferry.connector.sandbox import Sandbox, running_sandbox
from vectorferry.connector.testing import MemoryDestination
from vectorferry.destinations import PgvectorDestination

from ..builders import asset, batch, dense, feature, sparse
from ..examples import family
from ..pinecone import forget_budgets, pinecone_alone, pinecone_destination

Sql = psycopg.Connection[Any]

MAPPING = SchemaMapping.model_validate({"video": {"vectors": {"half": {"storage": "halfvec"}}}})
BATCHES = [
    batch(
        asset("a", feature("f1", {"model-v1": dense(1), "half": dense(1 / 3), "words": sparse({3: 0.0, 7: 1.5})})),
        asset("b", feature("f1"), feature("i1", modality=Modality.IMAGE), feature("f2", {})),
        asset("c"),
        asset("wide", feature("w")),
        *(asset(f"x{number}", feature("f")) for number in range(20)),
    ),
    batch(asset("wide", feature("w", {"model-v1": dense(1, dimension=3)}), fingerprint="2")),
]

HASHES = "SET vector_hash = decode(repeat('ab', 16), 'hex')"
TAMPERINGS = [
    f"UPDATE video__model_v1 {HASHES} WHERE asset_id = 'b'",
    "UPDATE {manifest}_features SET records = records - 'media-model-v1-8' WHERE asset_id = 'x1'",
    f"UPDATE video__half {HASHES}",
    f"UPDATE video__model_v1_3 {HASHES}",
    "UPDATE video__model_v1 SET vector_hash = '' WHERE asset_id = 'b'",
    "UPDATE image SET row_hash = decode('ab', 'hex')",
    "UPDATE assets SET row_hash = decode('ab', 'hex') WHERE asset_id IN ('c', 'x7')",
    "DELETE FROM video WHERE asset_id = 'x3'",
    "UPDATE video SET deleted_at = now() WHERE asset_id = 'b'",
    "UPDATE video__model_v1 SET asset_id = 'c' WHERE asset_id = 'b'",
    # Two rows that have swapped their hashes: the sum of these alone is what it was.
    "UPDATE video SET row_hash = CASE feature_id WHEN 'f1' THEN decode('01', 'hex') ELSE decode('02', 'hex') END "
    "WHERE asset_id = 'b'; UPDATE {manifest}_features SET row_hash = CASE feature_id WHEN 'f2' THEN "
    "decode('01', 'hex') ELSE decode('02', 'hex') END WHERE asset_id = 'b' AND modality = 'video'",
    "UPDATE {manifest}_features SET row_hash = NULL WHERE asset_id = 'x5'",
    "DELETE FROM {manifest}_ledger WHERE asset_id = 'x6'",
    "UPDATE {manifest}_features SET asset_id = 'ghost' WHERE asset_id = 'x6'",
    "DELETE FROM assets; DELETE FROM video; DELETE FROM image",
]


class ByRows(CheckReader):
    """Of a destination that sums nothing up."""

    async def digest_sums(self, collection: str, slices: int) -> None:
        """It cannot be said."""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A local Pinecone."""
    forget_budgets()
    with running_sandbox(pinecone_alone()) as running:
        yield running


@pytest.fixture
def stores(postgres_url: str, schema: str, sandbox: Sandbox) -> Iterator[Sequence[Destination]]:
    """Pgvector and a Pinecone whose manifest is in the same schema, both with the same batches."""
    pinecone = pinecone_destination(sandbox, postgres_url, schema)
    with closing(PgvectorDestination(schema, postgres_url)) as pgvector, closing(pinecone):
        for store in (pgvector, pinecone):
            store.prepare(MAPPING)
            for each in BATCHES:
                store.apply(each)
        yield pgvector, pinecone


@pytest.fixture
def sql(postgres_url: str, schema: str) -> Iterator[Sql]:
    """A connection that finds the schema's tables by their names."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"SET search_path = {schema}, public".encode())
        yield connection


def compared(
    stores: Sequence[Destination], reader: Callable[[Destination], CheckReader] = CheckReader
) -> tuple[list[Finding], list[str], int]:
    """What is found, what is noted, and how many digests were read."""
    read = 0

    def counted(store: Destination) -> CheckReader:
        made = reader(store)
        digests = store.digests

        def digests_of(*arguments: Any) -> Iterator[Any]:
            nonlocal read
            for each in digests(*arguments):
                read += 1
                yield each

        store.digests = digests_of  # type: ignore[method-assign, assignment]
        return made

    async def findings() -> tuple[list[Finding], list[str]]:
        notes: list[str] = []
        first, other = (counted(store) for store in stores)
        try:
            return [each async for each in compare_digests(first, other, "ads", notes)], notes
        finally:
            first.close()
            other.close()

    try:
        return *asyncio.run(findings()), read
    finally:
        for store in stores:
            del store.digests


def test_stores_in_step_read_no_hash(stores: Sequence[Destination]) -> None:
    assert compared(stores) == ([], [], 0)
    assert compared(stores, ByRows) == ([], [], 2 * sum(1 for _ in stores[0].digests("ads")))


@pytest.mark.parametrize("tampering", family(TAMPERINGS, always=(1,)))
def test_what_was_tampered_with_is_found_as_by_reading_every_hash(
    stores: Sequence[Destination], sql: Sql, tampering: str
) -> None:
    sql.execute(tampering.format(manifest="_sync_pinecone").encode())
    findings, notes, read = compared(stores)
    by_rows, by_rows_notes, everything = compared(stores, ByRows)
    assert (findings, notes) == (by_rows, by_rows_notes)
    assert findings or notes
    assert read < everything / 2 or len(findings) > len(BATCHES[0].assets)


@pytest.mark.long
def test_a_store_that_keeps_fewer_vectors_reads_no_hash_either(stores: Sequence[Destination], sql: Sql) -> None:
    sql.execute(b"DELETE FROM video__words")
    findings, notes, read = compared(stores)
    assert (findings, read) == ([], 0)
    assert notes == ["words: in pinecone only, so it was not compared with pgvector"]
    assert compared(stores, ByRows)[:2] == (findings, notes)


@pytest.mark.long
def test_what_only_one_of_two_has_in_quarantine_is_read_and_is_no_difference(stores: Sequence[Destination]) -> None:
    rejected = Rejected("a", Reason.ZERO_VECTOR, "all zero", "f1", "video", "half")
    less = feature("f1", {"model-v1": dense(1), "words": sparse({3: 0.0, 7: 1.5})})
    new = batch(asset("n", less, rejected=[replace(rejected, asset_id="n")]))
    stores[0].apply(new)
    stores[1].apply(batch(asset("n", *BATCHES[0].assets[0].features)))
    findings, notes, read = compared(stores)
    assert (findings, notes) == ([], [])
    assert 0 < read < 20


@pytest.mark.long
def test_where_most_slices_differ_everything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    first, other = MemoryDestination("first"), MemoryDestination("other")
    made = [asset(f"a{number}", feature("f")) for number in range(700)]
    first.apply(batch(*made))
    other.apply(batch(made[0]))
    monkeypatch.delattr(MemoryDestination, "slice_assets")
    findings, notes, _ = compared([first, other])
    assert (len(findings), notes) == (3 * 699, [])
    other.apply(batch(*made[1:690]))
    findings, _, _ = compared([first, other])  # nobody says what is in the slices that differ
    assert len(findings) == 3 * 10


@pytest.mark.long
def test_who_hashes_otherwise_is_compared_by_every_hash(stores: Sequence[Destination], sql: Sql) -> None:
    """So is one on a machine of another byte order."""
    pgvector, memory = stores[0], MemoryDestination()
    for each in BATCHES:
        memory.apply(each)
    findings, notes, read = compared([pgvector, memory])
    assert (findings, notes) == ([], [])
    assert read >= 2 * sum(1 for _ in memory.digests("ads"))
    sql.execute(b"DELETE FROM video WHERE asset_id = 'x3'")
    assert compared([pgvector, memory])[:2] == compared([pgvector, memory], ByRows)[:2]


@pytest.mark.long
def test_vectors_without_a_hash_of_their_own_are_noted(
    postgres_url: str, new_schema: Callable[[], str], sandbox: Sandbox
) -> None:
    mapping = SchemaMapping.model_validate({"video": {"vectors": {"model-v1": {"metric": "inner_product"}}}})
    both = feature("f1", {"model-v1": dense(1), "words": sparse({7: 0.5})})
    with ExitStack() as opened:
        pinecones = []
        for name in (new_schema(), new_schema()):
            settings = {"index_prefix": name.replace("_", "-"), "hybrid": {"model-v1": "words"}}
            pinecone = pinecone_destination(sandbox, postgres_url, name, **settings)
            pinecones.append(opened.enter_context(closing(pinecone)))
        for store in pinecones:
            store.prepare(mapping)
            store.apply(batch(asset("a", both), asset("b", feature("f2"))))
        findings, notes, _ = compared(pinecones)
    assert (findings, notes) == ([], ["2 records: pinecone or pinecone has no hash of their own"])


@pytest.mark.long
def test_hashes_are_the_same_in_another_version_of_postgres(
    stores: Sequence[Destination], other_postgres_url: str, schema: str
) -> None:
    with closing(PgvectorDestination(schema, other_postgres_url)) as older:
        older.prepare(MAPPING)
        for each in BATCHES:
            older.apply(each)
        assert compared([stores[0], older]) == ([], [], 0)
        older.apply(batch(asset("x3", feature("f", {"model-v1": dense(2)}), fingerprint="2")))
        findings, _, read = compared([stores[0], older])
        assert [(each.record.asset_id, each.record.vector_name) for each in findings] == [("x3", "model-v1")]
        assert 0 < read < 20
