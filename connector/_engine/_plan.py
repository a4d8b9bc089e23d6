"""What a sync would do: a sync that reads no asset and writes nothing, and estimates made of what it counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import environ as process_environ

from vectorferry.connector._cancellation import run_cancellable
from vectorferry.connector._config import resolve
from vectorferry.connector._destination import Destination
from vectorferry.connector._engine._diff import NEVER, Reread
from vectorferry.connector._engine._dimensions import dimension_notes
from vectorferry.connector._engine._guard import refusal, refusal_of_rows
from vectorferry.connector._engine._opening import open_destinations, open_source
from vectorferry.connector._engine._origins import guard_for
from vectorferry.connector._engine._plan_dry import DryDestination, PlannableDestination, dry_destination
from vectorferry.connector._engine._plan_dry_source import DrySource, dry_source
from vectorferry.connector._engine._plan_estimates import Rate, estimate_reads, estimate_writes, sum_up
from vectorferry.connector._engine._progress import ProgressCallback
from vectorferry.connector._engine._run import sync
from vectorferry.connector._errors import ConfigurationError
from vectorferry.connector._mapping import SchemaMapping
from vectorferry.connector._plan import CollectionPlan, DeletePlan, DestinationPlan, Plan
from vectorferry.connector._planned import Plannable
from vectorferry.connector._settings import DeleteGuard, IncrementalScans, SyncSettings
from vectorferry.connector._source import Source
from vectorferry.connector._summary import CollectionSummary, DestinationSummary, RelatedSummary, Summary

__all__ = ["plan", "run_plan"]


async def plan(  # noqa: PLR0913 - every choice that a run leaves open
    source: Source,
    destinations: Sequence[Destination],
    *,
    name: str,
    mapping: SchemaMapping | None = None,
    collections: Sequence[str] | None = None,
    deletes: DeleteGuard | None = None,
    incremental: IncrementalScans | None = None,
    full: bool = False,
    rate: Rate | None = None,
    progress: ProgressCallback | None = None,
    reread: Reread = NEVER,
) -> Plan:
    """What `sync` with these arguments would do. The source is listed; nothing is read and nothing is written.

    A collection or destination that cannot be asked is named in the plan while others can. Raises what `sync` would
    raise, and `ConfigurationError` for a destination that cannot be planned for.
    """
    dry = [dry_destination(_plannable(destination)) for destination in destinations]
    reader, guard = dry_source(source, dry), deletes or DeleteGuard()
    summary = await sync(
        reader,
        dry,
        name=name,
        mapping=mapping,
        collections=collections,
        deletes=guard.allowing(1),  # what is missing is counted, whatever the guard would say
        incremental=incremental,
        full=full,
        progress=progress,
        reread=reread,
    )
    if summary.limit:
        raise summary.limit
    return _Plans(summary, reader, dry, guard, mapping or SchemaMapping()).made(rate or Rate())


def run_plan(
    settings: SyncSettings,
    *,
    collections: Sequence[str] | None = None,
    environ: Mapping[str, str] = process_environ,
    progress: ProgressCallback | None = None,
    full: bool = False,
) -> Plan:
    """Plan a sync as its settings describe it: resolve ``${NAME}``, open, `plan`, and close whatever happens.

    Raises what `plan` raises, and `ConfigurationError` for a variable that is not set.
    """
    resolved = resolve(settings, environ)
    with open_destinations(resolved) as destinations:
        return run_cancellable(_opened(resolved, destinations, collections, progress, full))


async def _opened(
    settings: SyncSettings,
    destinations: Sequence[Destination],
    collections: Sequence[str] | None,
    progress: ProgressCallback | None,
    full: bool,
) -> Plan:
    async with open_source(settings) as source:
        return await plan(
            source,
            destinations,
            name=settings.name,
            mapping=settings.modalities,
            collections=collections,
            deletes=settings.deletes,
            incremental=settings.incremental,
            full=full,
            rate=Rate.of(settings.source),
            progress=progress,
            reread=Reread(settings.source.reread_days),
        )


def _plannable(destination: Destination) -> PlannableDestination:
    if not isinstance(destination, Plannable):
        raise ConfigurationError(f"{destination.name}: this destination cannot say beforehand what a sync would do")
    return destination


@dataclass(frozen=True, slots=True)
class _Plans:
    """The parts of a plan, from the summary of the dry sync and from what its ends have counted."""

    summary: Summary
    source: DrySource
    destinations: Sequence[DryDestination]
    guard: DeleteGuard
    mapping: SchemaMapping

    def made(self, rate: Rate) -> Plan:
        """All of it."""
        collections = {name: self._collection(name, seen) for name, seen in self.summary.collections.items()}
        destinations = {
            each.name: self._destination(each, self.summary.destinations[each.name], collections)
            for each in self.destinations
        }
        averages = [each.planned.averages for each in self.destinations]
        reads = sum_up(map(self.source.reads, collections))
        estimate = estimate_reads(self.source, self.summary.usage, reads, averages, rate)
        return Plan(self.summary.sync, collections, destinations, estimate, self._related())

    def _collection(self, name: str, seen: CollectionSummary) -> CollectionPlan:
        reads = self.source.reads(name)
        looked_for = self.destinations if seen.complete and seen.scan == "full" else ()
        return CollectionPlan(
            listed=seen.listed,
            unchanged=seen.unchanged,
            to_pull=seen.pulled,
            new=reads.new,
            changed=reads.changed,
            reread=seen.reread,
            pending=tuple(seen.pending),
            failed=tuple(seen.failed),
            pending_count=seen.pending_count,
            failed_count=seen.failed_count,
            complete=seen.complete,
            deletes={each.name: self._deletes(each, name, seen) for each in looked_for},
            scan=seen.scan,
            why_full=seen.why_full,
            gone=seen.gone,
            note=seen.note,
            error=seen.error,
        )

    def _deletes(self, destination: DryDestination, name: str, seen: CollectionSummary) -> DeletePlan:
        book = destination.book(name)
        missing = seen.kept.get(destination.name, len(book.gone))
        mode = self.guard.mode if destination.hides or self.guard.mode == "keep" else "prune"
        guard = guard_for(self.guard.of(name), seen.origin_changes.get(destination.name, ()))
        why = refusal(guard, book.held, missing, seen.listed, gone=name if seen.gone else "")
        return DeletePlan(book.held, missing, mode, why)

    def _related(self) -> Mapping[str, RelatedSummary]:
        """As the dry sync tells, and refused where the guard would not let rows go."""
        for told in self.summary.related.values():
            for name, counts in told.destinations.items() if told.complete else ():
                guard = guard_for(self.guard, told.origin_changes.get(name, ()))
                held = counts.updated + counts.unchanged + counts.deleted
                if why := refusal_of_rows(guard, held, counts.deleted, told.listed):
                    told.refuse(f"{name}: nothing would be deleted: {why}")
        return self.summary.related

    def _destination(
        self, destination: DryDestination, told: DestinationSummary, collections: Mapping[str, CollectionPlan]
    ) -> DestinationPlan:
        planned, assets = destination.planned, told.applied.assets
        books = {name: destination.book(name) for name in collections}
        features = sum(book.features for book in books.values())
        return DestinationPlan(
            new=assets.inserted,
            changed=assets.updated,
            unchanged=assets.unchanged,
            deleted=sum(book.deleted for name, book in books.items() if not collections[name].refused),
            writes=estimate_writes(assets.inserted, features, planned.averages),
            statements=planned.statements,
            indexes=planned.indexes,
            notes=[*planned.notes, *dimension_notes(planned.vector_counts, self.mapping)],
            error=told.error,
            refusal=planned.refusal,
        )
