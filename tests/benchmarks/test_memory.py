"""A sync's memory is bounded by its queues, not by the collection. A ratio within one run.

pytest -m benchmark tests/benchmarks/test_memory.py -s
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from vectorferry.connector.sandbox import GeneratedCatalogue, SandboxSettings

from ..sandbox_process import sandbox_process

SMALL, LARGE = 5_000, 50_000
FEATURES_PER_ASSET = 10
DIMENSION = 1024
BATCH_BYTES = 4_000_000
"""So that the small collection fills the queues too; at the default its 20 MB would be half of what they hold."""

MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""By a process in between: a child's peak begins with that of its parent, and this one's is high."""

EXECUTABLE = str(Path(sys.executable).with_name("vectorferry"))


def destination(kind: str, sandbox: str, database: str) -> dict[str, Any]:
    """What the configuration says about it."""
    if kind == "pgvector":
        return {"type": kind, "url": database}
    return {"type": kind, "api_key": "sk_sandbox", "host": sandbox, "manifest": {"url": database}}


def peak_megabytes(kind: str, features: int, directory: Path, database: str, schema: str) -> float:
    """The most memory that one `vectorferry sync` of this many features had resident."""
    catalogue = GeneratedCatalogue(
        assets=features // FEATURES_PER_ASSET, features_per_asset=FEATURES_PER_ASSET, dimension=DIMENSION
    )
    with sandbox_process(SandboxSettings(generate=catalogue)) as url:
        config = directory / "vectorferry.yaml"
        settings = {
            "name": f"{schema}_{features}",
            "source": {"type": "mixpeek", "base_url": url, "api_key": "sk_sandbox", "concurrency": 32},
            "destinations": [destination(kind, url, database)],
            "modalities": {"video": {"vectors": {"multimodal-v1": {"index": "none"}}}},
            "batch": {"bytes": BATCH_BYTES},
        }
        config.write_text(yaml.safe_dump(settings))
        command = [sys.executable, "-c", MEASURE, EXECUTABLE, "sync", "-c", str(config)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024


@pytest.mark.benchmark
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["pgvector", "pinecone"])
def test_ten_times_the_features_take_no_more_memory(kind: str, tmp_path: Path, postgres_url: str, schema: str) -> None:
    small = peak_megabytes(kind, SMALL, tmp_path, postgres_url, schema)
    large = peak_megabytes(kind, LARGE, tmp_path, postgres_url, schema)
    print(f"\n{kind}: {SMALL:,} features: {small:.0f} MB, {LARGE:,}: {large:.0f} MB, ratio {large / small:.2f}")
    assert large / small <= 1.3
