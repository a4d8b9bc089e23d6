"""Partitions are collections: which ones a sync has, and the key that each becomes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import cached_property
from typing import Any, Final, Self
from urllib.parse import quote, unquote

import dagster as dg

from vectorferry import SyncSettings, list_collections
from vectorferry.connector.plugin import ConfigurationError, resolve_part

LONGEST_KEY: Final = 200
EMPTY: Final = "%"
HASHED: Final = "%~"  # like EMPTY, nothing that encoding makes


def partition_key(collection: str) -> str:
    """The partition key of a collection: the id itself wherever Dagster can take it, and never shared by two.

    Dagster cannot backfill a key with ``,``, reads ``...`` as a range and ``|`` as two dimensions, so everything but
    ASCII letters, digits and ``_.-~`` is percent-encoded, and so is the second of two dots. A key that would be
    longer than 200 characters keeps its start and ends in a hash instead.
    """
    key = quote(collection, safe="", errors="surrogatepass").replace("..", ".%2E") or EMPTY
    return key if len(key) <= LONGEST_KEY else _hashed(key, collection)


def _hashed(key: str, collection: str) -> str:
    digest = hashlib.blake2b(collection.encode(errors="surrogatepass"), digest_size=12).hexdigest()
    return f"{key[: LONGEST_KEY // 2]}{HASHED}{digest}"


def named_collections(settings: SyncSettings) -> tuple[str, ...]:
    """The collections that the sync's file names, by id or by name; empty when it means all of them."""
    return tuple(getattr(settings.source, "collections", None) or ())


_RANGES: ContextVar[dict[Any, Sequence[str]] | None] = ContextVar("ranges", default=None)


@contextmanager
def remembered() -> Iterator[None]:
    """Look each range of keys up once in a block, on this thread. Dagster asks for it again with every piece of
    metadata; and a partition may retire, or be deleted in the UI, while a run that has it goes on."""
    _RANGES.set({})
    try:
        yield
    finally:
        _RANGES.set(None)


class CollectionPartitions(dg.DynamicPartitionsDefinition):
    """The dynamic partitions ``{sync}_collections``.

    The discovery sensor, ``python -m vectorferry.dagster discover`` and the UI add keys to the instance. A collection
    that the sync's file names needs nobody to add it: its key is valid on a fresh instance, and its first run stores
    it.
    """

    file_keys: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: SyncSettings) -> Self:
        """The partitions of this sync."""
        partitions = cls(name=f"{settings.name}_collections")
        partitions.file_keys = tuple(map(partition_key, named_collections(settings)))
        return partitions

    def __hash__(self) -> int:
        """That of Dagster's own definition with this name, which is equal to this one: an asset of the user's that has
        it can be in one job with the tables."""
        return hash(dg.DynamicPartitionsDefinition(name=self.store_name))

    def current(self, instance: dg.DagsterInstance) -> list[str]:
        """The keys that are synced as a matter of course: those of the file, or else all that the instance holds."""
        return list(self.file_keys or instance.get_dynamic_partitions(self.store_name))

    def retire(self, instance: dg.DagsterInstance, keys: Iterable[str]) -> None:
        """Take keys out of the instance. What was materialized under them stays in its history."""
        for key in keys:
            instance.delete_dynamic_partition(self.store_name, key)

    def get_partition_keys_in_range(self, partition_key_range: dg.PartitionKeyRange) -> Sequence[str]:
        """The keys from the first to the last one; while `remembered`, as they were when they were first asked for."""
        ranges = _RANGES.get()
        if ranges is None:
            return super().get_partition_keys_in_range(partition_key_range)
        if (place := (self.name, partition_key_range)) not in ranges:
            ranges[place] = super().get_partition_keys_in_range(partition_key_range)
        return ranges[place]

    @property
    def store_name(self) -> str:
        """The name that the instance keeps the keys under."""
        return self._validated_name()

    def add(self, instance: dg.DagsterInstance, keys: Sequence[str]) -> list[str]:
        """Store keys in the instance; those that were new."""
        stored = set(instance.get_dynamic_partitions(self.store_name))
        new = [key for key in dict.fromkeys(keys) if key not in stored]
        instance.add_dynamic_partitions(self.store_name, new)
        return new

    def get_partition_keys(
        self, current_time: datetime | None = None, dynamic_partitions_store: Any = None
    ) -> Sequence[str]:
        """The keys that the instance holds, then those of the file that it does not hold yet."""
        stored = super().get_partition_keys(current_time, dynamic_partitions_store)
        return list(dict.fromkeys([*stored, *self.file_keys]))

    def has_partition_key(
        self,
        partition_key: str,
        current_time: datetime | None = None,
        dynamic_partitions_store: Any = None,
    ) -> bool:
        """Whether the file names the collection or the instance holds its key."""
        return partition_key in self.file_keys or super().has_partition_key(
            partition_key, current_time, dynamic_partitions_store
        )


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
        return sorted(self._names or self._listed)

    def id_of(self, key: str) -> str | None:
        """The id of the collection behind a partition key; the source looks up what the file calls by a name.

        None where the source lists no such collection. Raises `ConfigurationError` where the file names others only, or
        names one that is not there.
        """
        if not self._names:
            return self._listed.get(key)
        name = self._names.get(key)
        if name is None:
            raise ConfigurationError(f"partition {key}: the file does not name this collection; delete the partition")
        return name if name in self._ids_in_file else self._list(name)[0]

    @cached_property
    def _names(self) -> Mapping[str, str]:
        return {partition_key(name): name for name in named_collections(self._settings)}

    @cached_property
    def _listed(self) -> Mapping[str, str]:
        return {partition_key(collection): collection for collection in self._list()}

    @cached_property
    def _ids_in_file(self) -> frozenset[str]:
        """What one list confirms to be an id; what else the file says is looked up alone, and is missed by name."""
        try:
            return frozenset(self._list(*self._names.values()))
        except ConfigurationError:
            return frozenset()

    def _list(self, *only: str) -> Sequence[str]:
        source = self._settings.source
        narrowed = source.model_copy(update={"collections": only}) if only else source
        return list_collections(resolve_part(narrowed, self._environ, self._settings.where, ("source",)))


def collection_of(key: str) -> str | None:
    """The id that became this partition key; None where the key holds a hash of it only, or is none of ours."""
    try:
        collection = unquote(key, errors="surrogatepass") if key != EMPTY else ""
    except UnicodeDecodeError:  # a hashed one may end within a character, and one from the UI have none
        return None
    return collection if partition_key(collection) == key else None
