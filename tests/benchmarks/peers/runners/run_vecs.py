"""vecs: one `upsert` of all records, as its guide shows; it makes batches of 500 itself. It is told what is gone."""

from __future__ import annotations

from typing import Any

import vecs  # type: ignore[import-not-found]
from given import Row, measure  # type: ignore[import-not-found]


def prepare(_task: dict[str, Any], rows: list[Row]) -> list[Any]:
    """The tuples that `upsert` takes."""
    return [(row.id, row.vector, {"text": row.text, "author": row.author, "start": row.start}) for row in rows]


def load(task: dict[str, Any], records: list[Any]) -> None:
    """Upsert, then delete."""
    with vecs.create_client(task["url"].replace("postgresql:", "postgresql+psycopg2:")) as client:
        collection = client.get_or_create_collection(name="peers", dimension=task["dimension"])
        collection.upsert(records=records)
        if task["gone"]:
            collection.delete(ids=task["gone"])


measure(prepare, load)
