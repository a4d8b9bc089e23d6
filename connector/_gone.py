"""What sources and destinations also provide about what is gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from connector._destination import Applied

__all__ = ["AllCollections", "StoredCollections", "Tombstones"]


@runtime_checkable
class AllCollections(Protocol):
    """A source that can tell that a collection is gone."""

    def is_gone(self, collection: str) -> bool:
        """Whether the service no longer has a collection that `collections` did not name just now. False where that
        says nothing, because the settings leave it out."""


@runtime_checkable
class StoredCollections(Protocol):
    """A destination in which collections that are gone at the source can be found."""

    def stored_collections(self) -> Sequence[str]:
        """The collections of which `asset_ids` names anything. `prepare` comes first."""


@runtime_checkable
class Tombstones(Protocol):
    """A destination that can hide assets instead of removing them."""

    def tombstone(self, collection: str, asset_ids: Sequence[str]) -> Applied:
        """Hide these assets with their features: they are in no answer any more, as if they had been removed, and count
        as deleted. Their ledger entries and quarantine records go, so that `apply` brings them back as it would insert
        them; but it finds their vectors where they were, and writes none that is the same. `remove` removes them."""
