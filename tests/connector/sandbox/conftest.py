"""One default sandbox per test, in the test's own event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.connector.sandbox.serving import served
from tests.event_loop import LoopFactories, WaitingLoop
from vectorferry.connector.sandbox import Sandbox

Served = tuple[Sandbox, httpx.AsyncClient]


def pytest_asyncio_loop_factories(item: pytest.Item) -> LoopFactories:
    """A sandbox shares the loop of its test, and its clock; only benchmarks give it a process of its own."""
    if item.get_closest_marker("benchmark"):
        return {"default": asyncio.new_event_loop}
    return {"waiting": WaitingLoop}


@pytest.fixture
async def default() -> AsyncIterator[Served]:
    async with served() as both:
        yield both


@pytest.fixture
def sandbox(default: Served) -> Sandbox:
    return default[0]


@pytest.fixture
def client(default: Served) -> httpx.AsyncClient:
    return default[1]
