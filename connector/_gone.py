"""What sources and destinations also provide about what is gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from vectorferry.connector._destination import Applied

__all__ = ["AllCollections", "NamedCollections", "StoredCollections", "Tombstones", "not_found"]


@runtime_checkable
class AllCollections(Protocol):
    """A source that can tell that a collection is gone."""

    def is_gone(self, collection: str) -> bool:
        """Whether the service no longer has a collection that `collections` did not name just now. False where that
        says nothing, because the settings leave it out."""


@runtime_checkable
class NamedCollections(Protocol):
    """A source whose settings can name collections, some of which may be gone while others are there."""

    @property
    def not_found(self) -> Mapping[str, str]:
        """Those that the settings name and the last `collections` did not find, each with why: misspelt, or expired,
        deleted or renamed since. `collections` raises `ConfigurationError` when it finds none of them."""


def not_found(source: object) -> Mapping[str, str]:
    """What a source says of collections that its settings name and that are not there; nothing if it does not tell."""
    return source.not_found if isinstance(source, NamedCollections) else {}


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
