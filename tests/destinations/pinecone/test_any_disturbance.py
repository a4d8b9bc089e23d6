"""Whatever happens between and during runs (kills, edits, other settings, a lost manifest, deleted indexes): one more
run, and the store holds exactly what an undisturbed one would have left."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from vectorferry.connector.plugin import (
    MODALITIES,
    ConfigurationError,
    MappedAsset,
    MappedFeature,
    Modality,
    SchemaMapping,
)
from vectorferry.connector.sandbox import Sandbox
from vectorferry.destinations import PineconeDestination
from vectorferry.destinations.pinecone._batch import Dispatch
from vectorferry.destinations.pinecone._manifest import Manifest

from ...builders import asset, batch, dense, feature, sparse
from ...examples import examples
from ...pinecone import pinecone_destination
from .histories import Killed, content, features
from .store import delete_index, lose_manifest

NAMES = ("a", "b")
ALL = frozenset(MODALITIES)
KILLED_AFTER = [
    (Manifest, "begin"),
    (Manifest, "adopt"),
    (Manifest, "forget_index"),
    (Manifest, "put_index"),
    (Manifest, "enter"),
    (Manifest, "confirm"),
    (Manifest, "remove"),
    (Dispatch, "results"),
]
METRICS = ("cosine", "inner_product")


@dataclass(frozen=True)
class Config:
    """What the user has written into the file."""

    metric: str = "cosine"
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def mapping(self) -> SchemaMapping:
        each = {modality.value: {"vectors": {"model": {"metric": self.metric}}} for modality in MODALITIES}
        return SchemaMapping.model_validate(each)


CONFIGS = st.one_of(
    st.builds(
        Config,
        st.sampled_from(METRICS),
        st.sampled_from([{}, {"vectors": ["model"]}, {"vectors": ["other"]}, {"metadata": {"leave_out": ["text"]}}]),
    ),
    st.just(Config("inner_product", {"hybrid": {"model": "words"}})),
)
VECTORS = st.fixed_dictionaries(
    {},
    optional={
        "model": st.sampled_from([dense(1), dense(2), dense(1, dimension=4), dense(*[0.0] * 8)]),
        "other": st.sampled_from([dense(1), dense(2)]),
        "words": st.sampled_from([sparse({1: 0.5}), sparse({1: 0.5, 3: 1}), sparse({})]),
    },
)
ASSETS = features(VECTORS)


@dataclass(frozen=True)
class Edit:
    """The source holds other features of an asset, or (None) the asset no more."""

    name: str
    features: list[MappedFeature] | None


@dataclass(frozen=True)
class Run:
    """A sync of some modalities, killed after a number of calls of something, or not at all."""

    config: Config
    modalities: frozenset[Modality]
    killed: tuple[type, str] | None
    calls: int


@dataclass(frozen=True)
class Lost:
    """The manifest (None), or one of the indexes."""

    index: int | None


STEPS = st.lists(
    st.one_of(
        st.builds(Edit, st.sampled_from(NAMES), st.one_of(st.none(), ASSETS, ASSETS)),
        st.builds(
            Run,
            CONFIGS,
            st.sampled_from([ALL, frozenset({Modality.VIDEO}), frozenset({Modality.TEXT})]),
            st.one_of(st.none(), st.sampled_from(KILLED_AFTER)),
            st.integers(1, 4),
        ),
        st.builds(Lost, st.one_of(st.none(), st.integers(0, 3))),
    ),
    min_size=2,
    max_size=8,
)


PLAIN, DOT = Config(), Config("inner_product")
HYBRID = Config("inner_product", {"hybrid": {"model": "words"}})
FEW, SHORT = Config(settings={"vectors": ["other"]}), Config(settings={"metadata": {"leave_out": ["text"]}})
OLD = Edit("a", [feature("f1", {"model": dense(1), "other": dense(1), "words": sparse({1: 0.5})}, text="old")])
NEW = Edit("a", [feature("f1", {"model": dense(2), "words": sparse({1: 0.5})}, text="new"), feature("f2")])


def run(config: Config, killed: tuple[type, str] | None = None, calls: int = 1) -> Run:
    return Run(config, ALL, killed, calls)


class World:
    """A source, and a store that is kept in step with it."""

    def __init__(self, sandbox: Sandbox, url: str) -> None:
        self.prefix = f"d-{uuid.uuid4().hex[:12]}"
        self.schema = self.prefix.replace("-", "_")
        self.source: dict[str, MappedAsset] = {}
        self.is_refused = False
        self._sandbox = sandbox
        self._url = url

    def edit(self, change: Edit) -> None:
        self.source.pop(change.name, None)
        if change.features is not None:
            self.source[change.name] = asset(change.name, *change.features, fingerprint=content(change.features))

    def lose(self, lost: Lost) -> None:
        indexes = self.indexes()
        if lost.index is None:
            with suppress(Exception):
                lose_manifest(self._url, self.schema)
        elif indexes:
            delete_index(self._sandbox, indexes[lost.index % len(indexes)])

    def run(self, one: Run) -> None:
        with self.opened(one.config) as destination, suppress(Killed), pytest.MonkeyPatch.context() as patches:
            if one.killed:
                patches.setattr(*one.killed, killed_after(getattr(*one.killed), one.calls))
            try:
                self.sync(destination, one)
            except ConfigurationError as error:  # taken for a slip, and nothing is done
                self.is_refused = "names none of the vectors" in str(error)
                if not self.is_refused:
                    raise

    def sync(self, destination: PineconeDestination, one: Run) -> None:
        """What the engine does."""
        destination.prepare(one.config.mapping)
        known = destination.known("ads", NAMES)
        for name, each in self.source.items():
            recorded = known.get(name)
            if (
                recorded is None
                or recorded.fingerprint != each.fingerprint
                or not recorded.modalities >= one.modalities
            ):
                features = tuple(one_ for one_ in each.features if one_.modality in one.modalities)
                part = asset(name, *features, fingerprint=each.fingerprint)
                destination.apply(batch(part, modalities=[*one.modalities]))
        gone = [name for name in destination.asset_ids("ads") if name not in self.source]
        if gone:
            destination.remove("ads", gone)

    def opened(self, config: Config) -> AbstractContextManager[PineconeDestination]:
        return closing(
            pinecone_destination(self._sandbox, self._url, self.schema, index_prefix=self.prefix, **config.settings)
        )

    def indexes(self) -> list[str]:
        return [name for name in self._sandbox.pinecone.indexes() if name.startswith(self.prefix)]

    def stored(self) -> dict[str, str]:
        """What is in each index that is not empty."""
        return {
            index.removeprefix(self.prefix): self._sandbox.pinecone.digest(index, "ads")
            for index in self.indexes()
            if self._sandbox.pinecone.records(index, "ads")
        }


def killed_after(work: Callable[..., Any], calls: int) -> Callable[..., Any]:
    left = count(calls - 1, -1)

    def last(*arguments: Any) -> Any:
        answer = work(*arguments)
        if next(left) == 0:
            raise Killed
        return answer

    return last


@pytest.mark.long
@example(steps=[OLD, run(PLAIN)], config=DOT)
@example(steps=[OLD, run(DOT)], config=HYBRID)
@example(steps=[OLD, run(HYBRID)], config=FEW)
@example(steps=[OLD, run(FEW)], config=PLAIN)
@example(steps=[OLD, run(PLAIN)], config=SHORT)
@example(steps=[OLD, run(PLAIN), NEW, run(PLAIN, (Dispatch, "results")), OLD], config=PLAIN)
@example(steps=[OLD, run(PLAIN), NEW, run(HYBRID, (Dispatch, "results"), 2), Edit("a", None)], config=PLAIN)
@example(steps=[OLD, run(PLAIN), Lost(None), run(PLAIN, (Manifest, "adopt")), Lost(0)], config=PLAIN)
@settings(max_examples=examples(3), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, config=CONFIGS)
def test_one_more_run_and_all_is_as_if_nothing_had_happened(
    crowded: Sandbox, postgres_url: str, steps: list[Edit | Run | Lost], config: Config
) -> None:
    world, undisturbed = World(crowded, postgres_url), World(crowded, postgres_url)
    for step in steps:
        if isinstance(step, Edit):
            world.edit(step)
        elif isinstance(step, Run):
            world.run(step)
        else:
            world.lose(step)
    undisturbed.source = world.source
    last = run(config)
    world.is_refused = False
    world.run(last)
    assume(not world.is_refused)
    undisturbed.run(last)
    assert world.stored() == undisturbed.stored()
    with world.opened(config) as again:
        world.sync(again, last)
        assert again.delivered().requests == 0
