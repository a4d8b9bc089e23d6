"""How many records the sandbox takes per second: it must not be what a benchmark measures."""

from __future__ import annotations

import time

import httpx
import numpy as np
import orjson
import pytest
from pinecone import Pinecone

from tests.connector.sandbox.pinecone.serving import PLACE
from tests.sandbox_process import sandbox_process
from vectorferry.connector.sandbox import SandboxSettings

RECORDS, DIMENSION, BATCH = 20_000, 1_024, 400


@pytest.mark.benchmark
def test_records_per_second() -> None:
    settings = SandboxSettings()
    bodies = _bodies()
    with sandbox_process(settings) as url, Pinecone(api_key=settings.api_key, host=url) as pinecone:
        pinecone.create_index(name="clips", dimension=DIMENSION, metric="cosine", spec=PLACE)
        host = str(pinecone.describe_index("clips").host)
        with httpx.Client(base_url=host, headers={"Api-Key": settings.api_key}, timeout=60) as client:
            started = time.perf_counter()
            for body in bodies:
                client.post("/vectors/upsert", content=body).raise_for_status()
            taken = time.perf_counter() - started
            counted = client.post("/describe_index_stats", json={}).json()["totalVectorCount"]
    megabytes = sum(map(len, bodies)) / 1e6
    print(f"\n{RECORDS / taken:,.0f} records/s of {DIMENSION} dimensions, {megabytes:,.0f} MB of JSON in {taken:.1f} s")
    assert counted == RECORDS


def _bodies() -> list[bytes]:
    rows = np.random.default_rng(1).normal(size=(RECORDS, DIMENSION)).astype(np.float32)
    records = [
        {"id": f"a{n}#0", "values": row, "metadata": {"asset_id": f"a{n}", "n": n}} for n, row in enumerate(rows)
    ]
    batches = (records[start : start + BATCH] for start in range(0, RECORDS, BATCH))
    return [orjson.dumps({"vectors": batch}, option=orjson.OPT_SERIALIZE_NUMPY) for batch in batches]
