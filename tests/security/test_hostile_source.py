"""A source whose answers an attacker chooses: what it can make of a real store, and of one answer."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from contextlib import aclosing, closing

import numpy as np
import psycopg
from aiohttp import web

from tests.connector.http.serving import serving
from vectorferry.connector.plugin import Asset, Feature, Listing, Reason, Rejected
from vectorferry.connector.sources.mixpeek import MixpeekSettings
from vectorferry.connector.testing import MemorySource, sync
from vectorferry.destinations.pgvector import PgvectorSettings


def assets() -> list[Asset]:
    """Five, with 300 named vectors between them, and one with a name of 30 dimensions."""

    def video(asset_id: str, *features: Feature) -> Asset:
        return Asset(asset_id, "1", modality="video", features=features)

    ones = {size: np.ones(size, dtype=np.float32) for size in range(1, 31)}
    many = [
        video(f"a{n}", Feature(f"a{n}", "video", {}, {f"v{n}_{each}": ones[2] for each in range(60)})) for n in range(5)
    ]
    sizes = [Feature(f"f{size}", "video", {}, {"v0_0": vector}) for size, vector in ones.items()]
    return [*many, video("b", *sizes)]


async def test_five_assets_do_not_make_hundreds_of_tables(postgres_url: str, schema: str) -> None:
    for _ in range(2):
        store = PgvectorSettings.model_validate({"url": postgres_url, "schema": schema}).open("media")
        with closing(store):
            summary = await sync(MemorySource({"c": assets()}), [store], name="media")
    assert summary.exit_code == 3
    with psycopg.connect(postgres_url) as connection:
        tables = connection.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = %s AND tablename LIKE 'video\\_\\_%%'", [schema]
        ).fetchone()
        reasons = connection.execute(f'SELECT DISTINCT reason FROM "{schema}"._sync_quarantine').fetchall()
    assert tables == (32 + 3,)
    assert reasons == [("over_limit",)]


async def test_some_kilobytes_of_gzip_make_one_row_in_quarantine() -> None:
    body = gzip.compress(b'{"asset":{"asset_id":"a"},"features":{"video":[' + b"0," * 333_336 + b"0]}}")
    assert len(body) < 5_000

    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("/features"):
            return web.Response(body=body, headers={"Content-Encoding": "gzip"})
        return web.json_response({"results": [], "pagination": {"total": 0}})

    async def listings() -> AsyncIterator[Listing]:
        yield Listing("a", "1")

    async with serving(answer) as server:
        source = MixpeekSettings.model_validate({"base_url": server.url, "api_key": "k", "api_prefix": ""}).open()
        async with aclosing(source):
            (record,) = [each async for each in source.pull("c", listings())]
    assert isinstance(record, Rejected)
    assert (record.reason, record.feature_id) == (Reason.OVER_LIMIT, "")
    assert "333,337 features" in record.detail
    assert "limits.features_per_asset" in record.detail
