"""One default sandbox per test, in the test's own event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from connector.sandbox import Sandbox
from tests.connector.sandbox.serving import served

Served = tuple[Sandbox, httpx.AsyncClient]


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
