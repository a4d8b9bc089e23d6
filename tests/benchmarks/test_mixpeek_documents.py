"""How fast a first sync of Mixpeek's documents is, against a bare client and against binary COPY of the same rows.

Run with ``pytest -m benchmark tests/benchmarks/test_mixpeek_documents.py -s``. 50,000 documents of 1,024 numbers come
from a sandbox in a process of its own, 1,000 per answer, in as many partitions as the source reads at once. The bare
client reads the same pages with as many readers, parses them and turns every vector into float32; COPY writes the same
rows into a table without key or index. All within one run, since other work on the machine slows all of them down.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp
import numpy as np
import orjson
import pgvector
import psycopg
import pytest
from pgvector.psycopg import register_vector

from vectorferry import parse_settings, run_sync
from vectorferry.connector.plugin import Modality
from vectorferry.connector.sandbox import GeneratedDocuments, SandboxSettings

from ..sandbox_process import sandbox_process

DOCUMENTS, DIMENSION, PARTITIONS, PAGE = 50_000, 1_024, 10, 1_000
NAME = GeneratedDocuments().vector_name
GENERATED = GeneratedDocuments(documents=DOCUMENTS, dimension=DIMENSION)
Row = tuple[str, str, str, Any]


@pytest.mark.benchmark
@pytest.mark.timeout(1_800)
def test_a_first_sync_takes_at_most_twice_what_reading_or_writing_takes(postgres_url: str, schema: str) -> None:
    settings = SandboxSettings(generate_documents=GENERATED)
    with sandbox_process(settings) as url:
        cpu = time.process_time()
        rows, reading = asyncio.run(_bare_read(f"{url}/mixpeek-documents", settings.api_key))
        reading_cpu = time.process_time() - cpu
        writing = _bare_copy(postgres_url, schema, rows)
        del rows
        source: dict[str, Any] = {
            "type": "mixpeek-documents",
            "base_url": f"{url}/mixpeek-documents",
            "api_key": settings.api_key,
            "namespace": GENERATED.namespace,
        }
        described: dict[str, Any] = {
            "name": "media",
            "source": source,
            "destinations": [{"type": "pgvector", "url": postgres_url, "schema": schema}],
            "modalities": {"text": {"vectors": {NAME: {"index": "none"}}}},
        }
        began, cpu = time.perf_counter(), time.process_time()
        first = run_sync(parse_settings(described, "benchmark"))
        syncing, cpu = time.perf_counter() - began, time.process_time() - cpu
        began = time.perf_counter()
        second = run_sync(parse_settings(described, "benchmark"))
        unchanged = time.perf_counter() - began
        described["source"] = {**source, "follow_events": False}
        began = time.perf_counter()
        third = run_sync(parse_settings(described, "benchmark"))
        listing = time.perf_counter() - began
    assert [each.exit_code for each in (first, second, third)] == [0, 0, 0]
    assert first.destinations["pgvector"].applied.features[Modality.TEXT].inserted == DOCUMENTS
    ratio = max(reading, writing) / syncing
    print(
        f"\n{DOCUMENTS:,} documents of {DIMENSION:,}: sync {syncing:.1f} s in {first.usage.requests} requests, "
        f"{first.usage.bytes / 1e6:,.0f} MB; reading {reading:.1f} s, COPY {writing:.1f} s, ratio {ratio:.2f}"
        f"\nCPU of this process: sync {cpu:.1f} s ({cpu / DOCUMENTS * 1e6:.0f} µs each), reading {reading_cpu:.1f} s"
        f"\nunchanged: {unchanged:.2f} s in {second.usage.requests} request with the feed, "
        f"{listing:.1f} s in {third.usage.requests} without"
    )
    assert second.usage.requests == 1
    assert ratio >= 0.5


async def _bare_read(url: str, api_key: str) -> tuple[list[Row], float]:
    rows: list[Row] = []
    headers = {"Authorization": f"Bearer {api_key}", "X-Namespace": GENERATED.namespace}

    async def read(index: int) -> None:
        place: dict[str, Any] = {"partition": {"index": index, "count": PARTITIONS}}
        while place:
            body = {"limit": PAGE, "return_vectors": True, **place}
            async with session.post(f"{url}/v1/collections/generated/documents/list", json=body) as response:
                page = orjson.loads(await response.read())
            for row in page["results"]:
                vector = np.array(row[NAME], dtype=np.float32)
                rows.append((row["collection_id"], row["document_id"], row["document_id"], vector))
            cursor = page["pagination"]["next_cursor"]
            place = {"cursor": cursor} if cursor else {}

    async with aiohttp.ClientSession(headers=headers) as session:
        began = time.perf_counter()
        await asyncio.gather(*map(read, range(PARTITIONS)))
        seconds = time.perf_counter() - began
    assert len(rows) == DOCUMENTS
    return rows, seconds


def _bare_copy(url: str, schema: str, rows: list[Row]) -> float:
    columns = ["text", "text", "text", "vector", "bytea"]
    table = f"{schema}_bare"
    prepared = [(*row[:3], pgvector.Vector(row[3]), row[1].encode()[:16]) for row in rows]
    with psycopg.connect(url) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        register_vector(connection)
        definitions = ", ".join(f"c{position} {kind}" for position, kind in enumerate(columns))
        connection.execute(f"CREATE TABLE {table} ({definitions})")
        began = time.perf_counter()
        with connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(columns)
            for row in prepared:
                copy.write_row(row)
        connection.commit()
        seconds = time.perf_counter() - began
        connection.execute(f"DROP TABLE {table}")
    return seconds
