"""The stores that features are upserted into. Imported when asked for: no store loads the SDK of another."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vectorferry.destinations._embedded import EmbeddedPostgres
    from vectorferry.destinations.pgvector import PgvectorDestination, PgvectorSettings
    from vectorferry.destinations.pinecone import PineconeDestination, PineconeSettings

__all__ = ["EmbeddedPostgres", "PgvectorDestination", "PgvectorSettings", "PineconeDestination", "PineconeSettings"]

_MODULES = {"Embedded": "_embedded", "Pgvector": "pgvector", "Pinecone": "pinecone"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    (module,) = (module for prefix, module in _MODULES.items() if name.startswith(prefix))
    value: object = getattr(import_module(f"{__name__}.{module}"), name)
    return value
