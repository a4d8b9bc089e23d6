"""One destination that is being checked, in a thread of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Final, TypeAlias, TypeVar

from vectorferry.connector._engine._opening import prepare_untouched
from vectorferry.connector._engine.sync._lane import Worker
from vectorferry.connector._engine.sync._origins import origin_changes, origin_of
from vectorferry.connector._model._discrepancies import Discrepancy, StoredDigest
from vectorferry.connector._model._mapping import SchemaMapping
from vectorferry.connector._model._records import Rejected
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import Destination, Known
from vectorferry.connector._protocols._source import Source

__all__ = ["Checked", "SetAside"]


SetAside: TypeAlias = tuple[str, str, str | None]
"""Asset, feature and what of it: a vector's name, empty: its row, None: all of it."""


T = TypeVar("T")


PAGE: Final = 1_000


class Checked:
    """Makes the calls of one destination from one thread, one at a time. `notes` say what could not be seen."""

    def __init__(self, destination: Destination) -> None:
        self.name = destination.name
        self.notes: list[str] = []
        self._destination = destination
        self._worker = Worker(self.name)

    async def prepare(self, mapping: SchemaMapping, visible_timeout: float) -> None:
        """Prepare the destination, and wait until it shows what was written to it."""
        await self._worker.run(partial(prepare_untouched, self._destination, mapping))
        delivery = await self._worker.run(partial(self._destination.delivered, visible_timeout))
        self.notes += [
            f"{place.place} does not show all that was written yet: what it lacks may only be late"
            for place in delivery.places
            if not place.is_visible
        ]

    async def known(self, collection: str, asset_ids: Sequence[str]) -> Mapping[str, Known]:
        """The ledger's entries for these assets."""
        return await self._worker.run(partial(self._destination.known, collection, asset_ids))

    async def stored_collections(self) -> Sequence[str]:
        """The collections that it holds anything of, if it tells."""
        if Capability.STORED_COLLECTIONS not in self._destination.capabilities:
            return ()
        return await self._worker.run(self._destination.stored_collections)

    async def origin_changes(self, source: Source, collection: str) -> Sequence[str]:
        """What is different about who reads a collection since it was last complete here, if it tells."""
        if Capability.ORIGINS not in self._destination.capabilities:
            return ()
        recorded = await self._worker.run(partial(self._destination.origin, collection))
        return origin_changes(recorded, await origin_of(source, collection))

    def asset_ids(self, collection: str) -> AsyncIterator[list[str]]:
        """Every asset, page by page."""
        return self._pages(partial(self._destination.asset_ids, collection))

    def discrepancies(self, collection: str, sample: int | None) -> AsyncIterator[list[Discrepancy]]:
        """What is not as its own books say, page by page."""
        return self._pages(partial(self._destination.discrepancies, collection, sample))

    def digests(self, collection: str, asset_ids: Sequence[str] | None = None) -> AsyncIterator[list[StoredDigest]]:
        """What its books say of every row and vector of these assets, or of all, page by page."""
        return self._pages(partial(self._destination.digests, collection, asset_ids))

    async def vector_names(self, collection: str) -> frozenset[str]:
        """The named vectors that it has any of in a collection, as far as it tells."""
        if Capability.CONTENTS not in self._destination.capabilities:
            return frozenset()
        counts = await self._worker.run(partial(self._destination.content_counts, collection))
        return frozenset(name for (_, name), rows in counts.items() if name and rows)

    async def set_aside(self, collection: str) -> frozenset[SetAside]:
        """What every record in its quarantine is about, as far as it tells."""
        if Capability.QUARANTINE not in self._destination.capabilities:
            return frozenset()
        rejected = self._destination.rejected
        return await self._worker.run(
            lambda: frozenset((one.asset_id, one.feature_id, _part_of(one)) for _, one, _ in rejected(collection))
        )

    async def distrust(self, collection: str, discrepancies: Iterable[Discrepancy]) -> None:
        """Have these read again."""
        await self._worker.run(partial(self._destination.distrust, collection, discrepancies))

    def close(self) -> None:
        """Wait for the call that is running. The destination itself stays open."""
        self._worker.close()

    async def _pages(self, items: Callable[[], Iterable[T]]) -> AsyncIterator[list[T]]:
        stream = await self._worker.run(lambda: iter(items()))
        try:
            # A stream that broke off would end at once when it is asked again, as if it were complete: no second try.
            while page := await self._worker.run(lambda: list(islice(stream, PAGE)), attempts=1):
                yield page
        finally:
            await self._worker.run(partial(_close, stream))


def _part_of(record: Rejected) -> str | None:
    return record.vector_name or ("" if record.column else None)


def _close(stream: Iterator[object]) -> None:
    close = getattr(stream, "close", None)
    if close is not None:
        close()
