"""Every destination remembers who each collection was read as, and a sync by somebody else deletes nothing there."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import psycopg
import pytest
from psycopg import sql

from vectorferry.connector.plugin import Capability, DeleteGuard, Destination, SchemaMapping
from vectorferry.connector.testing import MemorySource, plan, sync
from vectorferry.destinations import PgvectorDestination

from ..builders import asset, batch, feature
from ..connector.worlds import assets
from ..examples import family
from .conftest import Open, pinecone_is_long

MAPPING = SchemaMapping()
MINE = {"source": "mixpeek", "base_url": "https://api.example.com", "namespace": "défault ✓", "key": "0123"}


def origins(destination: Destination) -> Destination:
    assert Capability.ORIGINS in destination.capabilities
    return destination


def test_it_is_kept_per_collection(prepared: Open) -> None:
    first = origins(prepared())
    assert first.origin("ads") is None
    first.record_origin("ads", MINE)
    first.record_origin("", {"source": "mixpeek"})
    first.record_origin("films", MINE)
    first.record_origin("films", {**MINE, "key": "4567"})
    again = origins(prepared())
    assert again.origin("ads") == MINE
    assert again.origin("films") == {**MINE, "key": "4567"}
    assert again.origin("") == {"source": "mixpeek"}
    again.record_origin("ads", None)
    again.record_origin("ads", None)
    assert again.origin("ads") is None
    assert again.origin("films") is not None


def test_it_stays_when_assets_come_and_go(prepared: Open) -> None:
    destination = prepared()
    origins(destination).record_origin("ads", MINE)
    destination.apply(batch(asset("a", feature("f"))))
    destination.remove("ads", ["a"])
    assert origins(destination).origin("ads") == MINE


def test_a_plan_knows_it(prepared: Open) -> None:
    destination: Any = prepared()
    origins(destination).record_origin("ads", MINE)
    told = destination.planned(MAPPING)
    assert told.origin("ads") == MINE
    assert told.origin("films") is None


@pinecone_is_long
@pytest.mark.parametrize("gone", family([1, 19]))
async def test_somebody_else_deletes_nothing_and_the_same_deletes_as_before(prepared: Open, gone: int) -> None:
    everything = assets(100)
    source = MemorySource({"ads": everything})
    source.account = dict(MINE)
    await sync(source, [prepared()], name="m")
    source.assets["ads"] = {each.asset_id: each for each in everything[gone:]}
    source.account["key"] = "4567"
    generous = DeleteGuard(max_share=1)
    announced = await plan(source, [prepared()], name="m", deletes=generous)
    refused = await sync(source, [prepared()], name="m", deletes=generous)
    assert (announced.exit_code, refused.exit_code) == (4, 4)
    assert len(list(prepared().asset_ids("ads"))) == 100
    source.account["key"] = "0123"
    assert (await sync(source, [prepared()], name="m")).exit_code == 0
    assert len(list(prepared().asset_ids("ads"))) == 100 - gone


def places(connection: psycopg.Connection[Any], schema: str) -> list[Any]:
    table = sql.Identifier(schema, "_sync_origins")
    return connection.execute(sql.SQL("SELECT collection, ctid, xmin FROM {} ORDER BY 1").format(table)).fetchall()


async def test_the_same_reader_writes_no_row(postgres_url: str, schema: str) -> None:
    source = MemorySource({"ads": assets(3), "films": []})
    with (
        closing(PgvectorDestination(schema, postgres_url)) as destination,
        psycopg.connect(postgres_url, autocommit=True) as connection,
    ):
        await sync(source, [destination], name="m")
        before = places(connection, schema)
        assert [collection for collection, *_ in before] == ["ads", "films"]
        await sync(source, [destination], name="m")
        assert places(connection, schema) == before
