"""Whether a sync of one process is as fast as it was at an earlier commit, in turns on one machine.

Run with ``BEFORE=<commit> pytest -m benchmark tests/benchmarks/test_one_process.py -s``; with ``AFTER=<commit>`` for
another than the newest. Both get their code from git and the libraries of this environment; source and Postgres are the
same for both. Each round is a first sync and one that finds nothing changed. What counts is the CPU of the best round,
since other work on the machine only ever makes one slower.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

import psycopg
import pytest
import yaml

from vectorferry.connector.sandbox import GeneratedCatalogue, SandboxSettings

from ..sandbox_process import sandbox_process

ASSETS: Final = 2_000
ROUNDS: Final = 7
LOWEST: Final = 0.97
BEFORE, AFTER = os.environ.get("BEFORE", ""), os.environ.get("AFTER", "HEAD")
MEDIA: Final = GeneratedCatalogue(assets=ASSETS, features_per_asset=1, dimension=256, collections=("films",))
ROOT: Final = Path(__file__).parents[2]
_COMMAND: Final = "from vectorferry.__main__ import main; main()"


class Taken(NamedTuple):
    """By a process from its start to its end (CPU), and by the sync in it."""

    cpu: float
    seconds: float


@pytest.mark.benchmark
@pytest.mark.timeout(1_800)
@pytest.mark.skipif(not BEFORE, reason="BEFORE names no commit to compare with")
def test_one_process_is_not_slower_than_before(tmp_path: Path, postgres_url: str, schema: str) -> None:
    code = {commit: checked_out(commit, tmp_path / commit) for commit in (BEFORE, AFTER)}
    taken: dict[tuple[str, str], list[Taken]] = {}
    service = SandboxSettings(generate=MEDIA)
    with sandbox_process(service) as url, psycopg.connect(postgres_url, autocommit=True) as connection:
        source = {"type": "mixpeek", "base_url": url, "api_key": service.api_key, "page_size": 500, "concurrency": 16}
        destination = {"type": "pgvector", "url": postgres_url, "schema": schema}
        config = tmp_path / "vectorferry.yaml"
        config.write_text(yaml.safe_dump({"name": "media", "source": source, "destinations": [destination]}))
        for number in range(ROUNDS + 1):
            for commit in list(code)[:: 1 if number % 2 else -1]:
                for kind in ("first", "unchanged"):
                    of_round = synced(code[commit], config, pulled=ASSETS if kind == "first" else 0)
                    if number:  # the first round is for the caches
                        taken.setdefault((kind, commit), []).append(of_round)
                connection.execute(f"DROP SCHEMA {schema} CASCADE".encode())
    ratios = [compared(kind, taken[kind, BEFORE], taken[kind, AFTER]) for kind in ("first", "unchanged")]
    assert min(ratios) >= LOWEST


def checked_out(commit: str, directory: Path) -> Path:
    """The code of this commit."""
    directory.mkdir()
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(directory)], input=archive, check=True)
    return directory


def synced(code: Path, config: Path, pulled: int) -> Taken:
    """A sync that has to read so many assets."""
    command = [sys.executable, "-c", _COMMAND, "sync", "-c", str(config), "--json"]
    environ = {**os.environ, "PYTHONPATH": str(code), "PYTHONDONTWRITEBYTECODE": ""}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, cwd=code) as process:
        assert process.stdout is not None
        summary: dict[str, Any] = json.loads(process.stdout.read())
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert (process.returncode, summary["collections"]["films"]["pulled"]) == (0, pulled)
    return Taken(used.ru_utime + used.ru_stime, summary["seconds"])


def compared(kind: str, before: list[Taken], after: list[Taken]) -> float:
    """How much of its speed is left, by the CPU that it takes in the best round of each."""
    rounds: list[list[Taken]] = [before, after]
    cpu, best = ([of(each.cpu for each in taken) for taken in rounds] for of in (median, min))
    seconds = [median(each.seconds for each in taken) for taken in rounds]
    print(
        f"\n{kind} sync of {ASSETS:,} assets: CPU {best[0]:.2f} s before, {best[1]:.2f} s after at best, ratio "
        f"{best[0] / best[1]:.3f}; medians {cpu[0]:.2f} s, {cpu[1]:.2f} s, ratio {cpu[0] / cpu[1]:.3f}; by the clock "
        f"{seconds[0]:.2f} s, {seconds[1]:.2f} s, ratio {seconds[0] / seconds[1]:.3f}",
        end="",
    )
    return best[0] / best[1]
