"""Collections that destinations hold and the source no longer has: each is treated like one that lists no asset."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from vectorferry.connector._engine.sync._changes import record_cursor
from vectorferry.connector._engine.sync._collection import Job
from vectorferry.connector._engine.sync._locking import locked
from vectorferry.connector._engine.sync._origins import origin_of, record_origin, since_recorded
from vectorferry.connector._engine.sync._prune import kept, prune
from vectorferry.connector._model._errors import GuardRefusedError, LimitReachedError, VectorferryError
from vectorferry.connector._model._seen import SeenIds
from vectorferry.connector._model._storable import safe_id
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._reports._summary import CollectionSummary, Summary

__all__ = ["GONE", "settle_gone"]


GONE: Final = "the source no longer has this collection"


async def settle_gone(job: Job, summary: Summary) -> None:
    """Remove, hide or keep what destinations hold of collections that the source lost; the summary tells of each.

    For after a run of all collections. One list of them may be wrong by chance, so there is a second one before
    anything goes.
    """
    gone = await _gone(job, summary)
    if not gone:
        return
    try:
        still_gone = gone if job.guard.mode == "keep" else gone - set(await job.source.collections())
    except LimitReachedError as error:
        summary.limit = error
        return
    except VectorferryError as error:
        for collection in gone:
            summary.collections[safe_id(collection)] = CollectionSummary(gone=True, error=str(error))
        return
    for collection in sorted(still_gone):
        told = summary.collections[safe_id(collection)] = CollectionSummary(gone=True)
        await _settle(replace(job, guard=job.guard.of(collection)), collection, told)


async def _gone(job: Job, summary: Summary) -> set[str]:
    source = job.source
    if summary.limit:
        return set()
    lanes = [lane for lane in job.alive if lane.can(Capability.STORED_COLLECTIONS)]
    held = await asyncio.gather(*(lane.call(lane.destination.stored_collections) for lane in lanes))
    stored = {collection for each in held for collection in each or ()}
    # One that the settings name stays until they don't, or until it is allowed to go.
    named = {each for each in source.not_found if each not in job.guard.unguarded}
    synced = summary.collections.keys() - {safe_id(each) for each in source.not_found}
    return {each for each in stored - named if safe_id(each) not in synced and source.is_gone(each)}


async def _settle(job: Job, collection: str, told: CollectionSummary) -> None:
    for lane in job.lanes:
        lane.begin(collection)
    try:
        async with locked(job.alive, collection, job.options.lock_wait) as locked_out:
            told.error = locked_out
            await _empty(job, collection, told)
    except GuardRefusedError as error:
        told.refused = True
        told.note = str(error)
    except VectorferryError as error:
        told.error = str(error)
    finally:
        for lane in job.lanes:
            lane.rejoin()


async def _empty(job: Job, collection: str, told: CollectionSummary) -> None:
    told.complete = True
    if job.guard.mode == "keep":
        told.keep(await kept(job.alive, collection, SeenIds()))
    else:
        changes = await since_recorded(job.alive, collection, await origin_of(job.source, collection))
        told.origin_changes.update(changes)
        await prune(job.alive, collection, SeenIds(), job.guard, gone=safe_id(collection), changes=changes)
        await record_cursor(job.alive, collection, None)
        await record_origin(job.alive, collection, None)
    told.note = "; ".join(filter(None, (GONE, told.note)))
