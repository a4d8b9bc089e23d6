"""Written is not visible: waits until queries see what was written, by the store's own sequence numbers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final

from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_delay, wait_exponential

from vectorferry.connector.plugin import Visibility, pause
from vectorferry.destinations.pinecone._manifest_tables import NamespaceRow

from ._reader import IndexReader

__all__ = ["as_known", "wait_until_visible"]

_LONGEST_PAUSE: Final = 2.0


def as_known(row: NamespaceRow) -> Visibility:
    """How far a namespace has been written, and is known to be visible; nobody is asked.

    Where nothing has been written (deletes from a namespace that is not there, say) there is nothing to be seen.
    """
    return Visibility(f"{row.index}/{row.namespace}", row.lsn, row.visible if row.visible or not row.lsn else None)


def wait_until_visible(places: Iterable[tuple[NamespaceRow, IndexReader]], seconds: float) -> Sequence[int | None]:
    """Ask each namespace until it shows all that was written, or the time (for all of them together) is over.

    How far each is seen in the end, by the store's sequence numbers.
    """
    deadline = time.monotonic() + seconds
    return [_wait(row, reader, deadline - time.monotonic()) for row, reader in places]


def _wait(row: NamespaceRow, reader: IndexReader, seconds: float) -> int | None:
    def told(state: RetryCallState) -> int | None:
        return state.outcome.result() if state.outcome else None

    asking = Retrying(
        retry=retry_if_result(lambda seen: seen is None or seen < row.lsn),
        stop=stop_after_delay(max(seconds, 0)),
        wait=wait_exponential(multiplier=0.05, max=_LONGEST_PAUSE),
        retry_error_callback=told,
        sleep=pause,
    )
    seen: int | None = asking(reader.visible, row.namespace)
    return seen
