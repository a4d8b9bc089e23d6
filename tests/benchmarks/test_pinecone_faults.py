"""What it costs when a tenth of all writes fail, and that it costs nothing but time. A ratio within one run.

pytest -m benchmark tests/benchmarks/test_pinecone_faults.py -s

20,000 features are written and then changed: other vectors, other metadata, keys, features and assets that are gone.
Writes are answered 429 (with Retry-After and without) or 503, or applied and then not answered at all. The store is a
sandbox in a process of its own that waits 50 ms before every answer.
"""

from __future__ import annotations

import pytest

from ..faults.pinecone_load import NONE, Load

FEATURES = 20_000
DIMENSION = 1024
LATENCY_MS = 50


@pytest.mark.benchmark
@pytest.mark.timeout(600)
def test_a_tenth_of_all_writes_fails(postgres_url: str, schema: str) -> None:
    load = Load(FEATURES, DIMENSION, LATENCY_MS, postgres_url, schema)
    calm, undisturbed = load.run(troubled=False)
    outcome, troubled = load.run(troubled=True)
    print(f"\n{FEATURES:,} × {DIMENSION}-d, {LATENCY_MS} ms, written and changed")
    for name, figures in (("without faults", undisturbed), ("with faults", troubled)):
        print(f"  {name:15}" + ", ".join(f"{value:,.0f} {key}" for key, value in figures.items()))
    print(f"{outcome.missing} missing, {outcome.duplicate} duplicate, {outcome.stale} stale")
    print(f"throughput {troubled['features/s'] / undisturbed['features/s']:.2f} × that without faults")
    assert calm == outcome == NONE
    assert troubled["faults"] > 0
