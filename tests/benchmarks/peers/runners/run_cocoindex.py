"""CocoIndex: a component per row that declares a row of a table, as its example with a Postgres source does.

What it remembers of earlier runs is in its own database, a folder on this machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import asyncpg  # type: ignore[import-not-found]
import cocoindex as coco  # type: ignore[import-not-found]
import numpy as np
from cocoindex.connectors import postgres  # type: ignore[import-not-found]
from cocoindex.resources.schema import VectorSchema  # type: ignore[import-not-found]
from given import Row, measure  # type: ignore[import-not-found]
from numpy.typing import NDArray

POOL = coco.ContextKey[asyncpg.Pool]("peers_pool")
VECTORS = coco.ContextKey[VectorSchema]("peers_vectors")


@dataclass
class Record:
    """A row of the table."""

    id: str
    text: str
    author: str
    start: float
    embedding: Annotated[NDArray[np.float32], VECTORS]


@coco.fn(memo=True)  # type: ignore[untyped-decorator]
async def process(record: Record, table: Any) -> None:
    """One row."""
    table.declare_row(row=record)


@coco.fn  # type: ignore[untyped-decorator]
async def main(records: list[Record]) -> None:
    """All rows."""
    schema = await postgres.TableSchema.from_class(Record, primary_key=["id"])
    table = await postgres.mount_table_target(POOL, table_name="peers", table_schema=schema)
    await coco.mount_each(process, [(record.id, record) for record in records], table)


def prepare(_task: dict[str, Any], rows: list[Row]) -> list[Record]:
    """The rows of the table."""
    return [Record(row.id, row.text, row.author, row.start, row.vector) for row in rows]


def load(task: dict[str, Any], records: list[Record]) -> None:
    """One update of the app."""

    @coco.lifespan  # type: ignore[untyped-decorator]
    async def lifespan(builder: coco.EnvironmentBuilder) -> AsyncIterator[None]:
        builder.settings.db_path = Path(task["local"]) / "cocoindex"
        async with asyncpg.create_pool(task["url"]) as pool:
            builder.provide(POOL, pool)
            builder.provide(VECTORS, VectorSchema(dtype=np.dtype(np.float32), size=task["dimension"]))
            yield

    app = coco.App(coco.AppConfig(name="peers"), main, records)
    asyncio.run(_updated(app))


async def _updated(app: Any) -> None:
    await app.update()


measure(prepare, load)
