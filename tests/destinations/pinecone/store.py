"""Looking into the store, and doing by hand what a sync would not do."""

from __future__ import annotations

from typing import Any, Final

import httpx
import psycopg

from vectorferry.connector.sandbox import Sandbox

__all__ = ["INDEX", "delete_index", "lose_manifest", "make_index", "put_records", "stored_ids"]

INDEX: Final = "media-model-v1-8"


def stored_ids(sandbox: Sandbox, index: str = INDEX, namespace: str = "ads") -> set[str]:
    """The ids of a namespace."""
    return {*sandbox.pinecone.records(index, namespace)}


def make_index(sandbox: Sandbox, name: str, *, metric: str = "cosine") -> None:
    """An index as somebody makes it in the console: of 8 dimensions, without our tags."""
    spec = {"serverless": {"cloud": "aws", "region": "us-east-1"}}
    _ask(sandbox, "POST", f"{sandbox.url}/indexes", {"name": name, "dimension": 8, "metric": metric, "spec": spec})


def delete_index(sandbox: Sandbox, name: str = INDEX) -> None:
    """Delete an index with all of its records."""
    _ask(sandbox, "DELETE", f"{sandbox.url}/indexes/{name}")


def put_records(sandbox: Sandbox, records: list[dict[str, Any]], namespace: str, index: str = INDEX) -> None:
    """Upsert records of somebody else."""
    host = _ask(sandbox, "GET", f"{sandbox.url}/indexes/{index}").json()["host"]
    _ask(sandbox, "POST", f"{host}/vectors/upsert", {"vectors": records, "namespace": namespace})


def lose_manifest(url: str, schema: str) -> None:
    """Drop the schema."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA {schema} CASCADE")


def _ask(sandbox: Sandbox, method: str, url: str, body: dict[str, Any] | None = None) -> httpx.Response:
    headers = {"Api-Key": sandbox.api_key, "X-Pinecone-Api-Version": "2025-04"}
    return httpx.request(method, url, headers=headers, json=body).raise_for_status()
