"""The promise: whatever happened before, one undisturbed run leaves what it would have left in an empty store."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from connector import (
    MODALITIES,
    AssetState,
    BatchLimits,
    DeleteGuard,
    DestinationError,
    MemoryDestination,
    MemorySource,
    Modality,
    SourceError,
    sync,
)
from tests.connector.worlds import Crashing, ReadOnly, Scripted, asset, content, feature, incomplete

NAMES = [f"a{number}" for number in range(8)]
EVERYTHING = DeleteGuard(max_share=1)
HIDING = DeleteGuard(max_share=1, mode="tombstone")

edits = st.tuples(
    st.sampled_from(["put", "delete", "pending", "ready"]), st.sampled_from(NAMES), st.integers(1, 3), st.integers(0, 3)
)
runs = st.fixed_dictionaries(
    {
        "crash_at": st.none() | st.integers(0, 4),
        "late": st.booleans(),
        "scan_error": st.sampled_from([None, incomplete(), SourceError("gone")]),
        "deletes": st.sampled_from([EVERYTHING, HIDING]),
        "modalities": st.sampled_from([frozenset(MODALITIES), frozenset({Modality.VIDEO})]),
    }
)
histories = st.lists(edits | runs, max_size=25)


def edit(source: MemorySource, kind: str, name: str, version: int, features: int) -> None:
    held = source.assets["c"]
    if kind == "put":
        parts = [("video", "image")[number % 2] for number in range(features)]
        described = [feature(f"f{number}", part, f"v{version}") for number, part in enumerate(parts)]
        held[name] = asset(name, 10 * version + features, described)
    elif kind == "delete":
        held.pop(name, None)
    else:
        source.states[name] = AssetState(kind)


async def disturbed_run(source: Scripted, store: Crashing, how: dict[str, Any]) -> None:
    store.arm(how["crash_at"], late=how["late"])
    source.scan_error = how["scan_error"]
    try:
        await sync(
            source, [store], name="m", modalities=how["modalities"], batch=BatchLimits(rows=3), deletes=how["deletes"]
        )
    except (DestinationError, SourceError):
        pass
    finally:
        store.arm(None, late=False)
        source.scan_error = None


async def replay(history: list[Any]) -> None:
    source, store = Scripted({"c": []}), Crashing()
    for step in history:
        if isinstance(step, tuple):
            edit(source, *step)
        else:
            await disturbed_run(source, store, step)
    source.states.clear()
    undisturbed = MemoryDestination()
    await sync(source, [store], name="m", deletes=EVERYTHING)
    await sync(source, [undisturbed], name="m")
    assert content(store) == content(undisturbed)
    assert store.ledger.get("c", {}) == undisturbed.ledger.get("c", {})
    untouched = ReadOnly()
    untouched.assets, untouched.ledger = store.assets, store.ledger
    await sync(source, [untouched], name="m")


@settings(max_examples=150, deadline=None)
@given(histories)
def test_an_undisturbed_run_mends_any_history(history: list[Any]) -> None:
    asyncio.run(replay(history))
