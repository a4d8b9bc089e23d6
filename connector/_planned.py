"""What a destination, or a source, also provides when a sync can be planned: seen without changing anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from vectorferry.connector._cursor import Cursor
from vectorferry.connector._destination import Known
from vectorferry.connector._mapping import SchemaMapping
from vectorferry.connector._origin import Origin
from vectorferry.connector._related import RelatedTable
from vectorferry.connector._vector_tables import VectorCount

__all__ = ["Averages", "CountedReads", "Plannable", "Planned", "PlannedIndex"]


@dataclass(frozen=True, slots=True)
class Averages:
    """What is stored, on average: a measure for what has not been read yet.

    `rows_per_feature` counts the feature and its vectors (in a store of records: its records), `bytes_per_feature`
    what they take there, without indexes.
    """

    features_per_asset: float
    rows_per_feature: float
    bytes_per_feature: float


@dataclass(frozen=True, slots=True)
class PlannedIndex:
    """A vector index that is due: over so many rows now, so many bytes for its graph, and the memory it may take."""

    table: str
    index: str
    method: str
    rows: int
    graph_bytes: int
    memory_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class Planned:
    """A destination as `prepare` would leave it.

    `statements` are those that `prepare` would make or change something with, in order, and it `reshapes` where one of
    them renames, casts or drops what is there; `notes` tell in words what
    else a sync would do here, and what cannot be known before. `known` and `asset_ids` answer as the destination's
    methods of that name would after `prepare`, and `collections` as `stored_collections`: empty before the first sync.
    Of an asset that is there but would be read again in any case, `known` gives an empty fingerprint.
    `related_hashes` is for destinations that are `StoresRelated`, `cursor` for those that are `Cursors`, `origin` for
    those that are `Origins`. `averages` are None when nothing is stored. `refusal` says why a sync would be refused, by
    whoever is asking, and what helps. `vector_counts` are what those that are `VectorCounts` say of all named vectors.
    """

    known: Callable[[str, Sequence[str]], Mapping[str, Known]]
    asset_ids: Callable[[str], Iterable[str]]
    statements: Sequence[str] = ()
    indexes: Sequence[PlannedIndex] = ()
    notes: Sequence[str] = ()
    related_hashes: Callable[[RelatedTable], Mapping[str, bytes]] = lambda _: {}
    averages: Averages | None = None
    cursor: Callable[[str], Cursor | None] = lambda _: None
    origin: Callable[[str], Origin | None] = lambda _: None
    collections: Callable[[], Sequence[str]] = tuple
    reshapes: bool = False
    refusal: str | None = None
    vector_counts: Sequence[VectorCount] = ()


@runtime_checkable
class Plannable(Protocol):
    """What a destination also provides when `vectorferry plan` can say what a sync would do."""

    def planned(self, mapping: SchemaMapping) -> Planned:
        """What a sync under this mapping would find, make and change. Writes nothing, and needs no `prepare`.

        What it answers with may be asked until the destination is closed. Raises what `prepare` would raise.
        """


@runtime_checkable
class CountedReads(Protocol):
    """What a source also provides when it can tell what reading will cost."""

    def requests_to_read(self, assets: int, features: int) -> int:
        """How many requests it takes to read so many assets with so many features altogether, without retries."""
