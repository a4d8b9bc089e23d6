"""What was asked of the store, for those who count."""

from __future__ import annotations

import asyncio

import httpx

from tests.connector.sandbox.pinecone.serving import World, record, world
from vectorferry.connector.sandbox import Fault, Stall


def test_requests_and_their_bytes_are_counted_by_operation(here: World, plain: httpx.Client) -> None:
    here.sandbox.requests.reset()
    sent = [plain.post("/vectors/upsert", json={"vectors": [record(f"r{n}")]}) for n in range(3)]
    plain.post("/vectors/update", content=b'{"id":"r1","setMetadata":{"n":1}}')
    plain.get("/vectors/list")
    assert here.sandbox.requests.counts() == {"pinecone.list": 1, "pinecone.update": 1, "pinecone.upsert": 3}
    size = sum(len(answer.request.content) for answer in sent)
    assert here.sandbox.requests.sizes() == {"pinecone.list": 0, "pinecone.update": 33, "pinecone.upsert": size}
    here.sandbox.requests.reset()
    assert here.sandbox.requests.sizes() == {}


def test_the_most_requests_at_once_are_remembered() -> None:
    with world(Fault(route="pinecone.list", do=Stall(seconds=1), until=7)) as here:
        plain = here.plain()
        here.sandbox.requests.reset()
        asyncio.run(_at_once(plain, 7))
        assert here.sandbox.requests.peak == 7
        here.sandbox.requests.reset()
        plain.get("/vectors/list")
        assert here.sandbox.requests.peak == 1


async def _at_once(plain: httpx.Client, count: int) -> None:
    async with httpx.AsyncClient(base_url=plain.base_url, headers=plain.headers) as client:
        await asyncio.gather(*(client.get("/vectors/list") for _ in range(count)))
