"""The promise: whatever happened before, one undisturbed run leaves what it would have left in an empty store; until
then the last good version of what is bad stays."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.connector.worlds import Crashing, ReadOnly, Scripted, asset, content, feature, incomplete
from tests.examples import examples
from vectorferry import SyncOptions
from vectorferry.connector.plugin import (
    MODALITIES,
    Asset,
    AssetState,
    BatchLimits,
    CredentialsError,
    DeleteGuard,
    DestinationError,
    Listing,
    MappedFeature,
    Modality,
    Reason,
    Rejected,
    SchemaMapping,
    SourceError,
)
from vectorferry.connector.testing import MemoryDestination, MemorySource, sync

NAMES = [f"a{number}" for number in range(8)]
EVERYTHING = DeleteGuard(max_share=1)
HIDING = DeleteGuard(max_share=1, mode="tombstone")
RETOLD = SchemaMapping.model_validate({"video": {"columns": {"said": {"path": "text"}}}})

edits = st.tuples(
    st.sampled_from(["put", "delete", "pending", "ready"]), st.sampled_from(NAMES), st.integers(1, 3), st.integers(0, 3)
)
runs = st.fixed_dictionaries(
    {
        "crash_at": st.none() | st.integers(0, 4),
        "late": st.booleans(),
        "scan_error": st.sampled_from([None, incomplete(), SourceError("gone")]),
        "deletes": st.sampled_from([EVERYTHING, HIDING]),
        "pull_error": st.sampled_from([None, None, SourceError("reset"), CredentialsError("revoked")]),
        "answers": st.dictionaries(
            st.sampled_from(NAMES), st.sampled_from(["vanished", "unreadable", "spoilt", "misfit", "halved"])
        ),
        "listed_twice": st.lists(st.sampled_from(NAMES), max_size=2),
        "mapping": st.sampled_from([SchemaMapping(), RETOLD]),
        "modalities": st.sampled_from([frozenset(MODALITIES), frozenset({Modality.VIDEO})]),
    }
)
histories = st.lists(edits | runs, max_size=25)


def edit(source: MemorySource, kind: str, name: str, version: int, features: int) -> None:
    held = source.assets["c"]
    if kind == "put":
        parts = [("video", "image")[number % 2] for number in range(features)]
        described = [feature(f"f{n}", part, f"v{version}", start_time=version) for n, part in enumerate(parts)]
        held[name] = asset(name, 10 * version + features, described)
    elif kind == "delete":
        held.pop(name, None)
    else:
        source.states[name] = AssetState(kind)


def answer(source: MemorySource, name: str, kind: str) -> Asset | Rejected | None:
    """What a read of this asset gives in place of what it is."""
    if kind == "vanished":
        return None
    if kind == "unreadable" or name not in source.assets["c"]:
        return Rejected(name, Reason.UNREADABLE, "no answer")
    if kind == "halved":
        whole = Rejected(name, Reason.MALFORMED, "no feature", "f0", "video")
        return replace(asset(name, 97, [feature("f1", "image", "stale")]), rejected=(whole,))
    if kind == "misfit":
        return asset(name, 98, [feature("f0", start_time="soon")])
    spoilt = feature("f0", vectors={"multimodal-v1": np.array([np.nan, 1, 1], dtype=np.float32)})
    return asset(name, 99, [spoilt, feature("f1", "image", "stale")])


def stored(store: MemoryDestination) -> dict[tuple[str, str], MappedFeature]:
    """Every feature that is shown, by asset and feature."""
    assets = store.assets.get("c", {})
    return {(asset_id, part.feature_id): part for asset_id, held in assets.items() for part in held.features}


def check_kept(before: dict[tuple[str, str], MappedFeature], store: MemoryDestination) -> None:
    """Of nothing that is in quarantine has been lost what there was."""
    after = stored(store)
    for record in store.quarantine.get("c", {}).values():
        old, new = (each.get((record.asset_id, record.feature_id)) for each in (before, after))
        if record.asset_id in store.assets.get("c", {}) and old and old.modality == record.modality:
            assert new
            if record.column:
                assert new.columns.get(record.column) == old.columns.get(record.column)
            elif not record.vector_name or record.vector_name in old.vectors:
                assert record.kept
                assert record.vector_name in {"", *new.vectors}


async def disturbed_run(source: Scripted, store: Crashing, how: dict[str, Any]) -> None:
    before = stored(store)
    store.arm(how["crash_at"], late=how["late"])
    source.scan_error, source.pull_error = how["scan_error"], how["pull_error"]
    source.instead = {name: answer(source, name, kind) for name, kind in how["answers"].items()}
    held = source.assets["c"]
    source.listed_last = [Listing(name, held[name].fingerprint) for name in how["listed_twice"] if name in held]
    with suppress(DestinationError, SourceError, CredentialsError):
        await sync(
            source,
            [store],
            SyncOptions(modalities=how["modalities"]),
            name="m",
            mapping=how["mapping"],
            batch=BatchLimits(rows=3),
            deletes=how["deletes"],
        )
    store.arm(None, late=False)
    source.scan_error = source.pull_error = None
    source.instead, source.listed_last = {}, ()
    check_kept(before, store)


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
    assert store.status().quarantined == 0
    untouched = ReadOnly()
    untouched.assets, untouched.ledger = store.assets, store.ledger
    await sync(source, [untouched], name="m")


@settings(max_examples=examples(12, 500), deadline=None)
@given(histories)
def test_an_undisturbed_run_mends_any_history(history: list[Any]) -> None:
    asyncio.run(replay(history))
