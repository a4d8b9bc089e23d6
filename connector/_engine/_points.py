"""Stored vectors one by one, with what they are vectors of: to be drawn, or to be taken elsewhere."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from os import environ as process_environ
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._engine._compare import TEXTS
from vectorferry.connector._engine._opening import opened, prepare_untouched
from vectorferry.connector._model._batch import MappedAsset, MappedFeature
from vectorferry.connector._model._errors import ConfigurationError, StopError
from vectorferry.connector._model._records import MODALITIES, Modality
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import Destination
from vectorferry.connector._reports._map import EmbeddingMap, Numbers, Point

ASSETS_AT_ONCE: Final = 20
FEATURES_OF_ONE: Final = 50
"""So many points of an asset at most are in a sample: a long film is not all there is to see."""

COMPONENTS: Final = 50
"""Principal components that a map is made of; the rest is mostly noise, and takes long."""

LEAST: Final = 10
"""Fewer points have no neighbourhoods to speak of: their two principal components are drawn."""


def embedding_maps(
    settings: SyncSettings,
    *,
    collections: Sequence[str] = (),
    modalities: Sequence[Modality] = MODALITIES,
    vector_names: Sequence[str] = (),
    sample: int = 1_000,
    destination_name: str | None = None,
    environ: Mapping[str, str] = process_environ,
) -> list[EmbeddingMap]:
    """A map of each dense named vector of each modality (some only, where these are named), of `sample` points at most.

    The same stored vectors give the same maps. Raises `ConfigurationError` where scikit-learn is not installed and for
    what is not stored, and `StopError` where there is nothing to draw.
    """
    with opened_store(settings, destination_name, environ) as store:
        points = sampled_points(store, collections_of(store, collections), sample)
    chosen = {
        key: found
        for key, found in points.items()
        if key[0] in modalities and (not vector_names or key[1] in vector_names)
    }
    if not chosen:
        raise StopError(f"{settings.name}: no dense vector is stored that could be drawn; run `vectorferry sync` first")
    return draw_maps(chosen)


@contextmanager
def opened_store(
    settings: SyncSettings, name: str | None = None, environ: Mapping[str, str] = process_environ
) -> Iterator[Destination]:
    """The destination of this name, or else the first that keeps whole assets, for a block. Raises as `opened` does."""
    with opened(settings, needs=Capability.STORED_ASSETS, name=name, environ=environ) as capable:
        prepare_untouched(capable[0], settings.modalities)
        yield capable[0]


def collections_of(store: Destination, only: Sequence[str] = ()) -> list[str]:
    """The collections that are stored, all or only these, sorted. Raises `ConfigurationError` where one is not."""
    stored = sorted(store.stored_collections())
    for collection in only:
        if collection not in stored:
            raise ConfigurationError(f"--collection {collection}: {store.name} holds nothing of it")
    return [each for each in stored if not only or each in only]


def every_point(
    store: Destination, collections: Sequence[str], vector_name: str, modalities: Sequence[Modality] = MODALITIES
) -> Iterator[Point]:
    """All dense vectors of this name, streamed: by collection, asset and feature."""
    for collection in collections:
        ids = sorted(store.asset_ids(collection))
        for start in range(0, len(ids), ASSETS_AT_ONCE):
            for asset in store.stored(collection, ids[start : start + ASSETS_AT_ONCE]):
                yield from _points(collection, asset, asset.features, [vector_name], modalities)


def sampled_points(
    store: Destination, collections: Sequence[str], sample: int
) -> Mapping[tuple[Modality, str], Sequence[Point]]:
    """By modality and named vector, at most so many points: of assets that are chosen by a hash of their ids, so of
    the same ones each time."""
    found: dict[tuple[Modality, str], list[Point]] = {}
    for assets in _chosen_pages(store, collections, sample):
        for collection, asset in assets:
            for point in _points(collection, asset, asset.features, None, MODALITIES, FEATURES_OF_ONE):
                points = found.setdefault((point.modality, point.vector_name), [])
                if len(points) < sample:
                    points.append(point)
        if found and all(len(points) >= sample for points in found.values()):
            break
    return found


def _chosen_pages(
    store: Destination, collections: Sequence[str], sample: int
) -> Iterator[list[tuple[str, MappedAsset]]]:
    named = ((_hash(asset_id), each, asset_id) for each in collections for asset_id in store.asset_ids(each))
    chosen = heapq.nsmallest(sample, named)
    for start in range(0, len(chosen), ASSETS_AT_ONCE):
        page = chosen[start : start + ASSETS_AT_ONCE]
        by_collection: dict[str, list[str]] = {}
        for _, collection, asset_id in page:
            by_collection.setdefault(collection, []).append(asset_id)
        yield [
            (collection, asset) for collection, ids in by_collection.items() for asset in store.stored(collection, ids)
        ]


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()


def _points(
    collection: str,
    asset: MappedAsset,
    features: Sequence[MappedFeature],
    names: Sequence[str] | None,
    modalities: Sequence[Modality],
    most: int | None = None,
) -> Iterator[Point]:
    counts: dict[tuple[Modality, str], int] = {}
    for feature in sorted(features, key=lambda each: each.feature_id):
        for name, vector in feature.vectors.items() if feature.modality in modalities else ():
            key = (feature.modality, name)
            if not isinstance(vector, np.ndarray) or (names is not None and name not in names):
                continue
            if most is not None and counts.get(key, 0) >= most:
                continue
            counts[key] = counts.get(key, 0) + 1
            yield Point(
                collection, asset.asset_id, feature.feature_id, feature.modality, name, vector, _words(feature.columns)
            )


def _words(columns: Mapping[str, Any]) -> str:
    texts = (columns.get(name) for name in TEXTS)
    return next((" ".join(each.split()) for each in texts if isinstance(each, str) and each.strip()), "")


def draw_maps(points: Mapping[tuple[Modality, str], Sequence[Point]]) -> list[EmbeddingMap]:
    """A map of each named vector; of one whose dimension has changed, of the dimension that more points have."""
    maps = []
    for (modality, name), all_points in sorted(points.items()):
        dimensions = [len(point.vector) for point in all_points]
        usual = max(sorted(set(dimensions)), key=dimensions.count)
        kept = [point for point in all_points if len(point.vector) == usual]
        maps.append(EmbeddingMap(modality, name, kept, project(np.stack([point.vector for point in kept]))))
    return maps


def project(vectors: Numbers) -> Numbers:
    """Two numbers from 0 to 1 for each of these vectors, so that those which are near each other stay so; the same ones
    each time.

    By t-SNE, from where the first two principal components lie. Directions count, lengths do not. Raises
    `ConfigurationError` where scikit-learn is not installed.
    """
    try:
        from sklearn.manifold import TSNE
        from threadpoolctl import threadpool_limits
    except ImportError:
        raise ConfigurationError("a map needs scikit-learn: run `pip install 'vectorferry[map]'`") from None
    # Threads are no faster with so little, many times slower on a busy machine, and may add up in another order.
    with threadpool_limits(1):
        parts = _components(vectors)
        places = parts[:, :2]
        if len(np.unique(parts.round(6), axis=0)) >= LEAST:
            # Beginning so small is what t-SNE's authors advise: points find their neighbours before they part.
            start = (places / places[:, 0].std() * 1e-4).astype(np.float32)
            perplexity = min(30.0, (len(parts) - 1) / 3)
            places = TSNE(init=start, perplexity=perplexity, random_state=0, n_jobs=1).fit_transform(parts)
    spread = np.ptp(places, axis=0)
    return np.asarray((places - places.min(axis=0)) / np.where(spread > 0, spread, 1), dtype=np.float32)


def _components(vectors: Numbers) -> npt.NDArray[np.float64]:
    """The principal components of the vectors' directions, two at least, each with the sign that its greatest loading
    has."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.asarray(vectors, dtype=np.float64) / np.where(norms > 0, norms, 1)
    _, _, axes = np.linalg.svd(unit - unit.mean(axis=0), full_matrices=False)
    axes = axes[:COMPONENTS]
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    parts = (unit - unit.mean(axis=0)) @ (axes * np.where(signs == 0, 1, signs)[:, None]).T
    return np.pad(parts, ((0, 0), (0, max(0, 2 - parts.shape[1]))))
