"""Peers side by side, in one table.

    python -m tests.benchmarks.peers                       all of them, 10,000 rows of 256 numbers
    python -m tests.benchmarks.peers --peer vecs --rows 1000 --keep

Each peer gets an environment under .venvs/peers, which goes again afterwards (--keep leaves it), an empty database of
the same server and the same rows. Results are printed; --write puts them into docs/benchmarks/peers.json, beside what
others took of as many rows on the same machine, and makes the tables and the plot of docs/benchmarks.md anew from it.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from ..machine import about_this_run
from ..page import read_figures, write_figures
from .catalogue import PEERS, Peer
from .contest import Contest, FailedError
from .environments import FOLDER, NotToBeHadError, python_of, versions_of
from .servers import PineconeServer, PostgresServer, pinecone_server, postgres_server
from .states import Scenario

LATENCY_MS = 20
"""How long the local Pinecone waits before each answer."""


def main(
    peer: Annotated[list[str] | None, typer.Option(help=f"which of: {', '.join(PEERS)}; may be repeated")] = None,
    rows: Annotated[int, typer.Option(min=100, help="rows of the first load")] = 10_000,
    dimension: Annotated[int, typer.Option(min=1, help="numbers in a vector")] = 256,
    keep: Annotated[bool, typer.Option(help=f"leave the environments in {FOLDER}")] = False,
    write: Annotated[bool, typer.Option(help="into docs")] = False,
) -> None:
    """Run the scenario with each peer, one after the other."""
    results: dict[str, Any] = {}
    with postgres_server() as server, pinecone_server(LATENCY_MS) as pinecone:
        about = {**about_this_run(), "server": server.version(), "rows": rows, "dimension": dimension}
        about |= {"latency_ms": LATENCY_MS}
        scenario = Scenario(rows, dimension)
        for name in peer or PEERS:
            results[name] = _result(name, PEERS[name], server, pinecone, scenario)
            print(_line(results[name]), flush=True)
            if not keep:
                shutil.rmtree(FOLDER / name, ignore_errors=True)
    if write:
        kept = read_figures("peers")
        alike = all(kept["about"].get(name) == about[name] for name in ("rows", "dimension", "server", "cpu", "cpus"))
        known = {**(kept["peers"] if alike else {}), **results}
        write_figures("peers", {"about": about, "peers": {name: known[name] for name in PEERS if name in known}})


def _result(
    name: str, peer: Peer, server: PostgresServer, pinecone: PineconeServer, scenario: Scenario
) -> dict[str, Any]:
    """Versions and steps, or why there are none."""
    told = {"title": peer.title, "store": peer.store, "again": peer.again, "gone": peer.gone}
    if peer.refused:
        return {**told, "refused": peer.refused}
    try:
        print(f"{peer.title} …", file=sys.stderr, flush=True)
        python = python_of(name, peer)
        load = os.getloadavg()[0]
        with tempfile.TemporaryDirectory(prefix=f"peer-{name}-") as directory:
            steps = Contest(name, peer, python, server, pinecone, Path(directory)).run(scenario)
        return {**told, "load": load, "versions": versions_of(python, peer), "steps": steps}
    except (NotToBeHadError, FailedError) as error:
        return {**told, "refused": str(error)}


def _line(result: dict[str, Any]) -> str:
    """One peer's figures in a line each."""
    if "steps" not in result:
        return f"  {result['refused']}"
    timed = [
        f"  {name:14}{step['seconds']:8.2f} s  CPU {step['cpu']:7.2f} s, server {step['server_cpu']:7.2f} s"
        f"  {step['megabytes']:7.1f} MB  wrong: {step['wrong']}"
        for name, step in result["steps"].items()
        if "seconds" in step
    ]
    killed = [f"  {name:14} wrong: {step}" for name, step in result["steps"].items() if "seconds" not in step]
    return "\n".join([*timed, *killed])


typer.run(main)
