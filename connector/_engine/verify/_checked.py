"""One destination that is being checked, in a thread of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from functools import partial
from typing import TypeAlias

from vectorferry.connector._engine._reader import Reader
from vectorferry.connector._engine.sync._origins import origin_changes, origin_of
from vectorferry.connector._model._discrepancies import Discrepancy, StoredDigest
from vectorferry.connector._model._mapping import SchemaMapping
from vectorferry.connector._model._records import Rejected
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import Destination
from vectorferry.connector._protocols._source import Source

__all__ = ["Checked", "SetAside"]

SetAside: TypeAlias = tuple[str, str, str | None]
"""Asset, feature and what of it: a vector's name, empty: its row, None: all of it."""


class Checked(Reader):
    """A destination, and `notes` of what could not be seen in it."""

    def __init__(self, destination: Destination) -> None:
        super().__init__(destination)
        self.notes: list[str] = []

    async def prepare_visible(self, mapping: SchemaMapping, timeout: float) -> None:  # noqa: ASYNC109 - told, not raised
        """Prepare the destination, and wait until it shows what was written to it."""
        await self.prepare(mapping)
        delivery = await self.run(partial(self.destination.delivered, timeout))
        self.notes += [
            f"{place.place} does not show all that was written yet: what it lacks may only be late"
            for place in delivery.places
            if not place.is_visible
        ]

    async def origin_changes(self, source: Source, collection: str) -> Sequence[str]:
        """What is different about who reads a collection since it was last complete here, if it tells."""
        recorded = await self.origin(collection)
        return origin_changes(recorded, await origin_of(source, collection)) if recorded else ()

    def discrepancies(self, collection: str, sample: int | None) -> AsyncIterator[list[Discrepancy]]:
        """What is not as its own books say, page by page."""
        return self.pages(partial(self.destination.discrepancies, collection, sample))

    def digests(self, collection: str, asset_ids: Sequence[str] | None = None) -> AsyncIterator[list[StoredDigest]]:
        """What its books say of every row and vector of these assets, or of all, page by page."""
        return self.pages(partial(self.destination.digests, collection, asset_ids))

    async def vector_names(self, collection: str) -> frozenset[str]:
        """The named vectors that it has any of in a collection, as far as it tells."""
        if not self.can(Capability.CONTENTS):
            return frozenset()
        counts = await self.run(partial(self.destination.content_counts, collection))
        return frozenset(name for (_, name), rows in counts.items() if name and rows)

    async def set_aside(self, collection: str) -> frozenset[SetAside]:
        """What every record in its quarantine is about, as far as it tells."""
        if not self.can(Capability.QUARANTINE):
            return frozenset()
        rejected = partial(self.destination.rejected, collection)
        return await self.run(
            lambda: frozenset((record.asset_id, record.feature_id, _part_of(record)) for _, record, _ in rejected())
        )

    async def distrust(self, collection: str, discrepancies: Iterable[Discrepancy]) -> None:
        """Have these read again."""
        await self.run(partial(self.destination.distrust, collection, discrepancies))


def _part_of(record: Rejected) -> str | None:
    return record.vector_name or ("" if record.column else None)
