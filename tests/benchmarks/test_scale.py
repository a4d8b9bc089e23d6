"""Whether ``plan --at`` tells what a sync of so much then takes.

Run with ``pytest -m benchmark tests/benchmarks/test_scale.py -s``; ``SCALE=100000`` makes it a tenth as long, and
``REQUESTS=20`` slower. A million documents of 64 dimensions are read from a sandbox in a process of its own, at a limit
of requests that a machine has to keep up with (a busy one does not), and written into Postgres with an HNSW index.
Requests, bytes and the time to read must be within 20 % of the plan. How fast a machine builds is its own: there, what
a tenth of the documents took on the same machine, just before, tells how fast it is, and from that the plan has to tell
the rest.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any, Final

import psycopg
import pytest

from vectorferry import parse_settings, run_sync
from vectorferry.connector._engine.plan._scale import scale
from vectorferry.connector._protocols._scale import LegKind
from vectorferry.connector.plugin import Leg, Load, Modality, VectorLoad
from vectorferry.connector.sandbox import GeneratedDocuments, SandboxSettings

from ..sandbox_process import sandbox_process

DOCUMENTS: Final = int(os.environ.get("SCALE", "1000000"))
DIMENSION: Final = 64
REQUESTS_PER_MINUTE: Final = int(os.environ.get("REQUESTS", "150"))
NAME: Final = "text_extractor_v1_embedding"
FEATURE_BYTES: Final = 300
"""Of a generated document without its vector: two ids and little else."""


@dataclass(frozen=True)
class _Run:
    """What it took, and the legs of the plan for it."""

    planned: dict[LegKind, Leg]
    requests: int
    sent: int
    reading: float
    building: float
    stored: int
    index: int


@pytest.mark.benchmark
@pytest.mark.timeout(3_000)
def test_the_plan_is_within_a_fifth_of_what_comes(postgres_url: str, new_schema: Any) -> None:
    before = _run(postgres_url, new_schema(), DOCUMENTS // 10)
    run = _run(postgres_url, new_schema(), DOCUMENTS)
    speed = before.building / before.planned["index"].seconds
    read, write, index = (run.planned[kind] for kind in ("read", "write", "index"))
    rows: list[tuple[str, float, float]] = [
        ("requests", read.requests or 0, run.requests),
        ("bytes read", read.bytes or 0, run.sent),
        ("seconds to read", read.seconds, run.reading),
        ("bytes of tables", write.stored_bytes or 0, run.stored),
        ("bytes of the index", index.stored_bytes or 0, run.index),
        (
            f"seconds to build, on a machine that takes {speed:.2f} of what is measured",
            index.seconds * speed,
            run.building,
        ),
    ]
    print(f"\n{DOCUMENTS:,} documents of {DIMENSION}")
    for what, planned, real in rows:
        print(f"{what}: planned {planned:,.0f}, real {real:,.0f}, ratio {planned / real:.2f}")
    assert [what for what, planned, real in rows if not 0.8 <= planned / real <= 1.2] == []


def _run(database: str, schema: str, documents: int) -> _Run:
    generated = GeneratedDocuments(documents=documents, dimension=DIMENSION, vector_name=NAME)
    service = SandboxSettings(generate_documents=generated)
    with sandbox_process(service) as url:
        settings = parse_settings(
            {
                "name": "media",
                "source": {
                    "type": "mixpeek-documents",
                    "base_url": f"{url}/mixpeek-documents",
                    "api_key": service.api_key,
                    "namespace": generated.namespace,
                    "requests_per_minute": REQUESTS_PER_MINUTE,
                },
                "destinations": [{"type": "pgvector", "url": database, "schema": schema}],
            },
            "benchmark",
        )
        vectors = [VectorLoad(Modality.TEXT, NAME, DIMENSION, documents)]
        planned = scale(settings, Load(documents, documents, vectors, FEATURE_BYTES))
        began = time.monotonic()
        summary = run_sync(settings)
        print(f"\n{documents:,} documents in {time.monotonic() - began:.0f} s", end="")
    assert summary.exit_code == 0
    (index,) = summary.destinations["pgvector"].indexes
    (collection,) = summary.collections.values()
    with psycopg.connect(database) as connection:
        indexed = _size(connection, "pg_relation_size", schema, "AND c.relname = %s", index.index)
        stored = _size(connection, "pg_total_relation_size", schema, "AND c.relkind = 'r'") - indexed
    legs = {leg.kind: leg for leg in planned.legs}
    usage = summary.usage
    return _Run(legs, usage.requests, usage.bytes, collection.seconds, index.seconds, stored, indexed)


def _size(connection: psycopg.Connection[Any], function: str, schema: str, more: str, *values: str) -> int:
    statement = (
        f"SELECT coalesce(sum({function}(c.oid)), 0) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        f"WHERE n.nspname = %s {more}"
    )
    (size,) = connection.execute(statement.encode(), [schema, *values]).fetchone() or (0,)
    return int(size)
