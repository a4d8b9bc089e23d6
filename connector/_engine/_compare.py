"""A source's own nearest neighbours beside those that a destination finds: the same question, asked of both."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from os import environ as process_environ
from typing import Any, Final, TypeAlias

from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._engine._opening import (
    destinations_called,
    opened,
    opened_at,
    prepare_untouched,
    run_in_collection,
)
from vectorferry.connector._model._batch import MappedAsset, MappedFeature
from vectorferry.connector._model._errors import ConfigurationError, StopError, VectorferryError
from vectorferry.connector._model._records import Modality, SparseVector
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import Destination, SearchQuery
from vectorferry.connector._protocols._source import Neighbours, Probe, Source

TEXTS: Final = ("text", "transcription", "description", "caption")
"""Columns that may hold what a feature's vectors were made of; the first that says anything is its words."""

LONGEST_TEXT: Final = 500
"""Characters of a feature's words that are asked for: services refuse long questions."""

MOST_PAGES: Final = 10
"""So many times the size of the sample is read, in search of named vectors that few assets have."""

MORE: Final = 100
"""So many neighbours more than are compared are asked of the destination, to see what is tied with the last one."""

TIED: Final = 1e-5
"""Distances that differ by less count as the same: they were taken in float32, here and there."""

_Vector: TypeAlias = tuple[Modality, str]


@dataclass(frozen=True, slots=True)
class NeighboursDifference:
    """One sampled feature whose neighbours differ: ids that only one side has among its nearest, and the share of both
    that agrees."""

    feature_id: str
    overlap: float
    only_source: Sequence[str]
    only_stored: Sequence[str]


@dataclass(slots=True)
class VectorComparison:
    """One named vector of a modality. `compared` features were asked for; `wordless` ones could not be, and neither
    could those whose `sparse` vector the source's search does not take; `exact` says that the destination looked at
    every vector, and `error` why the rest was not compared."""

    modality: Modality
    vector_name: str
    compared: int = 0
    wordless: int = 0
    sparse: int = 0
    exact: bool = True
    differences: list[NeighboursDifference] = field(default_factory=list)
    error: str | None = None
    _overlaps: float = 0.0

    @property
    def overlap(self) -> float | None:
        """The mean share of neighbours that agree, from 0 to 1; None where nothing was compared."""
        return self._overlaps / self.compared if self.compared else None

    def add(self, feature_id: str, source_ids: Sequence[str], nearest: Nearest) -> None:
        """Count one feature, by what is near to it in the source and in the destination."""
        agreeing = [each for each in source_ids if nearest.may_have(each)]
        missed = nearest.nearer if source_ids or not nearest.asked_for else nearest.nearer | nearest.tied
        only_stored = sorted(missed - set(source_ids))
        most = max(len(source_ids), nearest.asked_for)
        overlap = len(agreeing) / most if most else 1.0
        self.compared += 1
        self._overlaps += overlap
        if overlap < 1:
            only_source = [each for each in source_ids if each not in agreeing]
            self.differences.append(NeighboursDifference(feature_id, overlap, only_source, only_stored))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "modality": self.modality.value,
            "vector_name": self.vector_name,
            "compared": self.compared,
            "wordless": self.wordless,
            "sparse": self.sparse,
            "exact": self.exact,
            "overlap": self.overlap,
            "differences": [asdict(each) for each in self.differences],
            "error": self.error,
        }


@dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest features of a destination: those that are `nearer` than the last one that is compared, and all that
    are `tied` with that, of which any may stand in another's place. So many are `asked_for` of the source as well."""

    nearer: frozenset[str]
    tied: frozenset[str]
    asked_for: int
    ends_in_ties: bool = False
    """Whether more may be tied than were looked at."""

    def may_have(self, feature_id: str) -> bool:
        """Whether this one may stand among the nearest."""
        return self.ends_in_ties or feature_id in self.nearer or feature_id in self.tied


@dataclass(slots=True)
class Comparison:
    """One collection. `k` neighbours were asked for of each feature."""

    collection: str
    destination: str
    k: int
    vectors: list[VectorComparison] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """1 where something could not be compared. What differs is told, and is no failure: an index may pass over."""
        return int(any(each.error for each in self.vectors))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        vectors = [each.to_dict() for each in self.vectors]
        return {**{name: getattr(self, name) for name in ("collection", "destination", "k")}, "vectors": vectors}


def run_compare(
    settings: SyncSettings,
    *,
    collection: str | None = None,
    sample: int = 20,
    k: int = 10,
    destination_name: str | None = None,
    environ: Mapping[str, str] = process_environ,
) -> Comparison:
    """Ask the source and a destination for the `k` nearest features of a sample: at most `sample` of each named vector,
    the same ones each time as long as the assets are the same.

    The destination is the one that is `destination_name` so, or else the first that keeps whole assets; the sample is
    of what one of these holds.

    Raises `ConfigurationError` for a source without such a search and when it is not clear which collection is meant,
    `StopError` when nothing is stored to be compared, and what the source raises.
    """

    async def name_of(source: Source, where: str) -> str:
        Capability.NEIGHBOURS.check(source.capabilities)
        return where

    where = run_in_collection(settings, collection, environ, name_of)
    with _opened(settings, destination_name, environ) as (destination, store):
        prepare_untouched(store, settings.modalities)
        probes = _probes(store, where, sample)
        if not probes:
            raise StopError(f"{store.name} holds no vector of {where}; run `vectorferry sync` first")

        async def ask(source: Source, _: str) -> dict[_Vector, list[Neighbours | VectorferryError | None]]:
            return {key: await _answers(source, where, each, k) for key, each in probes.items()}

        answers = run_in_collection(settings, where, environ, ask)
        vectors = [_compared(destination, where, key, probes[key], answers[key], k) for key in sorted(probes)]
        return Comparison(where, destination.name, k, vectors)


@contextmanager
def _opened(
    settings: SyncSettings, name: str | None, environ: Mapping[str, str]
) -> Iterator[tuple[Destination, Destination]]:
    """The destination that is searched, and the one that the sample is taken from: the same, if it keeps whole assets,
    or else the first that does."""
    place = None if name is None else destinations_called(settings, name)[0]
    with ExitStack() as stack:
        destination = None if place is None else stack.enter_context(opened_at(settings, place, environ))
        if destination is not None and Capability.STORED_ASSETS in destination.capabilities:
            yield destination, destination
            return
        store = stack.enter_context(opened(settings, needs=Capability.STORED_ASSETS, environ=environ))[0]
        yield destination or store, store


def _probes(destination: Destination, collection: str, sample: int) -> dict[_Vector, list[Probe]]:
    """By named vector, one feature of each asset, of as many assets as are to be sampled."""
    chosen = random.Random(0)
    ids = sorted(destination.asset_ids(collection))
    chosen.shuffle(ids)
    probes: defaultdict[_Vector, list[Probe]] = defaultdict(list)
    for start in range(0, min(len(ids), MOST_PAGES * sample), sample):
        page = ids[start : start + sample]
        for asset in sorted(destination.stored(collection, page), key=lambda each: each.asset_id):
            for key, features in _by_vector(asset).items():
                if len(probes[key]) < sample:
                    probes[key].append(_probe(chosen.choice(features), key[1]))
    return dict(probes)


def _by_vector(asset: MappedAsset) -> dict[_Vector, list[MappedFeature]]:
    features: defaultdict[_Vector, list[MappedFeature]] = defaultdict(list)
    for feature in sorted(asset.features, key=lambda each: each.feature_id):
        for name in feature.vectors:
            features[feature.modality, name].append(feature)
    return features


def _probe(feature: MappedFeature, vector_name: str) -> Probe:
    texts = (feature.columns.get(name) for name in TEXTS)
    text = next((each for each in texts if isinstance(each, str) and each.strip()), "")
    words = " ".join(text.split())[:LONGEST_TEXT]
    return Probe(feature.feature_id, feature.modality, vector_name, feature.vectors[vector_name], words)


async def _answers(
    source: Source, collection: str, probes: Sequence[Probe], k: int
) -> list[Neighbours | VectorferryError | None]:
    """What the source answers, probe by probe; from its first error on, that error."""

    async def answer(probe: Probe) -> Neighbours | VectorferryError | None:
        try:
            return await source.neighbours(collection, probe, limit=k)
        except ConfigurationError:
            raise
        except VectorferryError as error:
            return error

    return list(await asyncio.gather(*map(answer, probes)))


def _compared(
    destination: Destination,
    collection: str,
    key: _Vector,
    probes: Sequence[Probe],
    answers: Iterable[Neighbours | VectorferryError | None],
    k: int,
) -> VectorComparison:
    comparison = VectorComparison(*key)
    for probe, answer in zip(probes, answers, strict=True):
        if answer is None:
            is_sparse = isinstance(probe.vector, SparseVector)
            comparison.sparse += is_sparse
            comparison.wordless += not is_sparse
        elif isinstance(answer, VectorferryError):
            comparison.error = comparison.error or str(answer)
        else:
            try:
                here, exact = _nearest(destination, collection, probe, answer, k)
            except VectorferryError as error:
                comparison.error = comparison.error or str(error)
                continue
            comparison.exact = comparison.exact and exact
            comparison.add(probe.feature_id, answer.feature_ids[:k], here)
    return comparison


def _nearest(
    destination: Destination, collection: str, probe: Probe, answer: Neighbours, k: int
) -> tuple[Nearest, bool]:
    """What the destination finds, and whether it has looked at everything."""
    found = destination.search(
        SearchQuery(
            probe.modality,
            probe.vector_name,
            answer.vector,
            limit=k + MORE,
            filters={"collection": collection},
            exact=True,
        )
    )
    measures = [float(row["distance"] if "distance" in row else row["score"]) for row in found.rows]
    # Nearest first: what falls is a score.
    sign = -1 if measures and measures[0] > measures[-1] else 1
    rows = [(sign * measure, row["feature_id"]) for measure, row in zip(measures, found.rows, strict=True)]
    if not rows:
        return Nearest(frozenset(), frozenset(), 0), found.exact
    last = rows[min(k, len(rows)) - 1][0]
    nearer = frozenset(feature_id for distance, feature_id in rows if distance < last - TIED)
    tied = frozenset(feature_id for distance, feature_id in rows if abs(distance - last) <= TIED)
    ends_in_ties = len(rows) == k + MORE and rows[-1][0] - last <= TIED
    asked_for = len(nearer) if _shares_nothing(rows[0][0], last) else min(k, len(rows))
    return Nearest(nearer, tied, asked_for, ends_in_ties), found.exact


def _shares_nothing(first: float, last: float) -> bool:
    """Whether this is the distance of what has nothing in common with the question, as sparse vectors may: a source
    need not count it as found. It is 1 by the cosine, and 0, other than that of the `first`, by the product."""
    return abs(last - 1) <= TIED or (abs(last) <= TIED and first < -TIED)
