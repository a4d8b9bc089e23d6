"""What a check of a schema finds beyond vectors: rows, whole assets, and what older versions left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import psycopg
import pytest

from vectorferry import Summary, Verification
from vectorferry.connector.plugin import Asset, Difference, Discrepancy, Feature, Modality, SchemaMapping, Vector
from vectorferry.connector.testing import MemorySource, sync, verify
from vectorferry.destinations import PgvectorDestination

from ...builders import dense, sparse
from ...examples import family

MAPPING = SchemaMapping.model_validate(
    {
        "video": {
            "columns": {
                "takes": {"path": "takes", "type": "bigint"},
                "shot_at": {"path": "shot_at", "type": "timestamptz"},
                "share": {"path": "share", "type": "double precision"},
            },
            "vectors": {"half": {"storage": "halfvec"}},
        }
    }
)
COPIED = ", ".join(["collection", "asset_id", *MAPPING.columns(Modality.VIDEO), "metadata", "extra", "row_hash"])
Execute = Callable[[str], int]


def feature(name: str, modality: str = "video", **fields: Any) -> Feature:
    vectors: dict[str, Vector] = {
        "model": dense(0.1, 2.5),
        "half": dense(1 / 3, 1e-9),
        "words": sparse({1: 0.0, 30_521: 0.3}),
    }
    told = {
        "takes": 3,
        "shot_at": "2026-01-02T03:04:05.678901+02:00",
        "share": 0.1,
        "metadata": {"日本": [1, 2.50, None]},
    }
    return Feature(name, modality, {**told, **fields}, vectors)


def asset(name: str, *features: Feature, version: int = 1) -> Asset:
    return Asset(name, f"v{version}", "video", features=features, metadata={"by": "x", "big": 10**30})


@pytest.fixture
def source() -> MemorySource:
    """Two assets of two features."""
    return MemorySource({"ads": [asset(name, feature("f1"), feature("f2", "image")) for name in ("a", "b")]})


@pytest.fixture
def store(postgres_url: str, schema: str) -> Iterator[PgvectorDestination]:
    """A destination in a schema of its own."""
    with closing(PgvectorDestination(schema, postgres_url)) as store:
        yield store


@pytest.fixture
def execute(postgres_url: str, schema: str) -> Iterator[Execute]:
    """Run a statement in the schema; how many rows it was about."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"SET search_path = {schema}, public")
        yield lambda statement: connection.execute(statement.encode()).rowcount


def synced(source: MemorySource, store: PgvectorDestination) -> Summary:
    return asyncio.run(sync(source, [store], name="media", mapping=MAPPING))


def checked(source: MemorySource, store: PgvectorDestination, *, repair: bool = False) -> Verification:
    return asyncio.run(verify(source, [store], name="media", mapping=MAPPING, sample=None, repair=repair))


def found(verification: Verification) -> list[Discrepancy]:
    return [finding.record for finding in verification.collections["ads"].findings]


def rows_written(summary: Summary) -> int:
    """Of assets, features and vectors."""
    applied = summary.destinations["pgvector"].applied
    counts = [applied.assets, *applied.features.values(), *applied.vectors.values()]
    return sum(each.inserted + each.updated + each.deleted for each in counts)


def own(store: PgvectorDestination) -> Sequence[Discrepancy]:
    return list(store.discrepancies("ads"))


def test_every_kind_of_value_comes_back_as_its_hash_says(source: MemorySource, store: PgvectorDestination) -> None:
    odd = {"n": [1e300, -0.0, 10**20, 5e-324, 1e16], "text": "a\tb\u2028", "deep": {"x": {"y": []}}}
    source.assets["ads"]["c"] = asset("c", feature("f1", odd=odd, takes=None, share=-0.0))
    synced(source, store)
    assert own(store) == []


@pytest.mark.parametrize(
    ("tampering", "expected"),
    family(
        [
            (
                "DELETE FROM video WHERE asset_id = 'a'",
                [
                    Discrepancy(Difference.MISSING, "a", "f1", Modality.VIDEO),
                ],
            ),
            (
                "UPDATE video SET takes = 4 WHERE asset_id = 'a'",
                [Discrepancy(Difference.DIFFERENT, "a", "f1", Modality.VIDEO)],
            ),
            (
                "UPDATE image SET metadata = '{}' WHERE asset_id = 'b'",
                [Discrepancy(Difference.DIFFERENT, "b", "f2", Modality.IMAGE)],
            ),
            ("UPDATE assets SET url = 'x' WHERE asset_id = 'a'", [Discrepancy(Difference.DIFFERENT, "a")]),
            ("DELETE FROM assets WHERE asset_id = 'a'", [Discrepancy(Difference.MISSING, "a")]),
            (
                "UPDATE video__half SET embedding = embedding + embedding WHERE asset_id = 'a'",
                [Discrepancy(Difference.DIFFERENT, "a", "f1", Modality.VIDEO, "half")],
            ),
            (
                "UPDATE video__words SET embedding = '{2:0.3}/1000000000' WHERE asset_id = 'a'",
                [Discrepancy(Difference.DIFFERENT, "a", "f1", Modality.VIDEO, "words")],
            ),
            (
                "UPDATE video__model SET vector_hash = '' WHERE asset_id = 'a'",
                [Discrepancy(Difference.DIFFERENT, "a", "f1", Modality.VIDEO, "model")],
            ),
            (
                f"INSERT INTO video (feature_id, {COPIED}) SELECT 'f9', {COPIED} FROM video WHERE asset_id = 'a'",
                [Discrepancy(Difference.EXTRA, "a", "f9", Modality.VIDEO)],
            ),
            (
                "DELETE FROM _sync_ledger WHERE asset_id = 'a'",
                [Discrepancy(Difference.EXTRA, "a", detail="stored, but the ledger has no entry of it")],
            ),
        ],
        always=(5,),
    ),
)
def test_it_is_named_and_repaired_with_one_write_for_each_row(
    source: MemorySource, store: PgvectorDestination, execute: Execute, tampering: str, expected: list[Discrepancy]
) -> None:
    synced(source, store)
    assert execute(tampering) == 1
    assert own(store) == expected
    repaired = checked(source, store, repair=True)
    assert repaired.repair is not None
    assert repaired.exit_code == 0
    assert repaired.repair.collections["ads"].pulled == 1
    assert rows_written(repaired.repair) == (0 if "_sync_ledger" in tampering else 1)
    assert own(store) == []
    assert synced(source, store).collections["ads"].pulled == 0


@pytest.mark.long
def test_rows_of_an_asset_that_neither_ledger_nor_source_has_are_removed(
    source: MemorySource, store: PgvectorDestination, execute: Execute
) -> None:
    source.assets["ads"] |= {f"x{number}": asset(f"x{number}", feature("f1")) for number in range(10)}
    synced(source, store)
    execute("DELETE FROM _sync_ledger WHERE asset_id = 'a'")
    del source.assets["ads"]["a"]
    repaired = checked(source, store, repair=True)
    assert repaired.exit_code == 0
    assert execute("SELECT FROM assets WHERE asset_id = 'a'") == 0
    assert execute("SELECT FROM video__model WHERE asset_id = 'a'") == 0
    assert checked(source, store).in_step


@pytest.mark.long
def test_a_sample_is_of_so_many_assets(source: MemorySource, store: PgvectorDestination, execute: Execute) -> None:
    source.assets["ads"] = {str(number): asset(str(number), feature("f1")) for number in range(30)}
    synced(source, store)
    execute("UPDATE video SET takes = 4")
    assert len(list(store.discrepancies("ads", 7))) == 7


@pytest.mark.long
def test_a_vector_that_is_gone_is_missing_though_one_that_it_superseded_is_there(
    store: PgvectorDestination, execute: Execute
) -> None:
    def embedded(dimension: int, version: int) -> Asset:
        return Asset(
            "a", f"v{version}", "video", features=(Feature("f", "video", {}, {"m": dense(1, dimension=dimension)}),)
        )

    other = Asset("b", "v1", "video", features=(Feature("f", "video", {}, {"m": dense(1, dimension=8)}),))
    synced(MemorySource({"ads": [embedded(8, 1), other]}), store)
    source = MemorySource({"ads": [embedded(3, 2), other]})
    synced(source, store)
    assert checked(source, store).in_step
    assert execute("DELETE FROM video__m_3") == 1
    assert own(store) == [Discrepancy(Difference.MISSING, "a", "f", Modality.VIDEO, "m")]
    assert checked(source, store, repair=True).exit_code == 0
    assert (own(store), execute("SELECT FROM video__m_3"), checked(source, store).in_step) == ([], 1, True)
