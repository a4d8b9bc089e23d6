"""Progress in the run's log, rarely: every line there is a row in Dagster's event storage (about 2 ms)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from vectorferry.connector import Progress

__all__ = ["ProgressLog"]

SECONDS_BETWEEN_LINES: Final = 10.0


class ProgressLog:
    """Writes the first moment that comes and then one every ten seconds at most."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._next = 0.0

    def __call__(self, progress: Progress) -> None:
        """Take a moment of the sync, and perhaps write it."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + SECONDS_BETWEEN_LINES
            self._write(
                f"{progress.collection}: {progress.listed} assets listed, {progress.pulled} of {progress.to_pull} "
                f"changed ones pulled, {progress.written} features written"
            )
