"""Checks a sync: each destination against its own books, against the source's listing, and against the others."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from os import environ as process_environ
from typing import Final

from vectorferry.connector._config._settings import BatchLimits, DeleteGuard, SyncSettings
from vectorferry.connector._engine._mapper import Mapper
from vectorferry.connector._engine._opening import run_opened
from vectorferry.connector._engine._reader import CheckReader
from vectorferry.connector._engine.sync._diff import NEVER, Reread
from vectorferry.connector._engine.sync._gone import GONE, gone_of
from vectorferry.connector._engine.sync._options import SyncOptions
from vectorferry.connector._engine.sync._run import LISTS_MISSED_WHEN_DOWN, is_of_one_collection, sync
from vectorferry.connector._engine.verify._pairs import compare_digests
from vectorferry.connector._engine.verify._source import (
    Check,
    EarlierMappings,
    Sample,
    compare_contents,
    compare_with_source,
    earlier_mappings,
    read_by_another,
)
from vectorferry.connector._iterators import closing
from vectorferry.connector._model._discrepancies import Difference, Discrepancy
from vectorferry.connector._model._errors import RetryableError, SourceError, VectorferryError
from vectorferry.connector._model._limits import SourceLimits
from vectorferry.connector._model._mapping import SchemaMapping
from vectorferry.connector._model._records import ALL_MODALITIES
from vectorferry.connector._model._storable import safe_id
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import Destination
from vectorferry.connector._protocols._source import Source
from vectorferry.connector._reports._summary import kept_note
from vectorferry.connector._reports._verification import CollectionReport, Finding, Verification

UNRECORDED: Final = (
    "searches find this collection, which no book names and the source does not list: somebody else has put it there, "
    "or its entries in the books are lost. No sync and no repair removes it. Where it is not to stay: "
)
REPAIRED_AT_ONCE: Final = 100_000
"""Findings that are remembered for a repair; what is beyond them waits for the next one."""


def run_verify(
    settings: SyncSettings,
    *,
    collections: Sequence[str] | None = None,
    sample: int | None = 1_000,
    repair: bool = False,
    environ: Mapping[str, str] = process_environ,
    visible_timeout: float = 300,
    source_sample: int = 0,
) -> Verification:
    """Resolve ``${NAME}``, open source and destinations, `verify`, and close them.

    Raises what `verify` raises, and `ConfigurationError` for a variable that is not set.
    """

    async def work(resolved: SyncSettings, source: Source, destinations: Sequence[Destination]) -> Verification:
        return await verify(
            source,
            destinations,
            name=resolved.name,
            mapping=resolved.modalities,
            collections=collections,
            sample=sample,
            repair=repair,
            batch=resolved.batch,
            limits=resolved.limits,
            deletes=resolved.deletes,
            visible_timeout=visible_timeout,
            source_sample=source_sample,
            reread=Reread(resolved.source.reread_days),
        )

    return run_opened(settings, environ, work)


async def verify(  # noqa: PLR0913 - every choice that a check leaves open
    source: Source,
    destinations: Sequence[Destination],
    *,
    name: str,
    mapping: SchemaMapping | None = None,
    collections: Sequence[str] | None = None,
    sample: int | None = 1_000,
    repair: bool = False,
    batch: BatchLimits | None = None,
    limits: SourceLimits | None = None,
    deletes: DeleteGuard | None = None,
    visible_timeout: float = 300,
    source_sample: int = 0,
    reread: Reread = NEVER,
) -> Verification:
    """Compare what is stored of these collections (None: all of the source's) with what should be.

    Which records there are is compared for all assets, their contents for `sample` assets of each collection (None: for
    all). Of the source only the listing is read, and `source_sample` assets of each collection, other ones each time,
    whose rows and vectors are compared too. In a check of all collections, what is held of one that the source no
    longer has is extra. With `repair`, assets with a finding are then read again and synced, which writes what is wrong
    and nothing else. Destinations whose writes are not seen at once are given up to `visible_timeout` seconds first.

    A collection that cannot be listed, or that the source's settings name and that is not there, is named in the report
    while the others are checked.

    Raises `ConfigurationError` for a destination that cannot be checked, the source's error when it seems to be down,
    and what destinations raise.
    """
    started = time.monotonic()
    mapping, keeps = mapping or SchemaMapping(), deletes is not None and deletes.mode == "keep"
    for destination in destinations:
        Capability.VERIFY.check(destination.capabilities, destination.name)
    mapper = Mapper(mapping, ALL_MODALITIES, limits)
    check = Check(source, [CheckReader(each) for each in destinations], mapper, reread, keeps)
    verification = Verification(name)
    try:
        await asyncio.gather(*(reader.prepare_visible(mapping, visible_timeout) for reader in check.readers))
        await _share_limits(check)
        for reader in check.readers:
            mapper.budget.know(await reader.run(reader.destination.vector_kinds))
        ids = list(dict.fromkeys(await source.collections() if collections is None else collections))
        unlisted = 0
        for collection in ids:
            job = _CollectionCheck(check, collection)
            verification.collections[safe_id(collection)] = await job.run(sample, source_sample, distrust=repair)
            unlisted = unlisted + 1 if job.failure and not is_of_one_collection(job.failure) else 0
            if job.failure and unlisted == LISTS_MISSED_WHEN_DOWN:
                raise job.failure
        if collections is None:
            missing = source.not_found.items()
            verification.collections.update({safe_id(name): CollectionReport(error=why) for name, why in missing})
            verification.collections.update(await report_gone(check, ids))
            await report_unrecorded(check, ids, verification.collections)
    finally:
        for reader in check.readers:
            reader.close()
    wrong = _to_repair(verification)
    if repair and wrong != []:
        verification.repair = await sync(
            source,
            destinations,
            SyncOptions(collections=wrong, full=True, reread=reread),
            name=name,
            mapping=mapping,
            batch=batch,
            limits=limits,
            deletes=deletes,
        )
    verification.seconds = time.monotonic() - started
    return verification


async def _share_limits(check: Check) -> None:
    """As a sync does, where whoever checks may borrow."""
    for reader in check.readers:
        if reader.can(Capability.ALLOWANCE) and (allowance := await reader.run(reader.destination.reading_allowance)):
            check.source.share(allowance)
            return


def _to_repair(verification: Verification) -> Sequence[str] | None:
    """The collections to sync; all (None) where one is gone, because only a run of all settles that. None of those that
    no book names: a sync does not know of them."""
    reports = verification.collections.items()
    wrong = {name: report for name, report in reports if report.is_mendable and not report.error}
    return None if any(report.gone for report in wrong.values()) else list(wrong)


class _CollectionCheck:
    """Checks one collection, and remembers what a repair has to do."""

    def __init__(self, check: Check, collection: str) -> None:
        self._check = check
        self._collection = collection
        self.failure: VectorferryError | None = None
        self._report = CollectionReport()
        self._wrong: dict[str, list[Discrepancy]] = defaultdict(list)
        self._mappings = EarlierMappings()

    async def run(self, sample: int | None, source_sample: int, *, distrust: bool) -> CollectionReport:
        """Compare; let the destinations distrust what was found, if they are to."""
        self._mappings = await earlier_mappings(self._check, self._collection)
        self._report.notes += self._mappings.notes()
        for reader in self._check.readers:
            async for page in reader.discrepancies(self._collection, sample):
                self._add(Finding(reader.name, "ledger", record) for record in page)
        await self._compare_with_source(Sample(source_sample))
        await self._compare_with_each_other()
        self._report.notes += [note for reader in self._check.readers for note in reader.notes]
        if distrust:
            for reader in self._check.readers:
                await reader.distrust(self._collection, self._wrong.pop(reader.name, []))
        return self._report

    async def _compare_with_source(self, sample: Sample) -> None:
        """What the listing shows a sync repairs by itself; what only reading shows has to be read again."""
        try:
            async for finding in compare_with_source(
                self._check, self._collection, self._report, sample, self._mappings
            ):
                self._report.add(finding)
            if sample.decisions:
                contents = compare_contents(self._check, self._collection, sample, self._report.notes)
                async for finding in contents:
                    self._report.add(finding)
                    self._remember(finding.where, Discrepancy(Difference.MISSING, finding.record.asset_id))
        except (SourceError, RetryableError) as error:
            self.failure, self._report.error = error, str(error)

    async def _compare_with_each_other(self) -> None:
        """Nobody can say which of two is right: for both, the asset is read again and compared with the source."""
        first, *others = self._check.readers
        for other in others:
            async for finding in compare_digests(first, other, self._collection, self._report.notes):
                if self._mappings.explain(finding):
                    continue
                self._report.add(finding)
                again = Discrepancy(Difference.MISSING, finding.record.asset_id)
                for where in (first.name, other.name):
                    self._remember(where, again)

    def _add(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            if not self._mappings.explain(finding):
                self._report.add(finding)
                self._remember(finding.where, finding.record)

    def _remember(self, where: str, record: Discrepancy) -> None:
        if len(self._wrong[where]) < REPAIRED_AT_ONCE:
            self._wrong[where].append(record)


async def report_gone(check: Check, listed: Collection[str]) -> Mapping[str, CollectionReport]:
    """A report of each collection that is held and that the source has neither `listed` nor names in a second list, and
    its settings do not name either.

    Its assets are extra, unless the sync keeps assets. Raises what the source raises.
    """
    stored = {collection for reader in check.readers for collection in await reader.stored_collections()}
    gone = gone_of(check.source, stored, listed)
    still_gone = gone - set(await check.source.collections()) if gone else gone
    return {safe_id(each): await _report(check, each) for each in sorted(still_gone)}


async def report_unrecorded(check: Check, listed: Collection[str], reports: dict[str, CollectionReport]) -> None:
    """Add to the reports what searches find of collections that no book of their destination names, and that were not
    `listed`: all of it is extra, and nobody but the user removes it."""
    for reader in check.readers:
        unrecorded = await reader.run(reader.destination.unrecorded_collections)
        for collection in sorted(unrecorded.keys() - {*listed}):
            report = reports.setdefault(safe_id(collection), CollectionReport())
            report.unrecorded = True
            report.notes.append(f"{reader.name}: {UNRECORDED}{' '.join(unrecorded[collection])}")
            async for page in reader.discrepancies(collection, sample=0):
                for record in page:
                    report.add(Finding(reader.name, "ledger", record))


async def _report(check: Check, collection: str) -> CollectionReport:
    report = CollectionReport(gone=True, notes=[GONE])
    for reader in check.readers:
        count = 0
        async with closing(reader.asset_ids(collection)) as pages_of_ids:
            async for page in pages_of_ids:
                count += len(page)
                for asset_id in () if check.keeps else page:
                    report.add(Finding(reader.name, "source", Discrepancy(Difference.EXTRA, asset_id)))
        if check.keeps and count:
            report.notes.append(kept_note(reader.name, count))
        elif count:
            report.notes += await read_by_another(check.source, reader, collection)
    return report
