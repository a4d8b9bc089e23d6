"""Worker processes on this machine: started when there is something to share, ended with the run."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

SECONDS_TO_END: Final = 2.0
"""Whoever has to stop within four seconds must not wait longer for a worker: what that has begun is fenced off."""


@dataclass(slots=True)
class WorkerProcesses:
    """So many processes of this command, each of which joins whatever run is going on."""

    command: Sequence[str]
    number: int
    _running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    _deaths: list[str] = field(default_factory=list)

    def start(self) -> None:
        """Start those that are not running."""
        self._look()
        for number in range(2, self.number + 2):
            if number not in self._running:
                self._running[number] = subprocess.Popen(
                    [*self.command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
                )

    def deaths(self) -> Sequence[str]:
        """A sentence for each that has failed since this was last asked."""
        self._look()
        deaths, self._deaths = self._deaths, []
        return deaths

    @contextmanager
    def ended(self) -> Iterator[None]:
        """End those that run when a block ends."""
        try:
            yield
        finally:
            self._stop()

    def _look(self) -> None:
        for number, process in list(self._running.items()):
            if (status := process.poll()) is not None:
                del self._running[number]
                if status:
                    self._deaths.append(
                        f"worker {number} of {self.number + 1} (process {process.pid}) {_how(status)}; "
                        "the others take over what it had"
                    )

    def _stop(self) -> None:
        processes = list(self._running.values())
        self._running.clear()
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _how(status: int) -> str:
    if status > 0:
        return f"ended with exit code {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
