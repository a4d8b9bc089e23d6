"""Pinecone's SDK: `upsert` with a batch size, which sends batches side by side. What is gone is deleted by its ids."""

from __future__ import annotations

from typing import Any

from given import Row, measure  # type: ignore[import-not-found]
from pinecone import Pinecone

BATCH = 200
DELETES = 1_000
CONCURRENCY = 16


def prepare(_task: dict[str, Any], rows: list[Row]) -> list[dict[str, Any]]:
    """The dictionaries that `upsert` takes."""
    return [
        {
            "id": row.id,
            "values": row.vector.tolist(),
            "metadata": {"text": row.text, "author": row.author, "start": row.start},
        }
        for row in rows
    ]


def load(task: dict[str, Any], vectors: list[dict[str, Any]]) -> None:
    """Upsert, then delete."""
    with Pinecone(api_key=task["api_key"]) as client, client.Index(host=task["index"]) as index:
        done = index.upsert(
            vectors=vectors,
            namespace=task["namespace"],
            batch_size=BATCH,
            max_concurrency=CONCURRENCY,
            show_progress=False,
        )
        assert not done.has_errors, done
        for begin in range(0, len(task["gone"]), DELETES):
            index.delete(ids=task["gone"][begin : begin + DELETES], namespace=task["namespace"])


measure(prepare, load)
