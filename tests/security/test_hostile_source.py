"""A source whose answers an attacker chooses: what it can make of a real store, and of one answer."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from contextlib import aclosing, closing

import numpy as np
import psycopg
import pytest
from aiohttp import web

from tests.connector.http.serving import serving
from vectorferry import Reread, SyncOptions
from vectorferry.connector.plugin import Asset, Feature, Listing, Reason, Rejected, SourceLimits, Vector
from vectorferry.connector.sources.mixpeek import MixpeekSettings, _reader
from vectorferry.connector.testing import MemorySource, plan, sync
from vectorferry.destinations.pgvector import PgvectorSettings


def assets() -> list[Asset]:
    """Five, with 300 named vectors between them, and one with a name of 30 dimensions."""

    def video(asset_id: str, *features: Feature) -> Asset:
        return Asset(asset_id, "1", modality="video", features=tuple(features))

    ones = {size: np.ones(size, dtype=np.float32) for size in range(1, 31)}
    many = [
        video(f"a{n}", Feature(f"a{n}", "video", {}, {f"v{n}_{each}": ones[2] for each in range(60)})) for n in range(5)
    ]
    sizes = [Feature(f"f{size}", "video", {}, {"v0_0": vector}) for size, vector in ones.items()]
    return [*many, video("b", *sizes)]


@pytest.mark.long
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


MANY_FEATURES = b'{"asset":{"asset_id":"a"},"features":{"video":[' + b"0," * 333_336 + b"0]}}"
ONE = b'{"feature_id":"%d","modality":"video","vectors":{' + b",".join(b'"%d":0' % n for n in range(4_000)) + b"}}"
MANY_VECTORS = (
    MANY_FEATURES.partition(b"0")[0] + b",".join(ONE.replace(b"%d", b"%d" % n, 1) for n in range(80)) + b"]}}"
)


@pytest.mark.parametrize(
    ("answer_body", "told"),
    [(MANY_FEATURES, "333,337 features, and one"), (MANY_VECTORS, "320,080 features, vectors and rejected records")],
    ids=["features", "vectors"],
)
async def test_some_kilobytes_of_gzip_make_one_row_in_quarantine(
    answer_body: bytes, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted before a single record is made of them."""
    monkeypatch.setattr(_reader, "feature_from", None)
    monkeypatch.setattr(_reader, "feature_rows", None)
    body = gzip.compress(answer_body)
    assert len(body) < 700_000

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
    assert told in record.detail
    assert "raise limits." in record.detail


async def test_what_would_be_beyond_the_limits_is_told(postgres_url: str, schema: str) -> None:
    """As far as what is stored tells: nothing is read."""
    names = [f"v{n}" for n in range(2)]
    vectors: dict[str, Vector] = {name: np.ones(2, dtype=np.float32) for name in names}
    features = tuple(Feature(f"f{n}", "video", {}, vectors) for n in range(3))
    source = MemorySource({"c": [Asset("a", "1", "video", features=features)]})
    limits = SourceLimits(vectors_per_modality=2, dimensions_per_vector=1, features_per_asset=2)
    with closing(PgvectorSettings.model_validate({"url": postgres_url, "schema": schema}).open("m")) as store:
        await sync(source, [store], name="m")
        again = SyncOptions(reread=Reread(everything=True))
        planned = await plan(source, [store], again, name="m", limits=limits)
        generous = await plan(source, [store], again, name="m")
        summary = await sync(source, [store], again, name="m", limits=limits)
    told = " ".join(planned.destinations["pgvector"].notes)
    assert "limits.vectors_per_modality is 2, and as many named vectors of video are stored" in told
    assert "limits.dimensions_per_vector is 1, and as many dimensions of v0, v1 are stored" in told
    assert (planned.collections["c"].over_limit, generous.collections["c"].over_limit) == (1, 0)
    assert summary.destinations["pgvector"].quarantined == 1
    assert "limits." not in " ".join(generous.destinations["pgvector"].notes)
