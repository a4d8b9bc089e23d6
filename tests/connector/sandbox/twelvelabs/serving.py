"""A sandboxed TwelveLabs and a client of it, for one test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from vectorferry.connector.sandbox import Sandbox, SandboxSettings, TwelveLabsDialect

__all__ = ["OPTIONS", "Twin", "answering", "index_named", "rows_of", "twelvelabs"]

Twin = tuple[Sandbox, httpx.AsyncClient]
OPTIONS = {"embedding_option": ["visual", "audio", "transcription"], "transcription": "true"}


@asynccontextmanager
async def twelvelabs(settings: SandboxSettings | None = None) -> AsyncIterator[Twin]:
    """A sandbox with these settings, and a client of TwelveLabs that sends its key."""
    async with Sandbox(settings) as sandbox:
        headers = {"x-api-key": sandbox.api_key}
        async with httpx.AsyncClient(base_url=sandbox.twelvelabs_url, headers=headers, timeout=10) as client:
            yield sandbox, client


def answering(**dialect: Any) -> SandboxSettings:
    """Settings for one dialect."""
    return SandboxSettings(twelvelabs=TwelveLabsDialect(**dialect))


async def index_named(client: httpx.AsyncClient, name: str) -> str:
    """The id of an index."""
    (found,) = (await client.get("/indexes", params={"index_name": name})).json()["data"]
    return str(found["_id"])


async def rows_of(client: httpx.AsyncClient, path: str, **query: Any) -> list[dict[str, Any]]:
    """Every row of a list, oldest page first."""
    rows: list[dict[str, Any]] = []
    for page in range(1, 100):
        answer = (await client.get(path, params={"page": page, "page_limit": 50, **query})).json()
        rows += answer["data"]
        if page >= answer["page_info"]["total_page"]:
            break
    return rows
