"""A sandbox and a client of it, for one test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from vectorferry.connector.sandbox import Fault, MixpeekDialect, Sandbox, SandboxSettings

__all__ = ["EXAMPLE_TEXT", "EXAMPLE_TEXT_FEATURE", "QUICKSTART_VIDEO", "controlling", "faulty", "served", "speaking"]

EXAMPLE_TEXT = "60f391eb-b5ea-41cd-ba75-98d1bca25432"
EXAMPLE_TEXT_FEATURE = "98b693c0-6fc1-4420-97bd-6c4506356230"
QUICKSTART_VIDEO = "198dacbb-c7d2-41c3-b008-83ea41b29c31"


@asynccontextmanager
async def served(settings: SandboxSettings | None = None) -> AsyncIterator[tuple[Sandbox, httpx.AsyncClient]]:
    """A sandbox with these settings, and a client that sends its key."""
    async with Sandbox(settings) as sandbox:
        headers = {"Authorization": f"Bearer {sandbox.api_key}", **controlling(sandbox)}
        async with httpx.AsyncClient(base_url=sandbox.url, headers=headers, timeout=10) as client:
            yield sandbox, client


def controlling(sandbox: Sandbox) -> dict[str, str]:
    """Headers that open ``/_sandbox``, raw bodies included."""
    return {"X-Sandbox-Key": sandbox.control_key, "Content-Type": "application/json"}


def speaking(**dialect: Any) -> SandboxSettings:
    """Settings for one dialect."""
    return SandboxSettings(mixpeek=MixpeekDialect(**dialect))


def faulty(*faults: Fault) -> SandboxSettings:
    """Settings with fault rules."""
    return SandboxSettings(faults=faults)
