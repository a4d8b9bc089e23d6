"""The media that a Mixpeek sandbox shows, in memory, and how somebody changes them while they are served."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import RLock
from typing import Any

from vectorferry.connector.sandbox._settings import visible
from vectorferry.connector.sandbox._shots import FilledLate
from vectorferry.connector.sandbox._vectors import RawVector, TextVector, VectorSource, raw_json, raw_value


@dataclass(slots=True)
class StoredFeature:
    """`fields` is what the API shows of it, vectors apart."""

    feature_id: str
    asset_id: str
    fields: dict[str, Any]
    vectors: dict[str, VectorSource] = field(default_factory=dict)


@dataclass(slots=True)
class StoredAsset:
    """`fields` is what the API shows of it, features apart; `upcoming` are the features that it gets when its task is
    done, none for an asset that nobody submitted."""

    asset_id: str
    collection_id: str
    fields: dict[str, Any]
    features: dict[str, StoredFeature] = field(default_factory=dict)
    upcoming: dict[str, StoredFeature] | None = None


@dataclass(slots=True)
class StoredCollection:
    """Assets in the order in which they came."""

    collection_id: str
    name: str
    assets: dict[str, StoredAsset] = field(default_factory=dict)


class Library(FilledLate):
    """Everything a sandbox holds. Hold `lock` while reading or changing more than one thing."""

    collections: dict[str, StoredCollection]
    assets: dict[str, StoredAsset]
    features: dict[str, StoredFeature]
    skipped: dict[str, dict[str, Any]]
    """The tasks that ended without an asset of their own, by id."""

    def __init__(self, fill: Callable[[Library], None] | None = None) -> None:
        super().__init__(RLock(), fill)

    def begin(self) -> None:
        """Nothing is in yet."""
        self.collections, self.assets, self.features, self.skipped = {}, {}, {}, {}

    def add_collection(self, collection_id: str, name: str | None = None) -> StoredCollection:
        """The collection of this id, made if it is new."""
        if collection_id not in self.collections:
            self.collections[collection_id] = StoredCollection(collection_id, name or collection_id)
        return self.collections[collection_id]

    def add(self, asset: StoredAsset) -> None:
        """Put an asset in, in place of one with the same id if there is one."""
        former = self.assets.get(asset.asset_id)
        self._forget_features(former)
        if former is not None and former.collection_id != asset.collection_id:
            del self.collections[former.collection_id].assets[former.asset_id]
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
        identifiers = set(names)
        return [one for one in self.collections.values() if one.collection_id in identifiers or one.name in identifiers]

    def part(self, share: float) -> Library:
        """What somebody sees who sees only this share of each collection's assets."""
        part = Library()
        part.skipped = self.skipped
        for collection in self.collections.values():
            part.add_collection(collection.collection_id, collection.name)
            for asset in visible(collection.assets, share).values():
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


def now_text() -> str:
    """The present the way assets show times."""
    return time_text(_now())


def time_text(moment: datetime) -> str:
    """A moment the way assets show times: without a zone, whole milliseconds in six digits."""
    return moment.isoformat(timespec="milliseconds") + "000"


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


class MixpeekEditor:
    """Reads and changes the media. Safe from any thread; a change is visible from the next request on.

    Every change also moves the asset's `updated_at`, unless `touch=False`. A method that names an asset or feature
    that does not exist raises `KeyError`. Where a raw value is taken, `bytes` are served as they are, valid JSON or
    not, and anything else, numpy arrays too, is served as its JSON, NaN and Infinity included.
    """

    def __init__(self, library: Library) -> None:
        self._library = library

    def collection_ids(self) -> list[str]:
        """The ids of all collections."""
        with self._library.lock:
            return list(self._library.collections)

    def asset_ids(self, collection: str | None = None, *, status: str | None = None) -> list[str]:
        """The ids of all assets, or of one collection's, or of those with a status such as ``DONE``."""
        with self._library.lock:
            assets = self._library.assets.values()
            return [
                asset.asset_id
                for asset in assets
                if collection in {None, asset.collection_id} and status in {None, asset.fields.get("status")}
            ]

    def feature_ids(self, asset_id: str | None = None) -> list[str]:
        """The ids of all features, or of one asset's."""
        with self._library.lock:
            return list(self._library.features if asset_id is None else self._library.assets[asset_id].features)

    def asset(self, asset_id: str) -> dict[str, Any]:
        """A copy of what the API shows of an asset, features apart."""
        with self._library.lock:
            return dict(self._library.assets[asset_id].fields)

    def feature(self, feature_id: str) -> dict[str, Any]:
        """A copy of what the API shows of a feature, vectors apart."""
        with self._library.lock:
            return dict(self._library.features[feature_id].fields)

    def edit_metadata(self, asset_id: str, metadata: Mapping[str, Any], *, touch: bool = True) -> None:
        """Set some metadata of an asset; what is not named stays, unless it was no object at all."""
        with self._library.lock:
            asset = self._library.assets[asset_id]
            before = asset.fields.get("metadata")
            asset.fields["metadata"] = {**(before if isinstance(before, dict) else {}), **metadata}
            self._changed(asset, touch)

    def put_asset(self, asset: Mapping[str, Any], features: Sequence[Mapping[str, Any]] = ()) -> None:
        """Add an asset with its features, or replace the one with the same id.

        `asset` needs `asset_id` and `collection_id`; what else is left out gets a plain value. A feature needs
        `feature_id`; its `vectors` map a name to a raw value, and without them they are made from its words.
        """
        with self._library.lock:
            stored = StoredAsset(asset["asset_id"], asset["collection_id"], {**_plain_asset(), **asset})
            stored.features = {one["feature_id"]: _stored(stored, one) for one in features}
            if stored.asset_id in self._library.assets and "updated_at" not in asset:
                stored.fields["updated_at"] = self._library.assets[stored.asset_id].fields.get("updated_at")
            self._library.add(stored)
            self._changed(stored, "updated_at" not in asset)

    def remove_asset(self, asset_id: str) -> None:
        """Delete an asset with its features."""
        with self._library.lock:
            if not self._library.remove(asset_id):
                raise KeyError(asset_id)

    def put_feature(self, asset_id: str, feature: Mapping[str, Any], *, touch: bool = True) -> None:
        """Add a feature to an asset, or replace the one with the same id; as in `put_asset`."""
        with self._library.lock:
            asset = self._library.assets[asset_id]
            self._library.add_feature(_stored(asset, feature))
            self._changed(asset, touch)

    def put_vector(self, feature_id: str, name: str, value: Any, *, touch: bool = True) -> None:
        """Serve a raw value as this vector of a feature."""
        with self._library.lock:
            feature = self._library.features[feature_id]
            feature.vectors[name] = RawVector(raw_json(value))
            self._changed(self._library.assets[feature.asset_id], touch)

    def put_feature_field(self, feature_id: str, field: str, value: Any, *, touch: bool = True) -> None:
        """Serve a raw value as this field of a feature."""
        with self._library.lock:
            feature = self._library.features[feature_id]
            feature.fields[field] = raw_value(value)
            self._changed(self._library.assets[feature.asset_id], touch)

    def _changed(self, asset: StoredAsset, touch: bool) -> None:
        if not touch:
            return
        # At least a millisecond later than it was.
        now, last = _now(), asset.fields.get("updated_at")
        if isinstance(last, str):
            now = max(now, datetime.fromisoformat(last).replace(tzinfo=None) + timedelta(milliseconds=1))
        asset.fields["updated_at"] = time_text(now)


def _plain_asset() -> dict[str, Any]:
    return {
        "status": "DONE",
        "url": None,
        "metadata": {},
        "error": None,
        "modality": "text",
        "updated_at": "2024-11-08T09:00:00.000000",
        "created_at": "2024-11-08T09:00:00.000000",
        "score": None,
    }


def _stored(asset: StoredAsset, feature: Mapping[str, Any]) -> StoredFeature:
    plain = {
        "modality": asset.fields["modality"],
        "asset_id": asset.asset_id,
        "collection_id": asset.collection_id,
        "metadata": {},
        "created_at": "2024-11-08T09:00:00.000000Z",
    }
    fields = {**plain, **{name: value for name, value in feature.items() if name != "vectors"}}
    return StoredFeature(feature["feature_id"], asset.asset_id, fields, _vectors(feature))


def _vectors(feature: Mapping[str, Any]) -> dict[str, VectorSource]:
    if "vectors" in feature:
        return {name: RawVector(raw_json(value)) for name, value in feature["vectors"].items()}
    words = (feature.get(name) for name in ("text", "transcription", "description"))
    return {"multimodal-v1": TextVector(" ".join(word for word in words if isinstance(word, str)), "multimodal-v1")}
