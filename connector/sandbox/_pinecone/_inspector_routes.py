"""The inspector over HTTP, under ``/_sandbox/pinecone``, for whoever is not in the same process."""

from __future__ import annotations

from typing import Any

from vectorferry.connector.sandbox._http import Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._pinecone._inspector import PineconeInspector

__all__ = ["inspector_routes"]


def inspector_routes(inspector: PineconeInspector) -> list[Route]:
    """``GET`` tells the record counts and digests of every namespace; ``POST …/settle`` ends every lag."""

    def contents(_request: Request, /) -> Reply:
        return json_reply({name: _namespaces(inspector, name) for name in inspector.indexes()})

    def settle(_request: Request, /) -> Reply:
        inspector.settle()
        return json_reply({})

    return [
        Route("control", "GET", "/_sandbox/pinecone", contents),
        Route("control", "POST", "/_sandbox/pinecone/settle", settle),
    ]


def _namespaces(inspector: PineconeInspector, index: str) -> dict[str, Any]:
    counts = inspector.namespaces(index)
    return {name: {"records": count, "digest": inspector.digest(index, name)} for name, count in counts.items()}
