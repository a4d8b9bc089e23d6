"""One peer's way through the scenario: load, load again, change, delete; then the same with a kill in the middle."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .catalogue import Peer
from .relay import Relay
from .servers import NAMESPACE, PineconeServer, PostgresServer
from .states import Scenario, State, Wrong, compare

__all__ = ["Contest", "FailedError"]

SCRIPTS = Path(__file__).parent / "runners"
_ERROR = re.compile(r"^[\w.]*(Error|Exception|Violation)\w*: ")
LONGEST = 1_800
"""Seconds after which a load is given up."""


class FailedError(Exception):
    """A peer's script failed; the message has its last words."""


class KilledError(FailedError):
    """It was ended by SIGKILL."""


@dataclass(frozen=True)
class Step:
    """What one load took, and what was wrong in the store afterwards."""

    seconds: float
    cpu: float
    server_cpu: float
    megabytes: float
    wrong: Wrong


class Contest:
    """A peer, its interpreter, and where it writes."""

    def __init__(
        self,
        name: str,
        peer: Peer,
        python: Path,
        server: PostgresServer,
        pinecone: PineconeServer,
        directory: Path,
    ) -> None:
        self._database = f"peer_{name}".replace("-", "_")
        self._pinecone = pinecone
        self._index_port = 0
        self._dimension = 0
        self._peer = peer
        self._python = python
        self._server = server
        self._directory = directory

    def run(self, scenario: Scenario) -> dict[str, Any]:
        """All steps, by name. Raises `FailedError`."""
        self._dimension = scenario.dimension
        self._begin_anew()
        steps = {
            "first": self._timed(scenario.first),
            "again": self._timed(scenario.first),
            "changed": self._timed(scenario.changed),
            "deleted": self._timed(scenario.deleted),
        }
        whole = self._bytes_sent(scenario)
        return {
            **{name: asdict(step) for name, step in steps.items()},
            "killed first": self._killed([], scenario.first, whole[0] // 2),
            "killed update": self._killed([scenario.first], scenario.update, whole[1] // 2),
        }

    def _timed(self, state: State) -> Step:
        cpu = self._server.cpu()
        measured = self._load(state)
        return Step(**measured, server_cpu=self._server.cpu() - cpu, wrong=self._wrong(state))

    def _bytes_sent(self, scenario: Scenario) -> list[int]:
        """What it sends for the first load, and for the update, when nothing disturbs it."""
        self._begin_anew()
        sent = []
        for state in (scenario.first, scenario.update):
            with Relay(self._port) as relay:
                self._load(state, relay.port)
                sent.append(relay.sent)
        return sent

    def _killed(self, before: list[State], state: State, after: int) -> dict[str, Any]:
        """What is wrong when a load was killed after so many bytes and run again, and why that failed, if it did."""
        self._begin_anew()
        for each in before:
            self._load(each)
        with Relay(self._port) as relay:
            try:
                self._load(state, relay.port, lambda stop: relay.stop_after(after, stop))
            except KilledError:
                pass
            else:
                raise FailedError(f"was not to be killed after {after:,} bytes")
        self._server.wait_until_alone(self._database)
        failed = ""
        try:
            self._load(state)
        except FailedError as error:
            failed = str(error)
        return {**asdict(self._wrong(state)), "failed": failed}

    def _wrong(self, state: State) -> Wrong:
        stored = self._pinecone.rows() if self._peer.store == "Pinecone" else None
        return compare(state, stored or self._server.rows(self._database, self._peer.rows))

    def _begin_anew(self) -> None:
        self._server.new_database(self._database)
        self._pinecone.begin_anew()
        self._index_port = self._pinecone.new_index(self._dimension) if self._peer.index_is_given else 0
        shutil.rmtree(self._local)

    @property
    def _port(self) -> int:
        """Where what it sends is counted: the index, or Postgres, which has our books of Pinecone too."""
        return self._index_port or self._server.port

    @property
    def _local(self) -> Path:
        """Where the peer may keep what it has to remember."""
        (path := self._directory / "local").mkdir(exist_ok=True)
        return path

    def _load(
        self, state: State, relay: int | None = None, watch: Callable[[Callable[[], None]], None] = lambda _: None
    ) -> dict[str, float]:
        rows, result = self._directory / "rows.npz", self._directory / "result.json"
        state.save(rows)
        result.unlink(missing_ok=True)
        task = {
            "url": self._server.url(self._database, None if self._index_port else relay),
            "pinecone": self._pinecone.url,
            "index": f"http://127.0.0.1:{relay or self._index_port}",
            "namespace": NAMESPACE,
            "api_key": self._pinecone.api_key,
            "store": self._peer.store,
            "rows": str(rows),
            "result": str(result),
            "local": str(self._local),
            "dimension": self._dimension,
            "gone": state.gone,
            "changed_at": state.changed_at,
        }
        (path := self._directory / "task.json").write_text(json.dumps(task))
        with (self._directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [self._python, SCRIPTS / self._peer.runner, path],
                cwd=self._local,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "HOME": str(self._local)},
                start_new_session=True,
            )
            watch(lambda: os.killpg(process.pid, signal.SIGKILL))
            try:
                status = process.wait(LONGEST)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise FailedError(f"had not ended after {LONGEST:,} seconds") from None
        if status == -signal.SIGKILL:
            raise KilledError("was killed")
        if status != 0:
            raise FailedError(_last_words((self._directory / "log").read_text(errors="replace")))
        return dict(json.loads(result.read_text()))


def _last_words(log: str) -> str:
    """The last line that names an error, or else the last one."""
    lines = log.strip().splitlines() or ["nothing was said"]
    return next((line for line in reversed(lines) if _ERROR.search(line)), lines[-1])[:200]
