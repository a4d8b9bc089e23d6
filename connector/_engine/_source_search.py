"""A source's own search, and what a destination holds of its hits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from os import environ as process_environ
from typing import Any, Final

from vectorferry.connector._config import resolve_part
from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._engine._opening import (
    destination_label,
    destinations_called,
    opened_at,
    prepare_untouched,
    run_closing,
    run_in_collection,
)
from vectorferry.connector._model._batch import MappedAsset, MappedFeature
from vectorferry.connector._model._errors import VectorferryError
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._source import EmbeddedText, Hit, RetrieverQuery, Source, SourceQuery

ROWS: Final = 5
"""Features shown of one hit: those that it overlaps most."""


@dataclass(frozen=True, slots=True)
class StoredHit:
    """A hit, with the asset as it is stored (None where it is not) and the columns of the very feature that it is, or
    else of those that it overlaps, most of it first."""

    hit: Hit
    asset: Mapping[str, Any] | None = None
    rows: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class SourceHits:
    """What a source found in one collection. `destination` is whose rows were looked up, None where there is none that
    keeps whole assets; `note` says why they could not be read."""

    collection: str
    hits: Sequence[StoredHit]
    destination: str | None = None
    note: str | None = None

    @property
    def looked_up(self) -> bool:
        """Whether it is known what is stored of the hits."""
        return self.destination is not None and self.note is None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        hits = [{**asdict(one.hit), "asset": one.asset, "rows": list(one.rows)} for one in self.hits]
        return {"collection": self.collection, "destination": self.destination, "hits": hits, "note": self.note}


def run_embed(
    settings: SyncSettings, text: str, vector_name: str | None, environ: Mapping[str, str] = process_environ
) -> EmbeddedText:
    """The vector that the service of a source makes of a text; no destination is opened. Raises as `Source.embed`."""
    source = resolve_part(settings.source, environ, settings.where, ("source",)).open()
    return run_closing(source, lambda: source.embed(text, vector_name))


def run_source_search(
    settings: SyncSettings,
    query: SourceQuery | RetrieverQuery,
    *,
    collection: str | None = None,
    destination_name: str | None = None,
    environ: Mapping[str, str] = process_environ,
) -> SourceHits:
    """Ask the search of a sync's source, and look the hits up in a destination: the one that is
    `destination_name` so, else the first that keeps whole assets. One that cannot be read is no reason to fail.

    Raises `ConfigurationError` for a source without a search, or when it is not clear which collection is meant, and
    what the source raises.
    """
    places = destinations_called(settings, destination_name)

    async def search(source: Source, where: str) -> tuple[str, Sequence[Hit]]:
        if isinstance(query, RetrieverQuery):
            return where, await source.retrieve(where, query)
        return where, await source.search(where, query)

    where, hits = run_in_collection(settings, collection, environ, search)
    return _joined(settings, places, where, hits, environ)


def _joined(
    settings: SyncSettings, places: Sequence[int], collection: str, hits: Sequence[Hit], environ: Mapping[str, str]
) -> SourceHits:
    for place in places:
        label = destination_label(settings.destinations[place])
        try:
            stored = _stored(settings, place, collection, hits, environ)
        except VectorferryError as error:
            return SourceHits(collection, [StoredHit(hit) for hit in hits], label, str(error))
        if stored is not None:
            return SourceHits(collection, [_join(hit, stored.get(_key(collection, hit))) for hit in hits], label)
    return SourceHits(collection, [StoredHit(hit) for hit in hits])


def _stored(
    settings: SyncSettings, place: int, collection: str, hits: Sequence[Hit], environ: Mapping[str, str]
) -> dict[tuple[str, str], MappedAsset] | None:
    """The assets of the hits that a destination has, by collection and id; None when it does not keep whole assets."""
    with opened_at(settings, place, environ) as destination:
        if Capability.STORED_ASSETS not in destination.capabilities:
            return None
        prepare_untouched(destination, settings.modalities)
        ids: dict[str, list[str]] = {}
        for where, asset_id in dict.fromkeys(_key(collection, hit) for hit in hits):
            ids.setdefault(where, []).append(asset_id)
        return {
            (where, asset.asset_id): asset
            for where, asset_ids in ids.items()
            for asset in destination.stored(where, asset_ids)
        }


def _key(collection: str, hit: Hit) -> tuple[str, str]:
    return hit.collection or collection, hit.asset_id


def _join(hit: Hit, asset: MappedAsset | None) -> StoredHit:
    if asset is None:
        return StoredHit(hit)
    attributes = {"url": asset.url, "modality": asset.modality, "status": asset.status}
    shown = {**attributes, "metadata": asset.metadata, "extra": asset.extra}
    overlapping = sorted(_overlapping(hit, asset.features), key=lambda found: found[:2])
    return StoredHit(hit, shown, [row for _, _, row in overlapping[:ROWS]])


def _overlapping(
    hit: Hit, features: Sequence[MappedFeature]
) -> Iterator[tuple[float, tuple[float, str], Mapping[str, Any]]]:
    """The features that the hit is, by its id, or that its time overlaps, with keys that sort them: most seconds first,
    then the shortest."""
    looked_for = _span(hit.start, hit.end)
    for feature in features:
        if hit.feature_id:
            if feature.feature_id == hit.feature_id:
                yield 0.0, (0.0, feature.feature_id), _row(feature)
            continue
        span = _span(feature.columns.get("start_time"), feature.columns.get("end_time"))
        if not looked_for or not span:
            continue
        shared = min(span[1], looked_for[1]) - max(span[0], looked_for[0])
        if shared > 0:
            yield -round(shared, 3), (span[1] - span[0], feature.feature_id), _row(feature)


def _row(feature: MappedFeature) -> Mapping[str, Any]:
    keys = {"feature_id": feature.feature_id, "modality": feature.modality.value}
    return {**keys, **feature.columns, "extra": feature.extra}


def _span(start: object, end: object) -> tuple[float, float] | None:
    """From and to; None unless both are numbers, for a mapping may give these columns other types."""
    return (start, end) if isinstance(start, int | float) and isinstance(end, int | float) else None
