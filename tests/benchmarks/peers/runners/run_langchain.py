"""langchain-postgres: `PGVectorStore.add_embeddings`, which takes vectors that are there already, with ids."""

from __future__ import annotations

from typing import Any

import sqlalchemy.exc
from given import Row, measure  # type: ignore[import-not-found]
from langchain_core.embeddings import DeterministicFakeEmbedding  # type: ignore[import-not-found]
from langchain_postgres import Column, PGEngine, PGVectorStore  # type: ignore[import-not-found]

BATCH = 1_000
"""Its own `add_embeddings` sends row by row whatever it is given."""


def prepare(_task: dict[str, Any], rows: list[Row]) -> list[Any]:
    """Lists of plain numbers, as the signature says."""
    return [row._replace(vector=row.vector.tolist()) for row in rows]


def load(task: dict[str, Any], rows: list[Any]) -> None:
    """Upsert batch by batch, then delete."""
    engine = PGEngine.from_connection_string(url=task["url"].replace("postgresql:", "postgresql+asyncpg:"))
    try:
        columns = [Column("author", "TEXT"), Column("start", "DOUBLE PRECISION")]
        engine.init_vectorstore_table("peers", vector_size=task["dimension"], metadata_columns=columns)
    except sqlalchemy.exc.ProgrammingError:
        pass  # the table is there
    embedding = DeterministicFakeEmbedding(size=task["dimension"])  # asked for nothing
    store = PGVectorStore.create_sync(engine, embedding, "peers", metadata_columns=["author", "start"])
    for begin in range(0, len(rows), BATCH):
        some = rows[begin : begin + BATCH]
        store.add_embeddings(
            [row.text for row in some],
            [row.vector for row in some],
            [{"author": row.author, "start": row.start} for row in some],
            [row.id for row in some],
        )
    if task["gone"]:
        store.delete(ids=task["gone"])


measure(prepare, load)
