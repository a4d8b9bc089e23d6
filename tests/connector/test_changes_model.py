"""Whatever happened before: an undisturbed run brings everything that is at the source, and a full one takes away what
is not. Plans announce which one it will be."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.connector.changing import OVERLAP, Changing
from tests.connector.worlds import Crashing, asset, content, incomplete
from tests.examples import examples
from vectorferry import Summary, SyncOptions
from vectorferry.connector.plugin import (
    MODALITIES,
    AssetState,
    BatchLimits,
    ColumnMapping,
    DeleteGuard,
    DestinationError,
    IncrementalScans,
    Modality,
    ModalityMapping,
    Reason,
    Rejected,
    SchemaMapping,
    SourceError,
)
from vectorferry.connector.testing import MemoryDestination, plan, sync

NAMES = [f"a{number}" for number in range(6)]
EVERYTHING = DeleteGuard(max_share=1)
OTHER_MAPPING = SchemaMapping(video=ModalityMapping(columns={"heard": ColumnMapping(path="text")}))

edits = st.tuples(
    st.sampled_from(["put", "put", "delete", "pending", "ready"]),
    st.sampled_from(NAMES),
    st.integers(1, 99),
    st.integers(0, OVERLAP),
)
runs = st.fixed_dictionaries(
    {
        "full": st.sampled_from([False, False, False, True]),
        "crash_at": st.none() | st.integers(0, 4),
        "crashes": st.integers(0, 1),
        "late": st.booleans(),
        "scan_error": st.sampled_from([None, None, incomplete(), SourceError("gone")]),
        "vanished": st.sets(st.sampled_from(NAMES), max_size=1),
        "unreadable": st.sets(st.sampled_from(NAMES), max_size=1),
        "meanwhile": st.lists(edits, max_size=3),
        "mapping": st.sampled_from([SchemaMapping()] * 3 + [OTHER_MAPPING]),
        "modalities": st.sampled_from([frozenset(MODALITIES)] * 3 + [frozenset({Modality.VIDEO})]),
        "full_every": st.integers(1, 9),
    }
)
histories = st.lists(edits | runs, max_size=30)


def edit(source: Changing, kind: str, name: str, version: int, late: int) -> None:
    held = source.assets["c"]
    if kind == "put":
        source.put("c", asset(name, version), late)
    elif kind == "delete":
        held.pop(name, None)
    else:
        source.states[name] = AssetState(kind)
        if name in held:
            source.changed("c", name, late)


async def disturbed_run(source: Changing, stores: Sequence[Crashing], how: dict[str, Any]) -> None:
    stores[how["crashes"]].arm(how["crash_at"], late=how["late"])
    source.scan_error = how["scan_error"]
    source.meanwhile = [partial(edit, source, *one) for one in how["meanwhile"]]
    source.instead = dict.fromkeys(how["vanished"]) | {
        name: Rejected(name, Reason.UNREADABLE, "garbage") for name in how["unreadable"]
    }
    try:
        await sync(
            source,
            stores,
            SyncOptions(full=how["full"], modalities=how["modalities"]),
            name="m",
            mapping=how["mapping"],
            batch=BatchLimits(rows=3),
            deletes=EVERYTHING,
            incremental=IncrementalScans(full_every=how["full_every"]),
        )
    except (DestinationError, SourceError):
        pass
    finally:
        for store in stores:
            store.arm(None, late=False)
        source.scan_error, source.instead, source.meanwhile = None, {}, []


async def undisturbed_run(source: Changing, stores: Sequence[MemoryDestination], *, full: bool = False) -> Summary:
    rarely = IncrementalScans(full_every=100)
    told = await plan(source, stores, SyncOptions(full=full), name="m", deletes=EVERYTHING, incremental=rarely)
    summary = await sync(source, stores, SyncOptions(full=full), name="m", deletes=EVERYTHING, incremental=rarely)
    planned, seen = told.collections["c"], summary.collections["c"]
    assert (planned.scan, planned.why_full, planned.listed) == (seen.scan, seen.why_full, seen.listed)
    assert planned.to_pull == seen.pulled
    return summary


async def replay(history: list[Any]) -> None:
    source, stores = Changing({"c": []}), [Crashing("one"), Crashing("other")]
    for step in history:
        if isinstance(step, tuple):
            edit(source, *step)
        else:
            await disturbed_run(source, stores, step)
    for name in [name for name, state in source.states.items() if state is not AssetState.READY]:
        edit(source, "ready", name, 0, 0)
    right = MemoryDestination()
    await sync(source, [right], name="m")
    await undisturbed_run(source, stores)
    for store in stores:
        held = content(store).get("c", {})
        assert {name: held.get(name) for name in source.assets["c"]} == content(right).get("c", {})
    await undisturbed_run(source, stores, full=True)
    for store in stores:
        assert content(store) == content(right)
        assert store.ledger.get("c", {}) == right.ledger.get("c", {})
    again = await undisturbed_run(source, stores)
    assert (again.collections["c"].scan, again.collections["c"].pulled) == ("incremental", 0)


@settings(max_examples=examples(10, 600), deadline=None)
@given(histories)
def test_an_undisturbed_run_passes_nothing_over(history: list[Any]) -> None:
    asyncio.run(replay(history))
