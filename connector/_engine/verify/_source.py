"""The source against the destinations: its listing against their ledgers, and a sample of its assets, read anew,
against what their books have of rows and vectors.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from vectorferry.connector._engine._mapper import Mapper
from vectorferry.connector._engine._reader import CheckReader, SetAside
from vectorferry.connector._engine.sync._diff import Action, Decision, Reread, content_of, diff
from vectorferry.connector._engine.sync._guard import read_differently
from vectorferry.connector._iterators import closing, pages
from vectorferry.connector._model._batch import MappedAsset
from vectorferry.connector._model._discrepancies import Difference, Discrepancy
from vectorferry.connector._model._errors import IncompleteScanError
from vectorferry.connector._model._mapping import ledger_fingerprint
from vectorferry.connector._model._records import AssetState, Listing, Modality
from vectorferry.connector._model._seen import SeenIds
from vectorferry.connector._model._storable import id_problem, safe_id
from vectorferry.connector._protocols._destination import Known
from vectorferry.connector._protocols._source import Source
from vectorferry.connector._reports._summary import kept_note
from vectorferry.connector._reports._verification import CollectionReport, Finding

PAGE: Final = 500
COMPARED_AT_ONCE: Final = 100
BEHIND: Final = "changed at the source, or in what is asked of it, since it was synced"
REMAPPED: Final = (
    "the mapping has changed since the last sync, so that one is due; what columns hold is compared after it"
)

_Known: TypeAlias = Mapping[str, Mapping[str, Known]]
"""Per destination and asset id."""

_Key: TypeAlias = tuple[str, str, str]
"""Feature id, modality and vector name; an asset's own row has none of them."""


@dataclass(frozen=True, slots=True)
class Check:
    """What every collection of a check shares. `keeps`: the sync keeps assets, so that nothing is called extra."""

    source: Source
    readers: Sequence[CheckReader]
    mapper: Mapper
    reread: Reread
    keeps: bool


@dataclass(slots=True)
class Sample:
    """At most `size` of the listed assets that destinations say they have as they are, each as likely as any other."""

    size: int
    decisions: list[Decision] = field(default_factory=list)
    _offered: int = 0

    def offer(self, decision: Decision) -> None:
        """Take it in, perhaps in another one's place."""
        self._offered += 1
        if len(self.decisions) < self.size:
            self.decisions.append(decision)
        elif (place := random.randrange(self._offered)) < self.size:
            self.decisions[place] = decision


@dataclass(frozen=True, slots=True)
class EarlierMappings:
    """By destination, the digests of other mappings that a collection was synced under, of those in which the last
    whole sync of it was one of these. What was mapped otherwise cannot be judged by the mapping of today."""

    digests: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def explain(self, finding: Finding) -> bool:
        """Whether it may be no more than this that a feature's row is not what the mapping of today makes of it."""
        record = finding.record
        is_row = record.modality is not None and not record.vector_name
        involved = finding.where in self.digests or finding.against in self.digests
        return involved and is_row and record.kind is Difference.DIFFERENT

    def explain_asset(self, name: str, listing: Listing, known: Known) -> bool:
        """Whether the asset is stored as it is listed, but for the mapping."""
        recorded = content_of(known.fingerprint)
        return any(content_of(ledger_fingerprint(listing.fingerprint, each)) == recorded for each in self.of(name))

    def of(self, name: str) -> Sequence[str]:
        """Those of a destination; none where it is up to date."""
        return self.digests.get(name, ())

    def notes(self) -> list[str]:
        """A sentence for each destination."""
        return [f"{name}: {REMAPPED}" for name in sorted(self.digests)]


async def earlier_mappings(check: Check, collection: str) -> EarlierMappings:
    """As the records of runs have it."""
    recorded = {reader.name: await reader.mappings(safe_id(collection)) for reader in check.readers}
    now = check.mapper.digest
    return EarlierMappings(
        {
            name: [each for each in digests if each != now]
            for name, digests in recorded.items()
            if now not in digests[:1] and digests
        }
    )


async def compare_with_source(
    check: Check, collection: str, report: CollectionReport, sample: Sample, mappings: EarlierMappings
) -> AsyncIterator[Finding]:
    """Assets that a destination lacks, has in another version, or has alone. `report` gets the number of assets, and a
    note where the listing is not complete, or where the sync keeps assets. Assets that are set aside as a whole are
    noted: their quarantine says what is wrong with them. What only an earlier one of the `mappings` explains is no
    difference. Some of the others are taken as a `sample`."""
    listed_ids, due = SeenIds(), 0
    set_aside = {reader.name: await _whole_assets_aside(reader, collection) for reader in check.readers}
    explained: Counter[str] = Counter()
    try:
        async with closing(pages(check.source.scan(collection), PAGE)) as listed:
            async for page in listed:
                for decision, known in await _decide_page(check, collection, page, listed_ids):
                    if _holders(decision, check.readers):
                        sample.offer(decision)
                    if decision.action is not Action.PULL:
                        continue
                    due += decision.reread == decision.lacking
                    for finding in _lacking(decision, known, mappings):
                        if finding.record.asset_id in set_aside[finding.where]:
                            explained[finding.where] += 1
                        else:
                            yield finding
        if check.keeps:
            report.notes += [note async for note in _kept(check, collection, listed_ids)]
        else:
            async for finding in _extra(check, collection, listed_ids, report):
                yield finding
    except IncompleteScanError as error:
        report.notes.append(f"what the source does not have cannot be told: {error}")
    report.assets = len(listed_ids)
    report.notes += [_explained(name, count) for name, count in explained.items()]
    if due:
        assets = "1 asset is" if due == 1 else f"{due:,} assets are"
        report.notes.append(f"{assets} due to be read again, in their turn; the next sync does it")


async def compare_contents(check: Check, collection: str, sample: Sample, notes: list[str]) -> AsyncIterator[Finding]:
    """Rows and vectors of the sampled assets that a destination lacks, has otherwise, or has alone. Assets that the
    source does not give are left out, and so is what is set aside anywhere; `notes` say what was not compared."""
    decisions = {decision.listing.asset_id: decision for decision in sample.decisions}
    compared = [_Contents(reader, await reader.set_aside(collection), collection) for reader in check.readers]
    read: dict[str, dict[_Key, bytes]] = {}

    async def listings() -> AsyncIterator[Listing]:
        for decision in decisions.values():
            yield decision.listing

    async with closing(listings()) as asked, closing(check.source.pull(collection, asked)) as pulled:
        async for item in pulled:
            if isinstance(record := check.mapper.map(item).record, MappedAsset) and record.asset_id in decisions:
                read[record.asset_id] = _digests(record)
            if len(read) == COMPARED_AT_ONCE:
                for one in compared:
                    async for finding in one.compare(read, decisions):
                        yield finding
                read = {}
    for one in compared:
        async for finding in one.compare(read, decisions):
            yield finding
        notes += one.notes()


async def _decide_page(
    check: Check, collection: str, page: list[Listing], listed_ids: SeenIds
) -> list[tuple[Decision, _Known]]:
    """What a sync would do with each, and what the destinations have of them."""
    new = listed_ids.add([safe_id(listing.asset_id) for listing in page])
    fresh = [one for one, first in zip(page, new, strict=True) if first and id_problem(one.asset_id) is None]
    ready = [listing.asset_id for listing in fresh if listing.state is AssetState.READY]
    known = {reader.name: await reader.known(collection, ready) for reader in check.readers}
    decisions = diff(fresh, known, check.mapper.digest, check.mapper.modalities, check.reread)
    return [(decision, known) for decision in decisions]


def _holders(decision: Decision, readers: Sequence[CheckReader]) -> frozenset[str]:
    """The destinations that have the asset as it is listed."""
    if decision.action not in (Action.KEEP, Action.PULL):
        return frozenset()
    return frozenset(reader.name for reader in readers) - (decision.lacking - decision.reread)


def _lacking(decision: Decision, known: _Known, mappings: EarlierMappings) -> Iterator[Finding]:
    """What is only due to be read again, or to be mapped anew, is as it should be, as far as anybody can tell."""
    asset_id = decision.listing.asset_id
    for name in sorted(decision.lacking - decision.reread):
        if asset_id in known[name]:
            if mappings.explain_asset(name, decision.listing, known[name][asset_id]):
                continue
            yield Finding(name, "source", Discrepancy(Difference.DIFFERENT, asset_id, detail=BEHIND))
        else:
            yield Finding(name, "source", Discrepancy(Difference.MISSING, asset_id))


async def _whole_assets_aside(reader: CheckReader, collection: str) -> frozenset[str]:
    return frozenset(asset_id for asset_id, feature_id, _ in await reader.set_aside(collection) if not feature_id)


def _explained(name: str, count: int) -> str:
    assets = "1 asset is" if count == 1 else f"{count:,} assets are"
    return f"{name}: {assets} in quarantine, and not as at the source for that reason: vectorferry quarantine list"


async def _kept(check: Check, collection: str, listed_ids: SeenIds) -> AsyncIterator[str]:
    for reader in check.readers:
        async with closing(reader.asset_ids(collection)) as pages_of_ids:
            count = sum([len(listed_ids.missing(page)) async for page in pages_of_ids])
        if count:
            yield kept_note(reader.name, count)


async def _extra(
    check: Check, collection: str, listed_ids: SeenIds, report: CollectionReport
) -> AsyncIterator[Finding]:
    """What no listing holds. One alone may have skipped an asset when rows moved, so there is a second one first."""
    listed_twice = False
    for reader in check.readers:
        extra = False
        async with closing(reader.asset_ids(collection)) as pages_of_ids:
            async for page in pages_of_ids:
                if listed_ids.missing(page) and not listed_twice:
                    await _list_again(check.source, listed_ids, collection)
                    listed_twice = True
                for asset_id in listed_ids.missing(page):
                    extra = True
                    yield Finding(reader.name, "source", Discrepancy(Difference.EXTRA, asset_id))
        if extra:
            report.notes += await read_by_another(check.source, reader, collection)


async def read_by_another(source: Source, reader: CheckReader, collection: str) -> Sequence[str]:
    """A note for what is extra, where whoever reads now may only not see it."""
    changes = await reader.origin_changes(source, collection)
    if not changes:
        return ()
    return (
        f"{reader.name}: what the source does not have may only not be seen: it is {read_differently(changes)}. "
        "A repair deletes nothing unless --allow-deletes is given",
    )


async def _list_again(source: Source, listed_ids: SeenIds, collection: str) -> None:
    async with closing(pages(source.scan(collection), PAGE)) as listed:
        async for page in listed:
            listed_ids.add([safe_id(listing.asset_id) for listing in page])


class _Contents:
    """One destination's books of the sampled assets of a collection."""

    def __init__(self, reader: CheckReader, set_aside: frozenset[SetAside], collection: str) -> None:
        self._reader = reader
        self._set_aside = set_aside
        self._collection = collection
        self._kept: frozenset[str] | None = None
        self._not_kept: set[str] = set()
        self._unknown = 0

    async def compare(
        self, read: Mapping[str, Mapping[_Key, bytes]], decisions: Mapping[str, Decision]
    ) -> AsyncIterator[Finding]:
        """What the books have otherwise than these assets, of which the destination has the one that was listed."""
        holding = [name for name in read if self._reader.name in _holders(decisions[name], [self._reader])]
        stored: dict[str, dict[_Key, bytes]] = {name: {} for name in holding}
        async with closing(self._reader.digests(self._collection, holding)) as pages_of_digests:
            async for page in pages_of_digests:
                for one in page:
                    stored[one.asset_id][one.feature_id, one.modality, one.vector_name] = one.digest
        for asset_id in holding:
            for key in sorted(read[asset_id].keys() | stored[asset_id].keys()):
                kind = await self._difference(asset_id, key, read[asset_id].get(key), stored[asset_id].get(key))
                if kind is not None:
                    feature_id, modality, vector_name = key
                    of = Modality(modality) if modality else None
                    record = Discrepancy(kind, asset_id, feature_id, of, vector_name or None)
                    yield Finding(self._reader.name, "source", record)

    def notes(self) -> list[str]:
        """What was not compared."""
        notes = [f"{self._reader.name} keeps no vector {name}" for name in sorted(self._not_kept)]
        if self._unknown:
            notes.append(f"{self._unknown:,} records: {self._reader.name} has no hash of their own")
        return notes

    async def _difference(
        self, asset_id: str, key: _Key, source_digest: bytes | None, stored: bytes | None
    ) -> Difference | None:
        feature_id, _, vector_name = key
        aside = ((asset_id, feature_id, vector_name), (asset_id, feature_id, None))
        if feature_id and not self._set_aside.isdisjoint(aside):
            return None
        if source_digest is None:
            return Difference.EXTRA
        if stored is None:
            return Difference.MISSING if await self._keeps(vector_name) else None
        if not stored:
            self._unknown += 1
            return None
        return None if source_digest == stored else Difference.DIFFERENT

    async def _keeps(self, vector_name: str) -> bool:
        """Whether there is a vector of this name in the collection at all."""
        if not vector_name:
            return True
        if self._kept is None:
            self._kept = await self._reader.vector_names(self._collection)
        if vector_name not in self._kept:
            self._not_kept.add(vector_name)
        return vector_name in self._kept


def _digests(asset: MappedAsset) -> dict[_Key, bytes]:
    """What the books should have of an asset."""
    digests: dict[_Key, bytes] = {("", "", ""): asset.row_hash}
    for one in asset.features:
        digests[one.feature_id, one.modality.value, ""] = one.row_hash
        digests |= {(one.feature_id, one.modality.value, name): own for name, own in one.vector_hashes.items()}
    return digests
