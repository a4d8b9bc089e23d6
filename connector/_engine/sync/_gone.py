"""Collections that destinations hold and the source no longer has: each is treated like one that lists no asset."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Final

from vectorferry.connector._engine.sync._changes import record_cursor
from vectorferry.connector._engine.sync._lane import call_each, locked
from vectorferry.connector._engine.sync._origins import origin_of, record_origin, since_recorded
from vectorferry.connector._engine.sync._prune import kept_assets, prune
from vectorferry.connector._engine.sync._transfer import Job
from vectorferry.connector._model._errors import GuardRefusedError, LimitReachedError, VectorferryError
from vectorferry.connector._model._seen import SeenIds
from vectorferry.connector._model._storable import safe_id
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._source import Source
from vectorferry.connector._reports._summary import CollectionSummary, Summary

GONE: Final = "the source no longer has this collection"


async def settle_gone(job: Job, summary: Summary, only: Collection[str] | None = None) -> None:
    """Remove, hide or keep what destinations hold of collections that the source lost; the summary tells of each.

    For after a run of all collections, or for `only` those that a list of them did not have. One list may be wrong by
    chance, so there is a second one before anything goes.
    """
    gone = await _gone(job, summary)
    if only is not None:
        gone &= set(only)
    if not gone:
        return
    try:
        still_gone = gone if job.guard.mode == "keep" else gone - set(await job.source.collections())
    except LimitReachedError as error:
        summary.limit = error
        return
    except VectorferryError as error:
        for collection in gone:
            summary.collections[safe_id(collection)] = CollectionSummary(gone=True, error=str(error), cause=error)
            job.finished(collection, summary)
        return
    for collection in sorted(still_gone):
        settled = summary.collections[safe_id(collection)] = CollectionSummary(gone=True)
        await _settle(replace(job, guard=job.guard.of(collection)), collection, settled)
        job.finished(collection, summary)


async def _gone(job: Job, summary: Summary) -> set[str]:
    source = job.source
    if summary.limit:
        return set()
    answers = await call_each(job.alive, lambda each: each.stored_collections(), Capability.STORED_COLLECTIONS)
    stored = {collection for answer in answers.values() for collection in answer or ()}
    synced = summary.collections.keys() - {safe_id(each) for each in source.not_found}
    return gone_of(source, stored, synced, job.guard.unguarded)


def gone_of(source: Source, stored: Iterable[str], listed: Iterable[str], allowed: Collection[str] = ()) -> set[str]:
    """The collections that are stored and that the source has neither just `listed` nor has any more.

    One that its settings name stays until they don't, or until it is `allowed` to go. For after a list that may be
    wrong by chance: what is in a second one is not gone.
    """
    expected = {*listed, *(each for each in source.not_found if each not in allowed)}
    return {each for each in set(stored) - expected if source.is_gone(each)}


async def _settle(job: Job, collection: str, summary: CollectionSummary) -> None:
    for lane in job.lanes:
        lane.begin(collection)
    try:
        async with locked(job.alive, collection, job.options.lock_wait) as locked_out:
            summary.error = locked_out
            await _empty(job, collection, summary)
    except GuardRefusedError as error:
        summary.refused = True
        summary.note = str(error)
    except VectorferryError as error:
        summary.cause = error
        summary.error = str(error)
    finally:
        for lane in job.lanes:
            lane.rejoin()


async def _empty(job: Job, collection: str, summary: CollectionSummary) -> None:
    summary.complete = True
    if job.guard.mode == "keep":
        summary.keep(await kept_assets(job.alive, collection, SeenIds()))
    else:
        changes = await since_recorded(job.alive, collection, await origin_of(job.source, collection))
        summary.origin_changes.update(changes)
        await prune(job.alive, collection, SeenIds(), job.guard, gone=safe_id(collection), changes=changes)
        await record_cursor(job.alive, collection, None)
        await record_origin(job.alive, collection, None)
    summary.note = "; ".join(filter(None, (GONE, summary.note)))
