"""What a sync would do: a sync that reads no asset and writes nothing, and estimates made of what is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import environ as process_environ

from vectorferry.connector._config._settings import DeleteGuard, IncrementalScans, SyncSettings
from vectorferry.connector._engine._mapper import Mapper
from vectorferry.connector._engine._opening import run_opened
from vectorferry.connector._engine.plan._dry import DryDestination, DrySource, Reads
from vectorferry.connector._engine.sync._dimensions import dimension_notes
from vectorferry.connector._engine.sync._guard import refusal, refusal_of_rows
from vectorferry.connector._engine.sync._options import DEFAULTS, SyncOptions
from vectorferry.connector._engine.sync._origins import guard_for
from vectorferry.connector._engine.sync._run import sync
from vectorferry.connector._model._limits import SourceLimits
from vectorferry.connector._model._mapping import SchemaMapping
from vectorferry.connector._model._records import ALL_MODALITIES
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import Averages, Destination
from vectorferry.connector._protocols._source import Source, SourceSettings, Usage
from vectorferry.connector._reports._plan import (
    CollectionPlan,
    DeletePlan,
    DestinationPlan,
    Plan,
    ReadEstimate,
    WriteEstimate,
)
from vectorferry.connector._reports._progress import ProgressCallback
from vectorferry.connector._reports._summary import (
    CollectionSummary,
    DestinationSummary,
    RelatedSummary,
    Summary,
)


def run_plan(
    settings: SyncSettings,
    options: SyncOptions = DEFAULTS,
    *,
    environ: Mapping[str, str] = process_environ,
    progress: ProgressCallback | None = None,
) -> Plan:
    """Plan a sync as its settings describe it: resolve ``${NAME}``, open, `plan`, and close whatever happens.

    Raises what `plan` raises, and `ConfigurationError` for a variable that is not set.
    """

    async def work(resolved: SyncSettings, source: Source, destinations: Sequence[Destination]) -> Plan:
        return await plan(
            source,
            destinations,
            options.with_turns_of(resolved.source.reread_days),
            name=resolved.name,
            mapping=resolved.modalities,
            limits=resolved.limits,
            deletes=resolved.deletes,
            incremental=resolved.incremental,
            rate=Rate.of(resolved.source),
            progress=progress,
        )

    return run_opened(settings, environ, work)


async def plan(  # noqa: PLR0913 - one parameter per part of the settings
    source: Source,
    destinations: Sequence[Destination],
    options: SyncOptions = DEFAULTS,
    *,
    name: str,
    mapping: SchemaMapping | None = None,
    limits: SourceLimits | None = None,
    deletes: DeleteGuard | None = None,
    incremental: IncrementalScans | None = None,
    rate: Rate | None = None,
    progress: ProgressCallback | None = None,
) -> Plan:
    """What `sync` with these arguments would do. The source is listed; nothing is read and nothing is written.

    A collection or destination that cannot be asked is named in the plan while others can. Raises what `sync` would
    raise, and `ConfigurationError` for a destination that cannot be planned for.
    """
    for destination in destinations:
        Capability.PLAN.check(destination.capabilities, destination.name)
    dry = [DryDestination(destination) for destination in destinations]
    reader, guard = DrySource(source, dry, limits), deletes or DeleteGuard()
    summary = await sync(
        reader,
        dry,
        options,
        name=name,
        mapping=mapping,
        deletes=guard.allowing(1),  # what is missing is counted, whatever the guard would say
        incremental=incremental,
        progress=progress,
    )
    if summary.limit:
        raise summary.limit
    budget = Mapper(mapping or SchemaMapping(), ALL_MODALITIES, limits).budget
    for destination in dry:
        budget.know(destination.outlook.vector_kinds)
    return _Plans(summary, reader, dry, guard, mapping or SchemaMapping(), [*budget.exhausted()]).build(rate or Rate())


@dataclass(frozen=True, slots=True)
class _Plans:
    """The parts of a plan, from the summary of the dry sync and from what its ends have counted."""

    summary: Summary
    source: DrySource
    destinations: Sequence[DryDestination]
    guard: DeleteGuard
    mapping: SchemaMapping
    exhausted: Sequence[str]
    """What of the source's budget is used up."""

    def build(self, rate: Rate) -> Plan:
        """The plan, in the order in which its collections were listed."""
        collections = {name: self._collection(name, summary) for name, summary in self.summary.collections.items()}
        destinations = {
            each.name: self._destination(each, self.summary.destinations[each.name], collections)
            for each in self.destinations
        }
        averages = [each.outlook.averages for each in self.destinations]
        reads = sum_up(map(self.source.reads, collections))
        estimate = estimate_reads(self.source, self.summary.usage, reads, averages, rate)
        return Plan(self.summary.sync, collections, destinations, estimate, self._related())

    def _collection(self, name: str, summary: CollectionSummary) -> CollectionPlan:
        reads = self.source.reads(name)
        looked_for = self.destinations if summary.complete and summary.scan == "full" else ()
        return CollectionPlan(
            listed=summary.listed,
            unchanged=summary.unchanged,
            to_pull=summary.pulled,
            new=reads.new,
            changed=reads.changed,
            reread=summary.reread,
            over_limit=reads.over_limit,
            pending=tuple(summary.pending),
            failed=tuple(summary.failed),
            pending_count=summary.pending_count,
            failed_count=summary.failed_count,
            complete=summary.complete,
            deletes={each.name: self._deletes(each, name, summary) for each in looked_for},
            scan=summary.scan,
            why_full=summary.why_full,
            gone=summary.gone,
            note=summary.note,
            error=summary.error,
        )

    def _deletes(self, destination: DryDestination, name: str, summary: CollectionSummary) -> DeletePlan:
        book = destination.book(name)
        missing = summary.kept.get(destination.name, len(book.gone))
        mode = self.guard.mode if destination.hides or self.guard.mode == "keep" else "prune"
        guard = guard_for(self.guard.of(name), summary.origin_changes.get(destination.name, ()))
        why = refusal(guard, book.assets, missing, summary.listed, gone=name if summary.gone else "")
        return DeletePlan(book.assets, missing, mode, why)

    def _related(self) -> Mapping[str, RelatedSummary]:
        """As the dry sync tells, and refused where the guard would not let rows go."""
        for summary in self.summary.related.values():
            for name, counts in summary.destinations.items() if summary.complete else ():
                guard = guard_for(self.guard, summary.origin_changes.get(name, ()))
                held = counts.updated + counts.unchanged + counts.deleted
                if why := refusal_of_rows(guard, held, counts.deleted, summary.listed):
                    summary.refuse(f"{name}: nothing would be deleted: {why}")
        return self.summary.related

    def _destination(
        self, destination: DryDestination, summary: DestinationSummary, collections: Mapping[str, CollectionPlan]
    ) -> DestinationPlan:
        outlook, assets = destination.outlook, summary.applied.assets
        books = {name: destination.book(name) for name in collections}
        features = sum(book.features for book in books.values())
        return DestinationPlan(
            new=assets.inserted,
            changed=assets.updated,
            unchanged=assets.unchanged,
            deleted=sum(book.deleted for name, book in books.items() if not collections[name].refused),
            writes=estimate_writes(assets.inserted, features, outlook.averages),
            statements=outlook.statements,
            indexes=outlook.indexes,
            notes=[
                *outlook.notes,
                *dimension_notes(outlook.vector_counts, self.mapping),
                *self.exhausted,
                *self.summary.advice,
            ],
            error=summary.error,
            refusal=outlook.refusal,
            index_advice=outlook.index_advice,
        )


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a source may be asked: requests per minute (None: no limit), those of each kind that has a limit of its
    own (``list`` and ``read`` count here), and how many at the same time."""

    requests_per_minute: int | None = None
    concurrency: int = 1
    kinds: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: SourceSettings) -> Rate:
        """As the settings say, where they do: a plug-in need not have these."""
        return cls(
            getattr(settings, "requests_per_minute", None),
            getattr(settings, "concurrency", 1),
            getattr(settings, "requests_per_minute_by_kind", {}),
        )

    def seconds(self, listing: int, listing_seconds: float, reading: int) -> float:
        """Listings come one after the other, as long as they took; reads take as long each, side by side."""
        each = listing_seconds / listing if listing else 0.0
        at_full_speed = listing_seconds + reading * each / self.concurrency
        limited = [
            (listing + reading, self.requests_per_minute),
            (listing, self.kinds.get("list")),
            (reading, self.kinds.get("read")),
        ]
        return max([at_full_speed, *(60 * requests / limit for requests, limit in limited if limit)])


def sum_up(reads: Iterable[Reads]) -> Reads:
    """Those of all collections."""
    total = Reads()
    for each in reads:
        total.new += each.new
        total.changed += each.changed
        total.features += each.features
    return total


def estimate_reads(
    source: DrySource, usage: Usage, reads: Reads, averages: Sequence[Averages | None], rate: Rate
) -> ReadEstimate:
    """What listing has cost, and reading would; `averages` are those of every destination."""
    listing = usage.requests - usage.retries
    features = _features(reads.new, reads.features, next(filter(None, averages), None))
    assets = reads.new + reads.changed
    reading = 0 if not assets else None if features is None else source.requests_to_read(assets, features)
    seconds = None if reading is None else round(rate.seconds(listing, source.listing_seconds, reading), 1)
    return ReadEstimate(listing, reading, features, seconds)


def estimate_writes(new: int, features: int, averages: Averages | None) -> WriteEstimate:
    """What would be sent: new assets, and others that have so many features now."""
    expected = _features(new, features, averages)
    if expected == 0:
        return WriteEstimate(0, 0, 0)
    if expected is None or averages is None:
        return WriteEstimate(expected, None, None)
    return WriteEstimate(
        expected, round(expected * averages.rows_per_feature), round(expected * averages.bytes_per_feature)
    )


def _features(new: int, features: int, averages: Averages | None) -> int | None:
    if not new:
        return features
    return None if averages is None else features + round(new * averages.features_per_asset)
