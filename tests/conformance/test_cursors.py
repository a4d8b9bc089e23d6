"""Every destination remembers how far a source's changes have been followed, and forgets it when that is not so."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import product
from typing import Any

import psycopg
import pytest
from psycopg import sql

from vectorferry import SyncOptions
from vectorferry.connector.plugin import (
    MODALITIES,
    BatchLimits,
    Capability,
    ColumnMapping,
    Cursor,
    DeleteGuard,
    Destination,
    Difference,
    Discrepancy,
    Modality,
    ModalityMapping,
    Planned,
    SchemaMapping,
    SourceError,
    VectorMapping,
)
from vectorferry.connector.sandbox import Sandbox
from vectorferry.connector.testing import MemoryDestination, MemorySource, plan, sync
from vectorferry.destinations import PgvectorDestination

from ..builders import asset, batch, dense, feature
from ..connector.changing import Changing
from ..connector.worlds import asset as source_asset
from ..connector.worlds import assets
from ..destinations.pinecone.store import delete_index
from ..examples import family
from ..pinecone import pinecone_destination
from ..tables import RUNS, row_counts, tables_of
from .conftest import NewPlace, Open, both_stores_are_long, pinecone_is_long

CURSOR = Cursor("2026-11-01T00:00:00Z ✓", "d1", frozenset(MODALITIES), 3)
MAPPING = SchemaMapping()
OTHER_MAPPING = SchemaMapping(video=ModalityMapping(columns={"heard": ColumnMapping(path="text")}))


def cursors(destination: Destination) -> Destination:
    assert Capability.CURSORS in destination.capabilities
    return destination


def test_it_is_kept_per_collection(prepared: Open) -> None:
    first = cursors(prepared())
    assert first.cursor("ads") is None
    first.record_cursor("ads", CURSOR)
    first.record_cursor("films", replace(CURSOR, modalities=frozenset({Modality.VIDEO})))
    first.record_cursor("ads", replace(CURSOR, incremental_scans=4))
    again = cursors(prepared())
    assert again.cursor("ads") == replace(CURSOR, incremental_scans=4)
    assert again.cursor("films") == replace(CURSOR, modalities=frozenset({Modality.VIDEO}))
    again.record_cursor("ads", None)
    again.record_cursor("ads", None)
    assert again.cursor("ads") is None
    assert again.cursor("films") is not None


FORGETS: dict[str, Callable[[Any], object]] = {
    "remove": lambda one: one.remove("ads", ["a"]),
    "tombstone": lambda one: (
        one.tombstone("ads", ["a"]) if Capability.TOMBSTONES in one.capabilities else one.remove("ads", ["a"])
    ),
    "read_again": lambda one: one.read_again("ads", ["a"]),
    "distrust": lambda one: one.distrust("ads", [Discrepancy(Difference.MISSING, "a")]),
}


@pinecone_is_long
@pytest.mark.parametrize("how", FORGETS)
def test_what_makes_it_untrue_forgets_it(prepared: Open, how: str) -> None:
    destination = prepared()
    destination.apply(batch(asset("a", feature("f"))))
    for collection in ("ads", "films"):
        cursors(destination).record_cursor(collection, CURSOR)
    destination.apply(batch(asset("b", feature("f"))))
    assert cursors(destination).cursor("ads") == CURSOR
    FORGETS[how](destination)
    assert cursors(destination).cursor("ads") is None
    assert cursors(destination).cursor("films") == CURSOR


def test_it_takes_the_place_only_of_the_one_that_was_there_before(prepared: Open) -> None:
    destination = cursors(prepared())
    void, later = Cursor("a mark", "", frozenset(), is_void=True), replace(CURSOR, since="later")
    destination.record_cursor("ads", void)
    destination.record_cursor("films", CURSOR)
    assert destination.cursor("ads") is None
    destination.record_cursor("ads", CURSOR, replace(void, since="another mark"))
    assert destination.cursor("ads") is None
    destination.record_cursor("ads", CURSOR, void)
    destination.record_cursor("ads", later, void)
    assert destination.cursor("ads") == CURSOR
    destination.record_cursor("ads", later, CURSOR)
    assert destination.cursor("ads") == later
    destination.read_again("ads", [], in_run=True)
    assert destination.cursor("ads") is None
    destination.record_cursor("ads", CURSOR, later)
    assert (destination.cursor("ads"), destination.cursor("films")) == (CURSOR, CURSOR)
    destination.read_again("ads", [])
    destination.record_cursor("ads", later, CURSOR)
    assert (destination.cursor("ads"), destination.cursor("films")) == (None, CURSOR)


class Interrupted(Changing):
    """When all of it is listed and written, and no cursor is recorded yet, something happens."""

    def __init__(self) -> None:
        super().__init__({"ads": assets(4)})
        self.at_the_end: list[Callable[[], object]] = []

    async def cursor(self, collection: str) -> str | None:
        while self.at_the_end:
            self.at_the_end.pop()()
        return await super().cursor(collection)


def schema_of(destination: Any) -> str:
    return str(
        destination._schema_name if isinstance(destination, PgvectorDestination) else destination._manifest._schema
    )


def lose(destination: Any, postgres_url: str, sandbox: Sandbox) -> None:
    """What is stored of every collection goes, by hand, and another process prepares the place anew."""
    if isinstance(destination, PgvectorDestination):
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            table = sql.Identifier(schema_of(destination), "video")
            connection.execute(sql.SQL("DROP TABLE {} CASCADE").format(table))
    else:
        (name,) = {table.name for table in destination.status().tables}
        delete_index(sandbox, name)
    destination.prepare(MAPPING)


STORES = ("pgvector", "pinecone")
FORGOTTEN = [
    ("pgvector", "lose", "full"),
    ("memory", "read_again", "incremental"),
    ("memory", "read_again", "full"),
    ("memory", "distrust", "full"),
    ("pinecone", "lose", "full"),
    *((kind, "lose", "incremental") for kind in STORES),
    *product(STORES, ("read_again", "distrust"), ("full", "incremental")),
]


@pytest.mark.parametrize(("kind", "how", "scan"), family(FORGOTTEN, always=(0, 1)))
async def test_what_another_process_forgets_while_a_run_is_under_way_stays_forgotten(
    new_place: NewPlace, postgres_url: str, sandbox: Sandbox, kind: str, how: str, scan: str
) -> None:
    place, source = new_place(kind), Interrupted()
    mine, other = place(), place()

    async def seen(destination: Destination) -> tuple[str, str | None]:
        summary = await sync(source, [destination], name="m")
        return summary.collections["ads"].scan, summary.collections["ads"].why_full

    def forget() -> None:
        if how == "lose":
            lose(other, postgres_url, sandbox)
        else:
            FORGETS[how](other)

    other.prepare(MAPPING)
    if scan == "incremental":
        await seen(mine)
        source.put("ads", source_asset("a0001", 2))
    source.at_the_end.append(forget)
    assert (await seen(mine))[0] == scan
    assert not source.at_the_end
    assert await seen(place()) == ("full", "no earlier run has left this collection wholly up to date")
    assert await is_right(source, other)
    assert (await seen(place()))[0] == "incremental"


@pytest.mark.parametrize(
    ("kind", "book"),
    family(
        [("pgvector", "_sync_ledger"), ("pinecone", "_sync_pinecone_ledger"), ("pinecone", "_sync_pinecone_features")]
    ),
)
async def test_it_goes_with_a_book_that_somebody_has_dropped(
    new_place: NewPlace, postgres_url: str, kind: str, book: str
) -> None:
    """Else the next run would be told of changes only, and not of what the book had."""
    place, source = new_place(kind), Changing({"ads": assets(4)})
    await sync(source, [place()], name="m")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(schema_of(place()), book)))
    summary = await sync(source, [place()], name="m")
    assert (summary.collections["ads"].scan, summary.collections["ads"].pulled) == ("full", 4)
    last = place()
    last.prepare(MAPPING)
    assert await is_right(source, last)


def test_a_plan_knows_it(prepared: Open) -> None:
    destination: Any = prepared()
    cursors(destination).record_cursor("ads", CURSOR)
    told: Planned = destination.planned(MAPPING)
    assert told.cursor("ads") == CURSOR
    assert told.cursor("films") is None


@pinecone_is_long
async def test_a_plan_announces_the_scan_that_the_sync_then_makes(prepared: Open) -> None:
    source = Changing({"ads": assets(4)})
    everything = DeleteGuard(max_share=1)

    async def announced(*, full: bool = False) -> list[object]:
        destination = prepared()
        told = await plan(source, [destination], SyncOptions(full=full), name="m", deletes=everything)
        summary = await sync(source, [destination], SyncOptions(full=full), name="m", deletes=everything)
        planned, seen = told.collections["ads"], summary.collections["ads"]
        assert planned.to_pull == seen.pulled
        for name in ("listed", "unchanged", "scan", "why_full", "complete"):
            assert getattr(planned, name) == getattr(seen, name)
        deleted = next(iter(summary.destinations.values())).applied.assets.deleted
        assert sum(each.missing for each in planned.deletes.values()) == deleted
        return [seen.scan, seen.pulled, deleted]

    assert await announced() == ["full", 4, 0]
    assert await announced() == ["incremental", 0, 0]
    source.put("ads", source_asset("a0001", 2))
    del source.assets["ads"]["a0002"]
    assert await announced() == ["incremental", 1, 0]
    assert await announced(full=True) == ["full", 0, 1]
    assert await announced() == ["incremental", 0, 0]


async def is_right(source: Changing, destination: Destination) -> bool:
    """Whether the books say what those of an empty destination would say after a full sync."""
    right = MemoryDestination()
    await sync(MemorySource({"ads": source.assets["ads"].values()}), [right], name="m")
    return list(destination.digests("ads")) == list(right.digests("ads"))


@both_stores_are_long
async def test_a_history_of_incremental_and_full_runs_ends_right(prepared: Open) -> None:
    source = Changing({"ads": assets(9)})

    async def run(destination: Destination, **more: Any) -> str:
        summary = await sync(source, [destination], name="m", deletes=DeleteGuard(max_share=1), **more)
        return summary.collections["ads"].scan

    assert await run(prepared()) == "full"
    for number in (1, 2):
        source.put("ads", source_asset(f"a000{number}", 2))
    source.put("ads", source_asset("late"), late=1)
    assert await run(prepared()) == "incremental"
    assert await is_right(source, prepared())
    source.instead["a0003"] = None
    for number in (3, 4, 5):
        source.put("ads", source_asset(f"a000{number}", 3))
    assert await run(prepared()) == "incremental"
    source.instead.clear()
    assert await run(prepared()) == "incremental"
    assert await is_right(source, prepared())
    source.pull_error = SourceError("gone for an hour")
    with pytest.raises(SourceError):
        await run(prepared(), mapping=OTHER_MAPPING, batch=BatchLimits(rows=3))
    source.pull_error = None
    assert await run(prepared()) == "full"
    assert await is_right(source, prepared())


def written(connection: psycopg.Connection[Any], schema: str) -> set[tuple[str, str, str]]:
    """Table, place and transaction of every row: a row that is written again gets another place. The record of runs,
    which grows with each, is left out."""
    found: set[tuple[str, str, str]] = set()
    for table in tables_of(connection, schema):
        if RUNS.fullmatch(table):
            continue
        rows = connection.execute(
            sql.SQL("SELECT {}, ctid::text, xmin::text FROM {}").format(table, sql.Identifier(schema, table))
        )
        found |= {(name, place, transaction) for name, place, transaction in rows}
    return found


async def test_an_incremental_sync_with_nothing_changed_writes_one_row_the_counter(
    postgres_url: str, schema: str
) -> None:
    source = Changing({"ads": assets(4)})
    with closing(PgvectorDestination(schema, postgres_url)) as destination:
        await sync(source, [destination], name="m")
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            before = written(connection, schema)
            for _ in range(2):
                await sync(source, [destination], name="m")
                after = written(connection, schema)
                assert [table for table, *_ in after - before] == ["_sync_cursors"]
                before = after


async def test_a_source_without_cursors_leaves_no_row(postgres_url: str, schema: str) -> None:
    source = MemorySource({"ads": assets(4)})
    with closing(PgvectorDestination(schema, postgres_url)) as destination:
        await sync(source, [destination], name="m")
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            before = written(connection, schema)
            await sync(source, [destination], name="m")
            assert written(connection, schema) == before
            counts = row_counts(connection, schema)
            assert (counts["_sync_cursors"], counts["_sync_runs"]) == (0, 2)


def test_a_layout_that_has_assets_read_again_forgets_all(postgres_url: str, schema: str) -> None:
    other = SchemaMapping(video=ModalityMapping(vectors={"multimodal-v1": VectorMapping(metric="l2")}))
    with closing(PgvectorDestination(schema, postgres_url)) as destination:
        destination.prepare(MAPPING)
        destination.apply(batch(asset("a", feature("f", {"multimodal-v1": dense(1)}))))
        destination.record_cursor("ads", CURSOR)
        assert destination.planned(MAPPING).cursor("ads") == CURSOR
        assert destination.planned(other).cursor("ads") is None
        destination.prepare(other)
        assert destination.cursor("ads") is None


def test_another_layout_of_records_is_another_cursor(postgres_url: str, schema: str, sandbox: Sandbox) -> None:
    prefix = schema.replace("_", "-")
    with closing(pinecone_destination(sandbox, postgres_url, schema, index_prefix=prefix)) as destination:
        destination.prepare(MAPPING)
        destination.record_cursor("ads", CURSOR)
    leaner = pinecone_destination(sandbox, postgres_url, schema, index_prefix=prefix, metadata={"leave_out": ["text"]})
    with closing(leaner) as destination:
        assert destination.planned(MAPPING).cursor("ads") is None
        destination.prepare(MAPPING)
        assert destination.cursor("ads") is None


def test_an_index_that_is_gone_forgets_all(postgres_url: str, schema: str, sandbox: Sandbox) -> None:
    prefix = schema.replace("_", "-")
    with closing(pinecone_destination(sandbox, postgres_url, schema, index_prefix=prefix)) as destination:
        destination.prepare(MAPPING)
        destination.apply(batch(asset("a", feature("f", {"multimodal-v1": dense(1)}))))
        destination.record_cursor("ads", CURSOR)
        (name,) = {table.name for table in destination.status().tables}
        delete_index(sandbox, name)
        assert destination.planned(MAPPING).cursor("ads") is None
        destination.prepare(MAPPING)
        assert destination.cursor("ads") is None
