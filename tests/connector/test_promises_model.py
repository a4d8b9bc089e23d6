"""Whatever happens, in any order, to two collections and two destinations: no run deletes by mistake, one that says
that all went well has left nothing behind, and plans announce what the last runs do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import ExitStack, suppress
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.connector.changing import Changing
from tests.connector.test_changes_model import OTHER_MAPPING
from tests.connector.worlds import Crashing, asset, content, feature, incomplete
from tests.examples import examples
from vectorferry import Summary, SyncOptions
from vectorferry.connector.plugin import (
    MODALITIES,
    Asset,
    AssetState,
    BatchLimits,
    DeleteGuard,
    DestinationError,
    IncrementalScans,
    LimitReachedError,
    Listing,
    Modality,
    Reason,
    Rejected,
    SchemaMapping,
    SourceError,
)
from vectorferry.connector.testing import MemoryDestination, plan, refill, sync, verify

NAMES: Final = [f"a{number}" for number in range(5)]
ALL: Final = frozenset(MODALITIES)
EVERYTHING: Final = DeleteGuard(max_share=1)
RARELY: Final = IncrementalScans(full_every=100)

edits = st.tuples(
    st.sampled_from(["put", "put", "put", "delete", "pending", "failed", "ready", "drop", "make"]),
    st.sampled_from("cd"),
    st.sampled_from(NAMES),
    st.integers(1, 3),
    st.booleans(),
)
runs = st.fixed_dictionaries(
    {
        "full": st.sampled_from([False, False, False, True]),
        "crash_at": st.none() | st.integers(0, 4),
        "crashes": st.integers(0, 1),
        "late": st.booleans(),
        "requests": st.none() | st.integers(0, 12),
        "lists_too_few": st.booleans(),
        "scan_error": st.sampled_from([None] * 3 + [incomplete(), incomplete(unknowable=True), SourceError("503")]),
        "unreadable": st.sets(st.sampled_from(NAMES), max_size=1),
        "mapping": st.sampled_from([SchemaMapping()] * 3 + [OTHER_MAPPING]),
        "modalities": st.sampled_from([ALL] * 3 + [frozenset({Modality.VIDEO})]),
        "guard": st.builds(
            DeleteGuard, mode=st.sampled_from(["prune", "tombstone", "keep"]), max_share=st.sampled_from([1, 1, 0.5])
        ),
        "only": st.sampled_from([None] * 3 + [["c"], ["d"], ["d", "c"]]),
        "locked": st.sampled_from([None] * 3 + [(0, "c"), (1, "d")]),
        "into": st.sampled_from([(0, 1), (0, 1), (1, 0), (0,), (1,)]),
        "full_every": st.integers(2, 5),
    }
)
histories = st.lists(edits | runs | st.sampled_from(["damage and repair", "replay", "refill"]), max_size=30)


class World(Changing):
    """Collections come and go, the first list of them may lack one, and requests may be counted."""

    requests: int | None = None
    lists_too_few = False

    async def collections(self) -> Sequence[str]:
        self._ask()
        lacking, self.lists_too_few = self.lists_too_few, False
        return [name for name in self.assets if not (lacking and name == "d")]

    async def _scan(self, collection: str, since: str | None) -> AsyncIterator[Listing]:
        self._ask()
        if collection not in self.assets:
            raise SourceError(f"{collection}: 404")
        async for listing in super()._scan(collection, since):
            yield listing

    async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncIterator[Asset | Rejected]:
        async for item in super().pull(collection, listings):
            self._ask()
            yield item

    def _ask(self) -> None:
        if self.requests is not None:
            if not self.requests:
                raise LimitReachedError("closed until midnight")
            self.requests -= 1

    def edit(self, kind: str, collection: str, name: str, version: int, odd: bool) -> None:
        """One of `edits`; `odd` assets have a feature that is set aside."""
        if kind == "make":
            self.assets.setdefault(collection, {})
        elif kind == "drop":
            self.assets.pop(collection, None)
        elif kind in set(AssetState):
            self.make(name, AssetState(kind))
        elif collection in self.assets and kind == "put":
            described = [feature(f"f{number}", MODALITIES[number], f"v{version}") for number in range(version)]
            twice = [feature("f0", text="twice")] if odd else []
            self.put(collection, asset(name, 2 * version + odd, [*described, *twice]))
        elif collection in self.assets:
            self.assets[collection].pop(name, None)

    def make(self, name: str, state: AssetState) -> None:
        """Let the assets of this name be in this state, and show it as a change."""
        self.states[name] = state
        for collection in [collection for collection, held in self.assets.items() if name in held]:
            self.changed(collection, name)

    def has(self) -> set[tuple[str, str]]:
        """Every asset."""
        return {(collection, name) for collection, held in self.assets.items() for name in held}


def held_by(store: MemoryDestination) -> set[tuple[str, str]]:
    return {(collection, name) for collection, held in store.assets.items() for name in held}


async def disturbed_run(source: World, every: Sequence[Crashing], how: dict[str, Any]) -> None:
    stores = [every[place] for place in how["into"]]
    before = [held_by(store) for store in stores]
    summary: Summary | None = None
    every[how["crashes"]].arm(how["crash_at"], late=how["late"])
    source.instead = {name: Rejected(name, Reason.UNREADABLE, "garbage") for name in how["unreadable"]}
    source.requests, source.lists_too_few, source.scan_error = how["requests"], how["lists_too_few"], how["scan_error"]
    with ExitStack() as held, suppress(DestinationError, SourceError, LimitReachedError):
        if how["locked"]:
            place, collection = how["locked"]
            held.enter_context(every[place].lock(collection))
        summary = await sync(
            source,
            stores,
            SyncOptions(collections=how["only"], full=how["full"], modalities=how["modalities"], lock_wait=0),
            name="m",
            mapping=how["mapping"],
            batch=BatchLimits(rows=3),
            deletes=how["guard"],
            incremental=IncrementalScans(full_every=how["full_every"]),
        )
    every[how["crashes"]].arm(None, late=False)
    source.requests, source.lists_too_few, source.scan_error, source.instead = None, False, None, {}
    for store, held_before in zip(stores, before, strict=True):
        gone = held_before - held_by(store)
        assert not gone & source.has(), "deleted by mistake"
        assert not gone or how["guard"].mode != "keep", "deleted although all is kept"
        assert {collection for collection, _ in gone} <= {*(how["only"] or "cd")}, "deleted elsewhere"
        if summary and summary.exit_code in (0, 3):
            check_success(source, store, summary, how)


def check_success(source: World, store: MemoryDestination, summary: Summary, how: dict[str, Any]) -> None:
    """What a run that calls itself one must have left."""
    deletes = how["guard"].mode != "keep"
    for collection, told in summary.collections.items():
        held, there = store.ledger.get(collection, {}), source.assets.get(collection, {})
        ready = {name for name in there if source.states.get(name, AssetState.READY) is AssetState.READY}
        assert ready <= held.keys(), "passed over"
        if deletes and told.complete and told.scan == "full":
            assert set(store.asset_ids(collection)) <= there.keys(), "stale assets"
    if deletes and how["only"] is None:
        assert set(store.stored_collections()) <= source.assets.keys(), "stale collections"


async def other_command(source: World, stores: Sequence[Crashing], what: str) -> None:
    if what == "replay":
        wrong = [(store, collection, record.asset_id) for store in stores for collection, record, _ in store.rejected()]
        for store, collection, asset_id in wrong:
            store.read_again(collection, [asset_id])
        await sync(
            source,
            stores,
            SyncOptions(collections=sorted({each for _, each, _ in wrong})),
            name="m",
            deletes=EVERYTHING,
        )
    elif what == "refill":
        await refill(stores[0], stores[1], name="m", deletes=EVERYTHING)
    else:
        for held in (held for store in stores for held in store.assets.values() if held):
            del held[min(held)]
        found = await verify(source, stores, name="m", sample=None, repair=True, deletes=EVERYTHING)
        if found.exit_code == 0 and set(source.states.values()) <= {AssetState.READY}:
            assert (await verify(source, stores, name="m", sample=None)).in_step


async def last_run(source: World, stores: Sequence[MemoryDestination], *, full: bool) -> Summary:
    told = await plan(source, stores, SyncOptions(full=full), name="m", deletes=EVERYTHING, incremental=RARELY)
    done = await sync(source, stores, SyncOptions(full=full), name="m", deletes=EVERYTHING, incremental=RARELY)
    assert told.collections.keys() == done.collections.keys()
    for name, seen in done.collections.items():
        planned = told.collections[name]
        assert (planned.scan, planned.why_full, planned.listed) == (seen.scan, seen.why_full, seen.listed)
        read = seen.pulled - seen.second_looks  # what no plan can know
        assert (planned.to_pull, planned.gone, planned.refused) == (read, seen.gone, seen.refused)
    for name, written in done.destinations.items():
        assert told.destinations[name].deleted == written.applied.assets.deleted
    return done


def everything(store: MemoryDestination) -> tuple[Any, ...]:
    books = [{name: held for name, held in book.items() if held} for book in (store.ledger, store.quarantine)]
    return content(store), *books, store.stored_collections()


async def replay(history: list[Any]) -> None:
    source, stores, right = World({"c": [], "d": []}), [Crashing("one"), Crashing("other")], MemoryDestination()
    for step in history:
        if isinstance(step, tuple):
            source.edit(*step)
        elif isinstance(step, dict):
            await disturbed_run(source, stores, step)
        else:
            with suppress(SourceError):
                await other_command(source, stores, step)
    for name in [*source.states]:
        source.make(name, AssetState.READY)
    await sync(source, [right], name="m")
    await last_run(source, stores, full=False)
    await last_run(source, stores, full=True)
    assert [everything(store) for store in stores] == [everything(right)] * 2
    again = await last_run(source, stores, full=False)
    assert all((seen.scan, seen.pulled) == ("incremental", 0) for seen in again.collections.values())
    assert (await verify(source, stores, name="m", sample=None)).in_step


@settings(max_examples=examples(6, 300), deadline=None)
@given(histories)
def test_runs_keep_their_promises(history: list[Any]) -> None:
    asyncio.run(replay(history))
