"""The media a sandbox holds, and which key sees what of them. In memory, and changeable while it is served."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from threading import RLock
from typing import Any, TypeVar
from uuid import UUID, uuid5

from vectorferry.connector.sandbox._http import RefusedError
from vectorferry.connector.sandbox._settings import GeneratedCatalogue, SandboxKey, SandboxSettings
from vectorferry.connector.sandbox._vectors import NoiseVector, VectorSource

__all__ = [
    "Keys",
    "Library",
    "StoredAsset",
    "StoredCollection",
    "StoredFeature",
    "add_metadata",
    "bump",
    "generated_library",
    "now_text",
    "seen",
]


def add_metadata(fields: dict[str, Any], metadata: Mapping[str, Any]) -> None:
    """Set some metadata; what is not named stays, unless it is no object at all."""
    known = fields.get("metadata")
    fields["metadata"] = {**(known if isinstance(known, dict) else {}), **metadata}


def bump(asset: StoredAsset) -> None:
    """Set `updated_at` to now, at least a millisecond after what it was."""
    now = _now()
    last = asset.fields.get("updated_at")
    if isinstance(last, str):
        now = max(now, datetime.fromisoformat(last).replace(tzinfo=None) + timedelta(milliseconds=1))
    asset.fields["updated_at"] = _text(now)


def now_text() -> str:
    """The present the way assets show times: without a zone, whole milliseconds in six digits."""
    return _text(_now())


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds") + "000"


# The keys that a sandbox takes, and the part of what there is that each of them sees.


Thing = TypeVar("Thing")


class Keys:
    """The sandbox's own key, which sees everything, and those that the settings add."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._by_text = {key.api_key: key for key in (*settings.keys, SandboxKey(api_key=settings.api_key))}

    def get(self, text: str | None) -> SandboxKey | None:
        """The key of this text, if there is one."""
        return self._by_text.get(text or "")

    def bearer(self, header: str | None) -> SandboxKey:
        """The key in an ``Authorization`` header. Raises a 401."""
        scheme, _, text = (header or "").partition(" ")
        if scheme == "Bearer" and (key := self.get(text)):
            return key
        raise RefusedError(401, "Invalid API key")


def seen(things: Mapping[str, Thing], share: float) -> dict[str, Thing]:
    """The last things, as many as are this share of all: a list of the others is no shorter at its end."""
    return dict(islice(things.items(), len(things) - round(share * len(things)), None))


# The media a sandbox holds: collections, assets, features. In memory, and changeable while it is served.


@dataclass(slots=True)
class StoredFeature:
    """`fields` is what the API shows of it, vectors apart."""

    feature_id: str
    asset_id: str
    fields: dict[str, Any]
    vectors: dict[str, VectorSource] = field(default_factory=dict)


@dataclass(slots=True)
class StoredAsset:
    """`fields` is what the API shows of it, features apart."""

    asset_id: str
    collection_id: str
    fields: dict[str, Any]
    features: dict[str, StoredFeature] = field(default_factory=dict)


@dataclass(slots=True)
class StoredCollection:
    """Assets in the order in which they came."""

    collection_id: str
    name: str
    assets: dict[str, StoredAsset] = field(default_factory=dict)


class Library:
    """Everything a sandbox holds. Hold `lock` while reading or changing more than one thing."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.collections: dict[str, StoredCollection] = {}
        self.assets: dict[str, StoredAsset] = {}
        self.features: dict[str, StoredFeature] = {}

    def add_collection(self, collection_id: str, name: str | None = None) -> StoredCollection:
        """The collection of this id, made if it is new."""
        if collection_id not in self.collections:
            self.collections[collection_id] = StoredCollection(collection_id, name or collection_id)
        return self.collections[collection_id]

    def add(self, asset: StoredAsset) -> None:
        """Put an asset in, in place of one with the same id if there is one."""
        known = self.assets.get(asset.asset_id)
        self._forget_features(known)
        if known is not None and known.collection_id != asset.collection_id:
            del self.collections[known.collection_id].assets[known.asset_id]
        self.add_collection(asset.collection_id).assets[asset.asset_id] = asset
        self.assets[asset.asset_id] = asset
        self.features.update(asset.features)

    def remove(self, asset_id: str) -> bool:
        """Take an asset out with its features; False when there was none."""
        asset = self.assets.pop(asset_id, None)
        if asset is None:
            return False
        self._forget_features(asset)
        del self.collections[asset.collection_id].assets[asset_id]
        return True

    def add_feature(self, feature: StoredFeature) -> None:
        """Put a feature into its asset, in place of one with the same id."""
        self.assets[feature.asset_id].features[feature.feature_id] = feature
        self.features[feature.feature_id] = feature

    def remove_feature(self, feature_id: str) -> bool:
        """Take a feature out of its asset; False when there was none."""
        feature = self.features.pop(feature_id, None)
        if feature is None:
            return False
        del self.assets[feature.asset_id].features[feature_id]
        return True

    def named(self, names: Iterable[str]) -> list[StoredCollection]:
        """The collections with these ids or names, each once, unknown ones left out."""
        wanted = set(names)
        return [one for one in self.collections.values() if one.collection_id in wanted or one.name in wanted]

    def part(self, share: float) -> Library:
        """What somebody sees who sees only this share of each collection's assets."""
        part = Library()
        for collection in self.collections.values():
            part.add_collection(collection.collection_id, collection.name)
            for asset in seen(collection.assets, share).values():
                part.add(asset)
        return part

    def walk(self, collections: Iterable[StoredCollection]) -> Iterator[StoredFeature]:
        """Every feature of these collections, asset by asset."""
        for collection in collections:
            for asset in collection.assets.values():
                yield from asset.features.values()

    def _forget_features(self, asset: StoredAsset | None) -> None:
        for feature_id in asset.features if asset else ():
            self.features.pop(feature_id, None)


# A catalogue of any size for benchmarks: plain assets, noise for vectors.


_NAMESPACE = UUID("6f0b3c8e-52f1-4c0b-9f0c-3d1f5b7a9e21")


_CREATED = "2024-11-07T12:00:00.000000"


def generated_library(settings: GeneratedCatalogue) -> Library:
    """Assets ``0, 1, …`` dealt out to the collections in turn; only their fields are held, no vector is."""
    library = Library()
    for collection in settings.collections:
        library.add_collection(collection)
    for number in range(settings.assets):
        library.add(_asset(settings, number))
    return library


def _asset(settings: GeneratedCatalogue, number: int) -> StoredAsset:
    asset_id = str(uuid5(_NAMESPACE, f"{settings.seed}/{number}"))
    collection_id = settings.collections[number % len(settings.collections)]
    fields = {
        "asset_id": asset_id,
        "collection_id": collection_id,
        "status": "DONE",
        "url": None,
        "metadata": {"number": number, "author": f"author {number % 17}"},
        "error": None,
        "modality": settings.modality,
        "updated_at": _CREATED,
        "created_at": _CREATED,
    }
    features = (
        _feature(settings, asset_id, collection_id, number, part) for part in range(settings.features_per_asset)
    )
    return StoredAsset(asset_id, collection_id, fields, {feature.feature_id: feature for feature in features})


def _feature(settings: GeneratedCatalogue, asset_id: str, collection_id: str, number: int, part: int) -> StoredFeature:
    feature_id = str(uuid5(_NAMESPACE, f"{settings.seed}/{number}/{part}"))
    fields = {
        "feature_id": feature_id,
        "modality": settings.modality,
        "asset_id": asset_id,
        "collection_id": collection_id,
        "metadata": {"author": f"author {number % 17}"},
        "start_time": part * 10.0,
        "end_time": part * 10.0 + 10.0,
        "interval_sec": 10,
        "transcription": f"segment {part} of generated asset {number}",
        "created_at": f"{_CREATED}Z",
    }
    seed = (settings.seed * settings.assets + number) * settings.features_per_asset + part
    return StoredFeature(feature_id, asset_id, fields, {settings.vector_name: NoiseVector(seed, settings.dimension)})
