"""A command that only looks changes no column and no index, whatever the mapping says by now."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import pytest

from vectorferry.connector._engine._opening import prepare_untouched
from vectorferry.connector.plugin import ConfigurationError, SchemaMapping
from vectorferry.connector.testing import MemoryDestination, MemorySource, refill, sync, verify
from vectorferry.destinations import PgvectorDestination

from ...connector.worlds import assets
from ...examples import family

COLUMN = SchemaMapping.model_validate({"video": {"columns": {"speech": {"path": "text"}}}})
METRIC = SchemaMapping.model_validate({"video": {"vectors": {"multimodal-v1": {"metric": "l2"}}}})
SHAPE = (
    "SELECT attname, atttypid FROM pg_attribute WHERE attrelid = 'video'::regclass AND attnum > 0 AND NOT attisdropped "
    "UNION ALL SELECT indexname, NULL FROM pg_indexes WHERE schemaname = current_schema() ORDER BY 1"
)


async def by_verify(pgvector: PgvectorDestination, mapping: SchemaMapping) -> None:
    await verify(MemorySource({"c": assets(3)}), [pgvector], name="media", mapping=mapping)


async def by_refill(pgvector: PgvectorDestination, mapping: SchemaMapping) -> None:
    await refill(pgvector, MemoryDestination(), name="media", mapping=mapping)


async def by_a_search(pgvector: PgvectorDestination, mapping: SchemaMapping) -> None:
    prepare_untouched(pgvector, mapping)


@pytest.mark.parametrize("looking", family([by_verify, by_refill, by_a_search]))
@pytest.mark.parametrize("synced", family([COLUMN, METRIC]), ids=["column", "metric"])
async def test_it_says_that_a_sync_comes_first(
    postgres_url: str,
    schema: str,
    sql: psycopg.Connection[Any],
    looking: Callable[[PgvectorDestination, SchemaMapping], Any],
    synced: SchemaMapping,
) -> None:
    with closing(PgvectorDestination(schema, postgres_url)) as pgvector:
        await sync(MemorySource({"c": assets(3)}), [pgvector], name="media", mapping=synced)
    shape = sql.execute(SHAPE).fetchall()
    with closing(PgvectorDestination(schema, postgres_url)) as pgvector:
        with pytest.raises(ConfigurationError, match="run `vectorferry sync` first"):
            await looking(pgvector, SchemaMapping())
        assert sql.execute(SHAPE).fetchall() == shape
        await looking(pgvector, synced)
