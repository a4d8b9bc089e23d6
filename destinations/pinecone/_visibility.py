"""Written is not visible: waits until queries see what was written, by the store's own sequence numbers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final

from tenacity import Retrying, retry_if_result, stop_after_delay, wait_exponential

from connector import Visibility

from ._manifest import NamespaceRow
from ._reader import IndexReader

__all__ = ["as_written", "wait_until_visible"]

_LONGEST_PAUSE: Final = 2.0


def as_written(row: NamespaceRow, visible: int | None = None) -> Visibility:
    """One namespace, and how far it has been written."""
    return Visibility(f"{row.index}/{row.namespace}", row.lsn, visible)


def wait_until_visible(places: Iterable[tuple[NamespaceRow, IndexReader]], seconds: float) -> Sequence[Visibility]:
    """Ask each namespace until it shows all that was written, or the time (for all of them together) is over."""
    deadline = time.monotonic() + seconds
    return [_wait(row, reader, deadline - time.monotonic()) for row, reader in places]


def _wait(row: NamespaceRow, reader: IndexReader, seconds: float) -> Visibility:
    asking = Retrying(
        retry=retry_if_result(lambda seen: not seen.is_visible),
        stop=stop_after_delay(max(seconds, 0)),
        wait=wait_exponential(multiplier=0.05, max=_LONGEST_PAUSE),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else as_written(row),
    )
    seen: Visibility = asking(lambda: as_written(row, reader.visible(row.namespace)))
    return seen
