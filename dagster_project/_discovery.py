"""Which collections a sync has, as partition keys and as ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

from vectorferry.connector import ConfigurationError, SyncSettings, list_collections, resolve_part
from vectorferry.dagster._partitions import named_collections, partition_key

__all__ = ["Collections"]

SHOWN = 20


class Collections:
    """The collections of a sync: those its file names, else all that its source lists.

    `settings` still hold ``${NAME}``. The source is asked when a method first needs it; then each of them may
    raise `VectorferryError`.
    """

    def __init__(self, settings: SyncSettings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = environ

    def keys(self) -> list[str]:
        """The partition key of every collection, sorted. Needs no source where the file names them."""
        return sorted(set(map(partition_key, named_collections(self._settings) or self._listed)))

    def id_of(self, key: str) -> str:
        """The id of the collection behind a partition key; the source looks up what the file calls by a name.

        Raises `ConfigurationError` for a key that is no collection of this sync.
        """
        named = [name for name in named_collections(self._settings) if partition_key(name) == key]
        ids = self._list(*named) if named else [each for each in self._unnamed if partition_key(each) == key]
        if len(ids) != 1:
            raise ConfigurationError(self._unknown(key))
        return ids[0]

    @property
    def _unnamed(self) -> Sequence[str]:
        return () if named_collections(self._settings) else self._listed

    @cached_property
    def _listed(self) -> Sequence[str]:
        return self._list()

    def _list(self, *only: str) -> Sequence[str]:
        source = self._settings.source
        narrowed = source.model_copy(update={"collections": only}) if only else source
        return list_collections(resolve_part(narrowed, self._environ, self._settings.where, ("source",)))

    def _unknown(self, key: str) -> str:
        keys = self.keys()
        there = ", ".join(keys[:SHOWN]) + (f" and {len(keys) - SHOWN:,} more" if len(keys) > SHOWN else "")
        return f"partition {key}: not a collection of this sync, which has: {there or 'none'}; delete the partition"
