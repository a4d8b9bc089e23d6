"""A sync's memory is bounded by its queues, not by the collection. A ratio within one run.

pytest -m benchmark tests/benchmarks/test_memory.py -s
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from connector.sandbox import GeneratedCatalogue, SandboxSettings

from ..sandbox_process import sandbox_process

SMALL, LARGE = 5_000, 50_000
FEATURES_PER_ASSET = 10
DIMENSION = 1024
EXECUTABLE = str(Path(sys.executable).with_name("vectorferry"))


def peak_megabytes(features: int, directory: Path, database: str, schema: str) -> float:
    """The most memory that one `vectorferry sync` of this many features had resident."""
    catalogue = GeneratedCatalogue(
        assets=features // FEATURES_PER_ASSET, features_per_asset=FEATURES_PER_ASSET, dimension=DIMENSION
    )
    with sandbox_process(SandboxSettings(generate=catalogue)) as url:
        config = directory / "vectorferry.yaml"
        config.write_text(
            f"name: {schema}_{features}\n"
            f"source: {{type: mixpeek, base_url: '{url}', api_key: sk_sandbox, concurrency: 32}}\n"
            f"destinations: [{{type: pgvector, url: '{database}'}}]\n"
            "modalities: {video: {vectors: {multimodal-v1: {index: none}}}}\n"
        )
        process = subprocess.Popen([EXECUTABLE, "sync", "-c", str(config)], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
    return usage.ru_maxrss / 1024


@pytest.mark.benchmark
@pytest.mark.timeout(900)
def test_ten_times_the_features_take_no_more_memory(tmp_path: Path, postgres_url: str, schema: str) -> None:
    small = peak_megabytes(SMALL, tmp_path, postgres_url, schema)
    large = peak_megabytes(LARGE, tmp_path, postgres_url, schema)
    print(f"\n{SMALL:,} features: {small:.0f} MB, {LARGE:,} features: {large:.0f} MB, ratio {large / small:.2f}")
    assert large / small <= 1.3
