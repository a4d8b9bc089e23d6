"""Pinecone destinations for tests: a local Pinecone, and a manifest in a schema of the session's Postgres."""

from __future__ import annotations

from typing import Any

from pinecone._internal.bulk import get_registry
from pinecone._internal.http_client import get_budget_registry

from vectorferry.connector.sandbox import GeneratedCatalogue, GeneratedIndexes, Sandbox, SandboxSettings
from vectorferry.destinations import PineconeDestination, PineconeSettings

__all__ = ["forget_budgets", "pinecone_alone", "pinecone_destination"]


def pinecone_destination(sandbox: Sandbox, url: str, schema: str, **settings: Any) -> PineconeDestination:
    """A destination of the sync `media`, not prepared yet. The same arguments open the same one again."""
    manifest = {"url": url, "schema": schema}
    given = {"api_key": sandbox.api_key, "host": sandbox.url, "manifest": manifest, "vectors": "all", **settings}
    return PineconeSettings.model_validate(given).open("media")


def pinecone_alone(**settings: Any) -> SandboxSettings:
    """A sandbox without media: making those that are described takes longer than most of what is asked of it."""
    nothing = {"generate": GeneratedCatalogue(assets=0), "generate_twelvelabs": GeneratedIndexes(assets=0)}
    return SandboxSettings(**{**nothing, **settings})


def forget_budgets() -> None:
    """The SDK counts failures by host name, and every sandbox of the process has the same one."""
    get_budget_registry()._reset()
    get_registry()._reset()
