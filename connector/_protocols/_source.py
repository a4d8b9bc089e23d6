"""The protocol a source speaks. Third parties add one through the entry point group ``vectorferry.sources``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from pydantic import Field

from vectorferry.connector._model._records import Asset, Listing, Rejected
from vectorferry.connector._model._settings_base import Settings

__all__ = [
    "ChangedSince",
    "Hit",
    "Searches",
    "Source",
    "SourceSettings",
    "Submission",
    "SubmissionState",
    "Submits",
    "Usage",
]


@dataclass(slots=True)
class Usage:
    """What talking to the source has cost so far."""

    requests: int = 0
    retries: int = 0
    bytes: int = 0


class Source(Protocol):
    """Something that assets and their features are pulled from. Used by one event loop at a time."""

    @property
    def usage(self) -> Usage:
        """Requests, retries and answer bytes so far."""

    async def collections(self) -> Sequence[str]:
        """The ids of the collections this source was configured for (all of them when none was named)."""

    def scan(self, collection: str) -> AsyncIterator[Listing]:
        """List every asset of a collection once, cheaply, finished or not.

        Ending normally promises that the listing was complete. Raises `IncompleteScanError` at its end when it
        cannot promise that (the count disagrees, rows moved between pages).
        """

    def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncIterator[Asset | Rejected]:
        """Read these assets with features and vectors, concurrently, in any order, never more than a bounded
        number ahead of the consumer.

        An asset that vanished meanwhile is left out; that it did, more than its own answer has to say. One that no
        usable answer came for, however often it was asked for, is a `Rejected` with `Reason.UNREADABLE` and an empty
        feature id: nothing is known of it, so it stays as it is stored, and its collection has failed. Every other
        `Rejected` is a bad record, and is set aside.
        """

    async def aclose(self) -> None:
        """Release connections."""


class SubmissionState(StrEnum):
    """How far a submitted file has come. From `INDEXING` on the service goes on by itself."""

    FETCHING = "fetching"
    INDEXING = "indexing"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Submission:
    """One URL that was submitted to one collection. `asset_id` is the asset's in that collection, empty until it has
    one; `known` says that the service had this URL already and nothing was uploaded; `detail` says what failed."""

    url: str
    state: SubmissionState
    asset_id: str = ""
    known: bool = False
    detail: str = ""


@runtime_checkable
class Submits(Protocol):
    """What a source also provides when media can be handed to it."""

    def submit(self, collection: str, url: str, *, again: bool = False) -> AsyncIterator[Submission]:
        """Have the service fetch what is at this URL and index it in the collection; yields each change, the last one
        `READY` or `FAILED`.

        A URL that was submitted before is taken up where it is, unless `again`. Closing early ends the watching only.
        Raises `SourceError` where the service cannot be asked.
        """


@dataclass(frozen=True, slots=True)
class Hit:
    """What a source's own search found: an asset, and from `start` to `end` (seconds) where it is a piece of one.
    `rank` begins at 1, the best; `text` is what the service shows with it."""

    asset_id: str
    rank: int
    start: float | None = None
    end: float | None = None
    text: str = ""


@runtime_checkable
class Searches(Protocol):
    """What a source also provides when it has a search of its own."""

    async def search(self, collection: str, text: str, *, limit: int, options: Sequence[str] = ()) -> Sequence[Hit]:
        """The best `limit` hits in one collection for a text, best first. `options` are the service's words for what is
        looked at (``visual``, ``audio``); none: all that the collection has. Raises `SourceError`."""


@runtime_checkable
class ChangedSince(Protocol):
    """What a source also provides when it can list what has changed, and its answer can be trusted.

    Trusted means: whatever would make a `Listing` differ (content, metadata, state, an asset that comes back) moves the
    asset behind every cursor that was given out before. Where the service promises less, leave this out. Deletes need
    not be listed: full scans find them.
    """

    def scan_changed(self, collection: str, since: str) -> AsyncIterator[Listing]:
        """List every asset that has changed after the cursor `since`, and as many others as is convenient.

        Ending normally promises that none is missing. Raises `IncompleteScanError` when it cannot promise that (the
        service has forgotten that far back, the cursor is another account's): then everything is listed.
        """

    async def cursor(self, collection: str) -> str | None:
        """Where the next `scan_changed` has to begin, after a scan of either kind has ended normally; None: nowhere.

        It is the source's own mark (a time or number from its answers, never from a clock of ours), read by nobody
        else, at most 4,000 bytes long. It says how far the service was when that scan began: the newest mark of all its
        pages would pass over an asset that changed after its own page was read. And it is already moved back by as much
        as the service may be late in showing a change, so that what was committed late is seen again; seeing an
        unchanged asset again costs nothing.
        """


class SourceSettings(Settings, ABC):
    """What a plug-in of the group ``vectorferry.sources`` provides. `type` is the entry point's name.

    Keys are fields of type `SecretStr`: that is what keeps them out of everything that is shown. A source that can be
    narrowed to some collections has a field `collections`, a tuple of ids or names that `Source.collections` honours.
    """

    type: str
    reread_days: float | None = Field(
        default=None,
        gt=0,
        le=3_650,
        description="days until an asset that seems unchanged is read again, each at a time of its own; none: never",
    )

    @abstractmethod
    def open(self) -> Source:
        """A source with these settings, every ``${NAME}`` already resolved. No request is made yet."""
