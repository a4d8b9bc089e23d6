"""What the tests of Pinecone sync, and looking at what became of it in the store."""

from __future__ import annotations

from typing import Any, Final

from vectorferry.connector.sandbox import GeneratedCatalogue, Sandbox

__all__ = ["CATALOGUE", "FEATURES", "INDEX", "digests", "record_id", "stored", "writes"]

CATALOGUE: Final = GeneratedCatalogue(assets=8, features_per_asset=3, dimension=8, collections=("ads", "films"))
FEATURES: Final = CATALOGUE.assets * CATALOGUE.features_per_asset
INDEX: Final = "media-multimodal-v1-8"

_WRITES: Final = ("pinecone.upsert", "pinecone.update", "pinecone.delete", "pinecone.indexes.create")


def writes(sandbox: Sandbox) -> dict[str, int]:
    """Requests since the last reset that may have changed something in Pinecone."""
    return {route: count for route, count in sandbox.requests.counts().items() if route in _WRITES}


def stored(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    """Every record by id, whatever its collection."""
    return {
        record_id: record
        for namespace in sandbox.pinecone.namespaces(INDEX)
        for record_id, record in sandbox.pinecone.records(INDEX, namespace).items()
    }


def digests(sandbox: Sandbox) -> dict[str, str]:
    """What is in each namespace."""
    return {name: sandbox.pinecone.digest(INDEX, name) for name in sandbox.pinecone.namespaces(INDEX)}


def record_id(sandbox: Sandbox, feature_id: str) -> str:
    """Of a feature."""
    return f"{sandbox.mixpeek.feature(feature_id)['asset_id']}#{feature_id}"
