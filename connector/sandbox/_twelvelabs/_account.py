"""What one TwelveLabs account holds. In memory, and changeable while it is served."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from threading import RLock

from vectorferry.connector.sandbox._keys import seen
from vectorferry.connector.sandbox._twelvelabs._things import EmbedTask, EntityCollection, Index, IndexedAsset, Upload

__all__ = ["Account"]


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
