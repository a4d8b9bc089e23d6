"""What several processes get of a limit that they share.

Run with ``pytest -m benchmark tests/benchmarks/test_allowance.py -s``. The service is a sandbox in a process of its own
that takes 50 requests a second, and a second's worth at once after one in which none has come; it waits 200 ms before
every answer, so that one process with eight requests in flight gets 40 a second at best. The processes are ordinary
syncs of a collection each, or the workers of one sync. Pinecone's sandbox takes so many upserts a second into a
namespace, whose only writers are the workers of one sync.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import httpx
import pytest
import yaml

from vectorferry.connector.sandbox import GeneratedCatalogue, PineconeDialect, PineconeRates, SandboxSettings

from ..forking import Forked
from ..sandbox_process import sandbox_process

LIMIT: Final = 50
IN_FLIGHT: Final = 8
LATENCY_MS: Final = 200
REQUESTS: Final = 1_200
MIDDLE: Final = (0.2, 0.9)
_EXECUTABLE: Final = str(Path(sys.executable).with_name("vectorferry"))


@pytest.mark.benchmark
@pytest.mark.parametrize("processes", [1, 2, 4, 8])
def test_a_shared_limit_is_used_up_and_not_overrun(
    tmp_path: Path, postgres_url: str, new_schema: Callable[[], str], processes: int
) -> None:
    shared = _Run(tmp_path / "shared", postgres_url, new_schema(), processes, 60 * LIMIT)
    ideal = float(LIMIT)
    if processes == 1:
        # Bound by its latency: the limit, which is not reached, takes nothing from it.
        alone = _Run(tmp_path / "alone", postgres_url, new_schema(), processes, None)
        ideal = alone.rate * 0.97 / 0.95
    _judge(f"{processes} processes", shared, ideal)


@pytest.mark.benchmark
@pytest.mark.parametrize("workers", [2, 4, 8])
def test_the_workers_of_one_sync_use_it_up_and_do_not_overrun_it(
    tmp_path: Path, postgres_url: str, new_schema: Callable[[], str], workers: int
) -> None:
    run = _Run(tmp_path / "shared", postgres_url, new_schema(), 1, 60 * LIMIT, "--workers", str(workers))
    _judge(f"{workers} workers", run, LIMIT)


UPSERTS: Final = 10
"""A second, into a namespace."""


@pytest.mark.benchmark
@pytest.mark.timeout(600)
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_workers_of_one_sync_use_up_what_a_namespace_takes(
    tmp_path: Path, postgres_url: str, schema: str, workers: int
) -> None:
    catalogue = GeneratedCatalogue(assets=300, features_per_asset=4, dimension=1_000, collections=("films",))
    dialect = PineconeDialect(rates=PineconeRates(requests=UPSERTS))
    service = SandboxSettings(generate=catalogue, pinecone=dialect, latency_ms=50)
    with sandbox_process(service) as url:
        destination = {
            "type": "pinecone",
            "host": url,
            "api_key": service.api_key,
            "vectors": "all",
            "request_bytes": 50_000,
            "rates": {"requests": UPSERTS},
            "manifest": {"url": postgres_url, "schema": schema},
        }
        source = {"type": "mixpeek", "base_url": url, "api_key": service.api_key, "concurrency": 16}
        (config := tmp_path / "vectorferry.yaml").write_text(
            yaml.safe_dump({"name": "media", "source": source, "destinations": [destination]})
        )
        command = [_EXECUTABLE, "sync", "-c", str(config), "--json", "--workers", str(workers)]
        samples = []
        with (tmp_path / "out").open("w") as out:
            process = Forked(command, stdout=out, stderr=out)
            while process.poll() is None:
                samples.append((_requests(url, service.control_key, "pinecone.upsert"), time.monotonic()))
                time.sleep(0.02)
    answer = (tmp_path / "out").read_text()
    assert process.returncode == 0, answer
    places = json.loads(answer[answer.index("{") :])["destinations"]["pinecone"]["delivery"]["places"]
    accepted, sent = places[0]["written"], samples[-1][0]
    first, last = (next(each for each in samples if each[0] >= share * sent) for share in MIDDLE)
    rate = (last[0] - first[0]) / (last[1] - first[1]) * accepted / sent
    print(
        f"\n{workers} workers: {sent:,} upserts, {rate:.1f} accepted a second of {UPSERTS} ({rate / UPSERTS:.3f}); "
        f"{sent - accepted} answered with 429 ({(sent - accepted) / sent:.2%})"
    )
    assert rate >= 0.95 * UPSERTS
    assert sent - accepted <= 0.01 * sent


def _judge(who: str, run: _Run, ideal: float) -> None:
    print(
        f"\n{who}: {run.sent:,} requests, {run.rate:.1f} a second of {ideal:.1f} ({run.rate / ideal:.3f}); "
        f"{run.refused} answered with 429 ({run.refused / run.sent:.2%})"
    )
    assert run.rate >= 0.95 * ideal
    assert run.refused <= 0.01 * run.sent


class _Run:
    """Syncs of a collection each, all at once: how many requests they `sent`, how many of these were `refused` with a
    429, and the `rate` of those in the middle, when all have begun and none has ended."""

    def __init__(
        self, directory: Path, database: str, schema: str, processes: int, per_minute: int | None, *arguments: str
    ) -> None:
        directory.mkdir()
        names = tuple(f"c{number}" for number in range(processes))
        assets = REQUESTS // 2 // processes * processes
        catalogue = GeneratedCatalogue(assets=assets, features_per_asset=1, dimension=64, collections=names)
        service = SandboxSettings(generate=catalogue, latency_ms=LATENCY_MS, requests_per_second=LIMIT)
        with sandbox_process(service) as url, ExitStack() as stack:
            source = {"type": "mixpeek", "base_url": url, "api_key": service.api_key, "requests_per_minute": per_minute}
            destination = {"type": "pgvector", "url": database, "schema": schema}
            (config := directory / "vectorferry.yaml").write_text(
                yaml.safe_dump({"name": "media", "source": source, "destinations": [destination]})
            )
            streams = [stack.enter_context((directory / name).open("w")) for name in names]
            command = [_EXECUTABLE, "sync", "-c", str(config), "--json", *arguments, "--collection"]
            running = [
                Forked([*command, name], stdout=out, stderr=out) for name, out in zip(names, streams, strict=True)
            ]
            samples = []
            while any(process.poll() is None for process in running):
                samples.append((_requests(url, service.control_key), time.monotonic()))
                time.sleep(0.02)
        answers = [(directory / name).read_text() for name in names]
        assert [process.returncode for process in running] == [0] * processes, answers
        summaries = [json.loads(answer[answer.index("{") :])["source"] for answer in answers]
        self.sent, self.refused = (sum(each[name] for each in summaries) for name in ("requests", "retries"))
        first, last = (next(each for each in samples if each[0] >= share * self.sent) for share in MIDDLE)
        self.rate = (last[0] - first[0]) / (last[1] - first[1])


def _requests(url: str, key: str, kind: str = "") -> int:
    answer = httpx.get(f"{url}/_sandbox/requests", headers={"X-Sandbox-Key": key}, trust_env=False)
    return sum(number for name, number in answer.json().items() if name.startswith(kind))
