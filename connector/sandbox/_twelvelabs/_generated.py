"""An account of any size for benchmarks: plain assets, noise for vectors."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from threading import RLock

from vectorferry.connector.sandbox._settings import GeneratedIndexes
from vectorferry.connector.sandbox._twelvelabs._account import Account
from vectorferry.connector.sandbox._twelvelabs._things import Index, IndexedAsset, Segment, Spoken, Upload, object_id
from vectorferry.connector.sandbox._vectors import NoiseVector

__all__ = ["generated_account"]

_OPENED = datetime(2026, 3, 2, 12, 0, 0, tzinfo=UTC)
_SECONDS = 6.0


def generated_account(settings: GeneratedIndexes, lock: RLock | None = None) -> Account:
    """Assets ``0, 1, …`` dealt out to the indexes in turn; no vector is made before it is asked for."""
    account = Account(lock)
    indexes = [_index(settings, name) for name in settings.indexes]
    for index in indexes:
        account.add_index(index)
    for number in range(settings.assets):
        _add(account, settings, indexes[number % len(indexes)], number)
    return account


def _index(settings: GeneratedIndexes, name: str) -> Index:
    options = tuple(option for option in settings.options if option != "transcription")
    index_id = object_id("generated index", settings.seed, name)
    return Index(index_id, name, settings.model_name, options, settings.dimension, _OPENED, _OPENED)


def _add(account: Account, settings: GeneratedIndexes, index: Index, number: int) -> None:
    asset_id = object_id("generated asset", settings.seed, number)
    created = _OPENED + timedelta(seconds=number)
    filename, duration = f"{number:07}.mp4", settings.segments_per_asset * _SECONDS
    account.uploads[asset_id] = Upload(asset_id, filename, "video/mp4", created, size=1_000_000, duration=duration)
    indexed = IndexedAsset(
        object_id("generated indexed asset", settings.seed, number), index.index_id, asset_id, created, created
    )
    indexed.indexed_at = created
    indexed.system_metadata = {"filename": filename, "duration": duration, "fps": 25, "width": 1280, "height": 720}
    indexed.user_metadata = {"number": number, "author": f"author {number % 17}"}
    indexed.segments = tuple(_segments(settings, number))
    if "audio" in settings.options:
        indexed.spoken = tuple(_spoken(settings, number))
    account.add(indexed)


def _segments(settings: GeneratedIndexes, number: int) -> Iterator[Segment]:
    first = (settings.seed * settings.assets + number) * settings.segments_per_asset * len(settings.options)
    for place, option in enumerate(settings.options):
        for part in range(settings.segments_per_asset):
            seed = first + place * settings.segments_per_asset + part
            vector = NoiseVector(seed, settings.dimension)
            yield Segment(part * _SECONDS, (part + 1) * _SECONDS, option, vector)


def _spoken(settings: GeneratedIndexes, number: int) -> Iterator[Spoken]:
    for part in range(settings.segments_per_asset):
        said = f"segment {part} of generated asset {number}"
        yield Spoken(part * _SECONDS + 0.5, (part + 1) * _SECONDS - 0.5, said)
