"""A destination that is only read, in a thread of its own: one that is checked, or that another is filled from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence, Set
from functools import partial
from itertools import islice
from typing import ClassVar, TypeAlias, TypeVar

from vectorferry.connector._engine._calls import CallThread
from vectorferry.connector._engine._opening import prepare_untouched
from vectorferry.connector._engine.sync._origins import origin_changes, origin_of
from vectorferry.connector._model._discrepancies import DigestKind, Discrepancy, SliceSums, StoredDigest
from vectorferry.connector._model._mapping import SchemaMapping
from vectorferry.connector._model._records import Rejected
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import Destination, Known
from vectorferry.connector._protocols._source import Origin, Source

T = TypeVar("T")

SetAside: TypeAlias = tuple[str, str, str | None]
"""Asset, feature and what of it: a vector's name, empty: its row, None: all of it."""


class Reader:
    """Makes the calls of one destination, one at a time. What is asked for again after a failure is asked for as a
    whole, so nothing can be missed."""

    page: ClassVar = 1_000
    """Items of a stream that come at once."""

    def __init__(self, destination: Destination) -> None:
        self.name = destination.name
        self.destination = destination
        self._calls = CallThread(destination.name)
        self.run = self._calls.run

    def can(self, capability: Capability) -> bool:
        """Whether the destination declares it."""
        return capability in self.destination.capabilities

    async def prepare(self, mapping: SchemaMapping) -> None:
        """Prepare the destination, as long as that changes nothing."""
        await self.run(partial(prepare_untouched, self.destination, mapping))

    async def stored_collections(self) -> Sequence[str]:
        """The collections that it holds anything of, if it tells."""
        return await self.run(self.destination.stored_collections) if self.can(Capability.STORED_COLLECTIONS) else ()

    async def known(self, collection: str, asset_ids: Sequence[str]) -> Mapping[str, Known]:
        """The ledger's entries for these assets."""
        return await self.run(partial(self.destination.known, collection, asset_ids))

    async def origin(self, collection: str) -> Origin | None:
        """Who a collection was read as when it was last complete here, if it tells."""
        if not self.can(Capability.ORIGINS):
            return None
        return await self.run(partial(self.destination.origin, collection))

    def asset_ids(self, collection: str) -> AsyncIterator[list[str]]:
        """Every asset, page by page. Ending normally means that the list was complete."""
        return self.pages(partial(self.destination.asset_ids, collection))

    async def pages(self, items: Callable[[], Iterable[T]]) -> AsyncIterator[list[T]]:
        """What a call streams, page by page."""
        stream = await self.run(lambda: iter(items()))
        try:
            # A stream that broke off would end at once when it is asked again, as if it were complete: no second try.
            while page := await self.run(lambda: list(islice(stream, self.page)), attempts=1):
                yield page
        finally:
            await self.run(partial(_close, stream))

    def close(self) -> None:
        """Wait for the call that is running. The destination itself stays open."""
        self._calls.close()


class CheckReader(Reader):
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

    async def mappings(self, collection: str) -> Sequence[str]:
        """The digests of the mappings that a collection was synced under, as far as it tells; first that of the last
        run that has brought all of it up to date."""
        if not self.can(Capability.RUNS):
            return ()
        runs = await self.run(partial(self.destination.runs, collection=collection))
        whole = [run for run in runs if run.state == "done" and run.counts.get("scan") != "some"]
        return list(dict.fromkeys(str(run.counts["mapping"]) for run in (*whole, *runs) if "mapping" in run.counts))

    def discrepancies(self, collection: str, sample: int | None) -> AsyncIterator[list[Discrepancy]]:
        """What is not as its own books say, page by page."""
        return self.pages(partial(self.destination.discrepancies, collection, sample))

    def digests(self, collection: str, asset_ids: Sequence[str] | None = None) -> AsyncIterator[list[StoredDigest]]:
        """What its books say of every row and vector of these assets, or of all, page by page."""
        return self.pages(partial(self.destination.digests, collection, asset_ids))

    async def digest_sums(self, collection: str, slices: int) -> SliceSums[DigestKind] | None:
        """The same of all, summed up in so many slices, if it can."""
        return await self.run(partial(self.destination.digest_sums, collection, slices))

    async def slice_assets(self, collection: str, slices: Set[int]) -> Iterable[str]:
        """The assets that are in these slices."""
        return await self.run(lambda: list(self.destination.slice_assets(collection, slices)))

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


def _close(stream: Iterator[object]) -> None:
    if close := getattr(stream, "close", None):
        close()


def _part_of(record: Rejected) -> str | None:
    return record.vector_name or ("" if record.column else None)
