"""Whatever is applied, removed and cut short: after one more run the store holds what the source does, no more."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vectorferry.connector.plugin import MappedAsset, MappedFeature, SchemaMapping
from vectorferry.connector.sandbox import Sandbox
from vectorferry.destinations import PineconeDestination
from vectorferry.destinations.pinecone._batch import Dispatch

from ...builders import asset, batch, dense, feature
from ...examples import examples
from ...pinecone import pinecone_destination
from .histories import Killed, content, features

KILLED = ("start", "begin", "enter", "results", "results again", "confirm")
"""The steps of a batch: nothing yet, journal, the manifest's rows, upserts and updates, deletes, manifest. A killed one
has been done."""


@dataclass(frozen=True)
class Step:
    """Apply this asset or remove it, and be killed after one of the steps, or not at all."""

    asset: MappedAsset
    remove: bool
    killed: str | None


FEATURES = features(
    st.dictionaries(st.sampled_from(["model", "other"]), st.sampled_from([dense(1), dense(2), dense(1, dimension=4)]))
)
STEPS = st.builds(
    Step,
    st.builds(
        lambda name, features: asset(name, *features, fingerprint=content(features)),
        st.sampled_from(["a", "b"]),
        FEATURES,
    ),
    st.booleans(),
    st.one_of(st.none(), st.sampled_from(KILLED)),
)


def carry_out(destination: PineconeDestination, step: Step) -> None:
    if step.remove:
        destination.remove("ads", [step.asset.asset_id])
    else:
        destination.apply(batch(step.asset))


def kill_after(destination: PineconeDestination, place: str, patches: pytest.MonkeyPatch) -> None:
    """Let the destination die once it has done this step."""
    name, again = place.split(maxsplit=1)[0], "again" in place
    part = Dispatch if name == "results" else destination._manifest
    done = getattr(part, name)
    calls = count(0 if again else 1)

    def last(*arguments: Any) -> Any:
        answer = done(*arguments)
        if next(calls):
            raise Killed
        return answer

    patches.setattr(part, name, last)


def stored(sandbox: Sandbox, prefix: str) -> Mapping[tuple[str, str], tuple[list[float], str, str, str | None]]:
    """By index and record id: numbers, modality, text and author."""
    return {
        (index.removeprefix(prefix), record_id): (
            [*map(float, record["values"])],
            record["metadata"]["modality"],
            record["metadata"]["text"],
            record["metadata"].get("metadata.author"),
        )
        for index in sandbox.pinecone.indexes()
        if index.startswith(prefix)
        for record_id, record in sandbox.pinecone.records(index, "ads").items()
    }


def expected(assets: Mapping[str, MappedAsset]) -> Mapping[tuple[str, str], tuple[list[float], str, str, str | None]]:
    return {
        (f"-{name}-{len(vector)}", f"{one.asset_id}#{each.feature_id}"): (
            vector.tolist(),
            each.modality.value,
            each.columns["text"],
            each.metadata.get("author"),
        )
        for one in assets.values()
        for each in one.features
        for name, vector in each.vectors.items()
        if isinstance(vector, np.ndarray)
    }


OLD = [feature("f1", {"model": dense(1)}, metadata={"author": "ada"}, text="old")]
PLAIN = [feature("f1", {"model": dense(1)}, text="old")]
NEW = [feature("f1", {"model": dense(2)}, text="new"), feature("f2", {"model": dense(2)}, text="new")]


def step(*features: MappedFeature, remove: bool = False, killed: str | None = None) -> Step:
    return Step(asset("a", *features, fingerprint=content(features)), remove, killed)


@example(steps=[step(*OLD), step(*NEW, killed="results"), step(*OLD, killed="start")])
@example(steps=[step(*OLD), step(remove=True, killed="results"), step(*OLD, killed="start")])
@example(steps=[step(*NEW, killed="results"), step(remove=True, killed="start")])
@example(
    steps=[
        step(feature("f1", {"model": dense(1)}, text="old")),
        step(*OLD),
        step(feature("f1", {"model": dense(1)}, text="old")),
    ]
)
@settings(max_examples=examples(1, 40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(STEPS, min_size=1, max_size=5))
def test_the_store_holds_the_last_word_whatever_was_cut_short(
    crowded: Sandbox, postgres_url: str, steps: list[Step]
) -> None:
    prefix = f"h-{uuid.uuid4().hex[:12]}"

    def opened() -> AbstractContextManager[PineconeDestination]:
        return closing(pinecone_destination(crowded, postgres_url, prefix.replace("-", "_"), index_prefix=prefix))

    source: dict[str, MappedAsset] = {}
    for step in steps:
        source = changed(source, step)
        with opened() as destination, suppress(Killed), pytest.MonkeyPatch.context() as patches:
            destination.prepare(SchemaMapping())
            if step.killed == "start":
                continue
            if step.killed:
                kill_after(destination, step.killed, patches)
            carry_out(destination, step)
    with opened() as destination:
        destination.prepare(SchemaMapping())
        run(destination, source)
        assert stored(crowded, prefix) == expected(source)
        assert destination.known("ads", ["a", "b"]).keys() == source.keys()
        requests = destination.delivered().requests
        for one in source.values():
            destination.apply(batch(one))
        assert destination.delivered().requests == requests


def changed(source: Mapping[str, MappedAsset], step: Step) -> dict[str, MappedAsset]:
    """What the source holds when a step begins: it has changed whether or not the step is cut short."""
    others = {name: one for name, one in source.items() if name != step.asset.asset_id}
    return others if step.remove else {**others, step.asset.asset_id: step.asset}


def run(destination: PineconeDestination, source: Mapping[str, MappedAsset]) -> None:
    """What a sync does: apply what the ledger does not hold as it is, and remove what is gone."""
    known = destination.known("ads", ["a", "b"])
    for name, one in source.items():
        if name not in known or known[name].fingerprint != one.fingerprint:
            destination.apply(batch(one))
    for asset_id in [*destination.asset_ids("ads")]:
        if asset_id not in source:
            destination.remove("ads", [asset_id])
