"""The media a sandbox holds: collections, assets, features. In memory, and changeable while it is served."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

from vectorferry.connector.sandbox._keys import seen
from vectorferry.connector.sandbox._vectors import VectorSource

__all__ = ["Library", "StoredAsset", "StoredCollection", "StoredFeature"]


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
