"""What one TwelveLabs account holds: uploads, indexes with their assets, tasks, entities. In memory, and changeable."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import count
from threading import RLock
from typing import Any

from vectorferry.connector.sandbox._library import seen
from vectorferry.connector.sandbox._twelvelabs._dialect import later
from vectorferry.connector.sandbox._vectors import VectorSource

__all__ = [
    "Account",
    "EmbedTask",
    "Entity",
    "EntityCollection",
    "Index",
    "IndexedAsset",
    "Segment",
    "Spoken",
    "Upload",
    "object_id",
]


@dataclass(frozen=True, slots=True)
class Segment:
    """From `start` to `end`, in seconds, as one embedding option sees it."""

    start: float
    end: float
    option: str
    vector: VectorSource
    scope: str = "clip"


@dataclass(frozen=True, slots=True)
class Spoken:
    """One sentence, and when it is said."""

    start: float
    end: float
    value: str


@dataclass(slots=True)
class Upload:
    """A file of the account, which TwelveLabs calls an asset. It may be in several indexes, or in none."""

    asset_id: str
    filename: str
    file_type: str
    created_at: datetime
    url: str | None = None
    status: str = "ready"
    size: int | None = None
    duration: float | None = None
    user_metadata: dict[str, Any] = field(default_factory=dict)
    spoken: tuple[Spoken, ...] = ()
    method: str = "url"
    upcoming: tuple[str, ...] = ()

    def enter(self, status: str) -> None:
        """A change of state, which moves no time: uploads have none."""
        self.status = status


@dataclass(slots=True)
class IndexedAsset:
    """An upload in an index.

    `upcoming` are the states that it goes through, one per look at it. `edited` is whether its metadata ever were, and
    `fields` are shown in place of what the others say. No two versions of its vectors have the same `revision`.
    """

    indexed_asset_id: str
    index_id: str
    asset_id: str
    created_at: datetime
    updated_at: datetime
    status: str = "ready"
    indexed_at: datetime | None = None
    system_metadata: dict[str, Any] = field(default_factory=dict)
    user_metadata: dict[str, Any] = field(default_factory=dict)
    segments: tuple[Segment, ...] = ()
    spoken: tuple[Spoken, ...] = ()
    stream: str | None = None
    upcoming: tuple[str, ...] = ()
    edited: bool = False
    fields: dict[str, Any] = field(default_factory=dict)
    revision: int = 0

    def enter(self, status: str) -> None:
        """A change of state, which moves `updated_at`; only what is ready has been indexed."""
        self.status, self.updated_at = status, later(self.updated_at)
        self.indexed_at = self.updated_at if status == "ready" else None

    def edit_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Set what is named; None takes a value away."""
        merged = {**self.user_metadata, **metadata}
        self.user_metadata = {name: value for name, value in merged.items() if value is not None}
        self.edited = True


@dataclass(slots=True)
class Index:
    """A container with one model, which never changes. `dimension` is what no answer tells."""

    index_id: str
    name: str
    model_name: str
    options: tuple[str, ...]
    dimension: int
    created_at: datetime
    updated_at: datetime
    assets: dict[str, IndexedAsset] = field(default_factory=dict)


@dataclass(slots=True)
class EmbedTask:
    """A file that was embedded without an index, through version ``v1`` or ``v2`` of those calls."""

    task_id: str
    version: str
    model_name: str
    created_at: datetime
    updated_at: datetime
    url: str
    duration: float
    options: tuple[str, ...]
    segments: tuple[Segment, ...] = ()
    status: str = "ready"
    kind: str = "video"
    error: str = ""
    upcoming: tuple[str, ...] = ()

    def enter(self, status: str) -> None:
        """A change of state, which moves `updated_at`."""
        self.status, self.updated_at = status, later(self.updated_at)

    @property
    def scopes(self) -> list[str]:
        """The scopes that there are, or will be."""
        return sorted({one.scope for one in self.segments} or {"clip"})


@dataclass(slots=True)
class Entity:
    """Somebody or something that may be searched for; `asset_ids` are uploaded pictures of it."""

    entity_id: str
    collection_id: str
    name: str
    created_at: datetime
    updated_at: datetime
    description: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    asset_ids: tuple[str, ...] = ()
    status: str = "ready"


@dataclass(slots=True)
class EntityCollection:
    """Entities that belong together."""

    collection_id: str
    name: str
    created_at: datetime
    updated_at: datetime
    description: str = ""
    entities: dict[str, Entity] = field(default_factory=dict)


def object_id(*parts: Any) -> str:
    """24 hexadecimal digits that are always the same for these parts."""
    return hashlib.blake2b(_joined(parts), digest_size=12).hexdigest()


def _joined(parts: Iterable[Any]) -> bytes:
    return "\0".join(map(str, parts)).encode()


# What one TwelveLabs account holds. In memory, and changeable while it is served.


class Account:
    """Everything there is. Hold `lock` while reading or changing more than one thing."""

    def __init__(self, lock: RLock | None = None) -> None:
        self.lock = lock or RLock()
        self.indexes: dict[str, Index] = {}
        self.indexed_assets: dict[str, IndexedAsset] = {}
        self.uploads: dict[str, Upload] = {}
        self.embed_tasks: dict[str, EmbedTask] = {}
        self.entity_collections: dict[str, EntityCollection] = {}
        self._revisions = count(1)

    def part(self, share: float) -> Account:
        """What somebody sees who sees only this share of each index's assets, and all that is in no index."""
        part = Account(self.lock)
        part.uploads, part.embed_tasks = self.uploads, self.embed_tasks
        part.entity_collections = self.entity_collections
        for index in self.indexes.values():
            assets = seen(index.assets, share)
            part.indexes[index.index_id] = replace(index, assets=assets)
            part.indexed_assets.update(assets)
        return part

    def add_index(self, index: Index) -> None:
        """Put an index in, in place of one with the same id; what that one held goes."""
        self.remove_index(index.index_id)
        self.indexes[index.index_id] = index

    def remove_index(self, index_id: str) -> bool:
        """Take an index out with what it holds; False when there was none."""
        index = self.indexes.pop(index_id, None)
        for asset_id in index.assets if index else ():
            self.indexed_assets.pop(asset_id, None)
        return index is not None

    def add(self, asset: IndexedAsset) -> None:
        """Put an indexed asset into its index, in place of one with the same id."""
        known = self.indexed_assets.get(asset.indexed_asset_id)
        if known is not None:
            del self.indexes[known.index_id].assets[known.indexed_asset_id]
        self.revise(asset)
        self.indexed_assets[asset.indexed_asset_id] = asset
        self.indexes[asset.index_id].assets[asset.indexed_asset_id] = asset

    def revise(self, asset: IndexedAsset) -> None:
        """Give what was printed of an asset's vectors up."""
        asset.revision = next(self._revisions)

    def remove(self, indexed_asset_id: str) -> bool:
        """Take an indexed asset out; False when there was none."""
        asset = self.indexed_assets.pop(indexed_asset_id, None)
        if asset is not None:
            del self.indexes[asset.index_id].assets[indexed_asset_id]
        return asset is not None

    def forget(self, thing_id: str) -> None:
        """Take out whatever has this id, if anything does."""
        if not (self.remove(thing_id) or self.remove_index(thing_id)):
            self.uploads.pop(thing_id, None)
            self.embed_tasks.pop(thing_id, None)
            self.entity_collections.pop(thing_id, None)
            for collection in self.entity_collections.values():
                collection.entities.pop(thing_id, None)

    def of_upload(self, asset_id: str) -> list[IndexedAsset]:
        """An upload in every index that it is in."""
        return [one for one in self.indexed_assets.values() if one.asset_id == asset_id]
