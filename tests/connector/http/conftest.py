"""A service with a certificate that nobody signed."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.certificates import self_signed_context
from tests.event_loop import LoopFactories, WaitingLoop


def pytest_asyncio_loop_factories() -> LoopFactories:
    """Servers and clients of these tests share one loop, and its clock."""
    return {"waiting": WaitingLoop}


@pytest.fixture
def self_signed(tmp_path: Path) -> ssl.SSLContext:
    """A server's side of TLS with a certificate that nobody else signed."""
    return self_signed_context(tmp_path)


@pytest.fixture
async def untrusted_https(self_signed: ssl.SSLContext) -> AsyncIterator[str]:
    """The base URL of an https service on loopback that shows this certificate."""

    async def never(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(never, "127.0.0.1", 0, ssl=self_signed) as listener:
        yield f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
