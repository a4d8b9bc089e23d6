"""What a source or a destination may also be able to do, each with the values that cross it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal, Protocol, Self, TypeAlias, runtime_checkable

from pydantic import Field, field_validator, model_validator

from vectorferry.connector._model._batch import Applied, Contents, Counts, MappedAsset, RowCounts
from vectorferry.connector._model._mapping import SYSTEM_COLUMNS, ColumnType, Identifier, SchemaMapping, TableName
from vectorferry.connector._model._records import Modality, Reason, Rejected
from vectorferry.connector._model._settings_base import Settings
from vectorferry.connector._protocols._destination import Known

__all__ = [
    "NO_TRUSTED_CURSOR",
    "Advising",
    "AllCollections",
    "Averages",
    "CountedReads",
    "Cursor",
    "Cursors",
    "Difference",
    "Discrepancy",
    "Distrusted",
    "Identified",
    "Lockable",
    "NamedCollections",
    "Origin",
    "Origins",
    "Placed",
    "Plannable",
    "Planned",
    "PlannedIndex",
    "Quarantined",
    "RelatedRow",
    "RelatedTable",
    "RelatedTables",
    "StoredAssets",
    "StoredCollections",
    "StoredContents",
    "StoredDigest",
    "StoresRelated",
    "Tombstones",
    "VectorCount",
    "VectorCounts",
    "VectorTable",
    "VectorTableState",
    "VectorTables",
    "Verifiable",
    "not_found",
    "related_counts",
]


class Difference(StrEnum):
    """How two places that should hold the same differ."""

    MISSING = "missing"
    EXTRA = "extra"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One record that is not as its destination's own books say.

    A vector when `vector_name` is set, else the row of a feature when `feature_id` is, else the asset's own row, or
    the asset as a whole; `detail` says what cannot be said by names.
    """

    kind: Difference
    asset_id: str
    feature_id: str = ""
    modality: Modality | None = None
    vector_name: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, order=True)
class StoredDigest:
    """The hash of one row (`vector_name` empty) or vector of a feature, as the source had it; of the asset's own row
    where `feature_id` and `modality` are empty."""

    asset_id: str
    feature_id: str
    modality: str
    vector_name: str
    digest: bytes


_Key: TypeAlias = tuple[str, str]


_Table: TypeAlias = tuple[str, Modality | None, str | None]


class Distrusted:
    """The assets of a destination that are to be read again, whatever its ledger says, and their records that are to be
    written, whatever their hashes say. In memory only: whoever stops before they are written has changed nothing."""

    def __init__(self) -> None:
        self._assets: dict[str, set[str]] = defaultdict(set)
        self._records: dict[_Table, set[_Key]] = defaultdict(set)

    def add(self, collection: str, discrepancies: Iterable[Discrepancy]) -> None:
        """Distrust the asset of each, and each record that is different."""
        for one in discrepancies:
            self._assets[collection].add(one.asset_id)
            if one.kind is Difference.DIFFERENT:
                table = (collection, one.modality, one.vector_name)
                self._records[table].add((one.asset_id, one.feature_id))

    def assets(self, collection: str) -> frozenset[str]:
        """The assets of a collection that are to be read again."""
        return frozenset(self._assets.get(collection, ()))

    def names(self, collection: str, modality: Modality | None, vector_name: str | None, key: _Key) -> bool:
        """Whether this record, by asset and feature, was found to be different."""
        return key in self._records.get((collection, modality, vector_name), ())

    def blanked(
        self, collection: str, modality: Modality | None, vector_name: str | None, held: Mapping[_Key, bytes]
    ) -> Mapping[_Key, bytes]:
        """Hashes by asset and feature, with one that no record has for each that is distrusted."""
        distrusted = self._records.get((collection, modality, vector_name))
        return held if not distrusted else {**held, **dict.fromkeys(distrusted & held.keys(), b"")}

    def forget(self, collection: str, asset_ids: Iterable[str]) -> None:
        """Trust these assets again: they have just been written, or removed."""
        gone = set(asset_ids) & self._assets.get(collection, set())
        self._assets[collection] -= gone
        for table in [table for table in self._records if table[0] == collection] if gone else []:
            self._records[table] = {key for key in self._records[table] if key[0] not in gone}


@runtime_checkable
class StoredAssets(Protocol):
    """What a destination also provides when other destinations can be filled from it."""

    def stored_collections(self) -> Sequence[str]:
        """The collections that it holds assets of, be it in the quarantine only. `prepare` comes first."""

    def stored(self, collection: str, asset_ids: Sequence[str]) -> Iterable[MappedAsset]:
        """These assets with all their features and vectors, as they would be applied, streamed. Vectors (and their
        hashes) are as they are stored, which may be less precise than the source had them."""


@runtime_checkable
class StoredContents(Protocol):
    """What a destination also provides so that an asset which comes with less than is stored of it is read a second
    time first, and so that the delete guard counts features and vectors. `prepare` comes first."""

    def contents(self, collection: str, asset_ids: Sequence[str]) -> Mapping[str, Contents]:
        """What its books say is in each of these assets, also in those that `known` leaves out; nothing of an asset
        that it does not have, or hides."""

    def content_counts(self, collection: str) -> RowCounts:
        """How many features and vectors its books have of a collection, hidden ones left out."""


@runtime_checkable
class Quarantined(Protocol):
    """What a destination also provides so that its quarantine can be read and worked off. `prepare` is not needed."""

    def rejected(self, collection: str | None = None) -> Iterable[tuple[str, Rejected, datetime]]:
        """The collection, the record and when it was written, for every record in quarantine of one collection or of
        all, streamed; sorted by collection, asset and feature. Times are aware."""

    def forget_rejected(self, collection: str, asset_ids: Sequence[str], reason: Reason | None = None) -> int:
        """Drop the records of these assets, all or those of one reason; how many there were. Nothing else changes: an
        asset that the ledger has is not read again before it changes."""

    def read_again(self, collection: str, asset_ids: Sequence[str]) -> int:
        """Let the next sync read these assets as if they had changed: `known` has an empty fingerprint for them until
        they are applied again. How many of them the ledger had. Rows and records stay."""


@runtime_checkable
class Verifiable(Protocol):
    """What a destination also provides so that it can be checked, and repaired. `prepare` comes first."""

    def discrepancies(self, collection: str, sample: int | None = None) -> Iterable[Discrepancy]:
        """Every record of a collection that is missing, extra or different from what the destination's own books say,
        streamed. Which records there are is compared for all assets; their contents for all (None), or for at most
        `sample` assets, other ones each time."""

    def digests(self, collection: str, asset_ids: Sequence[str] | None = None) -> Iterable[StoredDigest]:
        """What the books say of every row and vector of these assets (None: all of a collection), streamed, sorted by
        asset, feature, modality and vector name. Two destinations that were given the same vectors answer alike,
        however exactly they store them; a row or vector whose own hash the books do not have has an empty digest."""

    def distrust(self, collection: str, discrepancies: Iterable[Discrepancy]) -> None:
        """Until it has written these assets again, `known` leaves them out, `asset_ids` names them all, and `apply`
        writes those of their records that were found to be different, whatever their hashes say."""


@runtime_checkable
class Lockable(Protocol):
    """What a destination also provides when one sync can keep others out. Everything between may be called meanwhile,
    from the same thread."""

    def lock(self, collection: str, wait: float = 0) -> AbstractContextManager[None]:
        """Keep everybody else who would lock this collection out until the block ends, or this process does.

        Waits up to `wait` seconds for who is in there. Raises `LockedError`, which says who that is. `prepare` is not
        needed.
        """


@runtime_checkable
class Placed(Protocol):
    """What a destination also provides when two of them could be one."""

    def place(self) -> str:
        """Where it writes, without secrets: the same text for all that write there, however they were spelled. Writes
        nothing, and needs no `prepare`."""


@runtime_checkable
class Advising(Protocol):
    """What a destination also provides when it may not do all that it was asked to."""

    def advice(self) -> Sequence[str]:
        """What it does not do, or does otherwise, and what to change; a sentence or two each. `prepare` comes first."""


# What sources and destinations also provide about what is gone.


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


# How far the changes at a source have been followed, and what a destination also provides to remember it.


NO_TRUSTED_CURSOR: Final = "the source has no changed-since cursor that can be trusted"
"""Why most sources are listed in full."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the changes of one collection have been followed: the source's mark `since`, what it is valid for (the
    mapping's digest and the modalities), and how many incremental scans have followed the last full one."""

    since: str
    mapping: str
    modalities: frozenset[Modality]
    incremental_scans: int = 0


@runtime_checkable
class Cursors(Protocol):
    """What a destination also provides so that a source can be asked for changes only. `prepare` comes first.

    A cursor says that everything up to it is here. Whatever makes that untrue forgets it: `remove`, `tombstone`,
    `read_again`, `distrust`, and whatever else lets assets be read again (another layout, an index that is gone).
    """

    def cursor(self, collection: str) -> Cursor | None:
        """What was recorded last, if it still holds."""

    def record_cursor(self, collection: str, cursor: Cursor | None) -> None:
        """Keep this one; None: forget what is kept. Writes nothing when that changes nothing."""


# Who a source reads a collection as, and what a destination also provides to remember it.


Origin: TypeAlias = Mapping[str, str]
"""By part (``source``, ``base_url``, ``namespace``, ``organization``, ``key``), who a collection is read as. Of a key
it holds a hash, never the key."""


@runtime_checkable
class Identified(Protocol):
    """What a source also provides when it can say who it reads a collection as."""

    async def identity(self, collection: str) -> Origin:
        """Whatever decides which assets this source sees of a collection: the service, the account, the key.

        A few short texts by part; one that the service does not tell is left out. The same as long as nothing has
        changed, also in another process. The empty collection stands for the tables of metadata.
        """


@runtime_checkable
class Origins(Protocol):
    """What a destination also provides so that another account's listing is not taken for deletes. `prepare` comes
    first."""

    def origin(self, collection: str) -> Origin | None:
        """What was recorded last for a collection."""

    def record_origin(self, collection: str, origin: Origin | None) -> None:
        """Keep this one; None: forget what is kept. Writes nothing when that changes nothing."""


# Small tables of metadata beside the assets: of a source that has them, for destinations that can hold them.


RESERVED: Final = SYSTEM_COLUMNS | {"row_hash", "synced_at"}


class RelatedTable(Settings):
    """A table without vectors: its columns in their order, and the one of them that no two rows have the same text in.

    Names are the plug-in's own, never the service's.
    """

    name: TableName
    key: Identifier
    columns: dict[Identifier, ColumnType] = Field(min_length=1)

    @field_validator("name")
    @classmethod
    def _name_is_free(cls, name: str) -> str:
        if name == "assets":
            raise ValueError("assets is the table of the assets themselves")
        return name

    @field_validator("columns")
    @classmethod
    def _columns_are_free(cls, columns: dict[str, ColumnType]) -> dict[str, ColumnType]:
        if taken := sorted(columns.keys() & RESERVED):
            raise ValueError(f"{', '.join(taken)}: every related table has such a column already")
        return columns

    @model_validator(mode="after")
    def _key_is_text(self) -> Self:
        if self.columns.get(self.key) != "text":
            raise ValueError(f"the key {self.key} is no column of type text")
        return self


@dataclass(frozen=True, slots=True, eq=False)
class RelatedRow:
    """A row after validation. `columns` holds exactly the table's, in their order; `row_hash` covers all of them."""

    key: str
    columns: Mapping[str, Any]
    row_hash: bytes


@runtime_checkable
class RelatedTables(Protocol):
    """What a source also provides when it has tables of metadata beside its assets."""

    @property
    def related_tables(self) -> Sequence[RelatedTable]:
        """The tables, none when its settings leave them out. No request is made."""

    def related_rows(self, table: RelatedTable) -> AsyncIterator[Mapping[str, Any]]:
        """Every row of one of them, as JSON values by column; a column that is left out is empty.

        Ending normally promises that these were all. Raises `IncompleteScanError` at its end when it cannot promise
        that.
        """


@runtime_checkable
class StoresRelated(Protocol):
    """What a destination also provides when it can hold such tables. `prepare` comes first."""

    def related_hashes(self, table: RelatedTable) -> Mapping[str, bytes]:
        """By key, the hash of each row that it holds; empty when it does not have the table yet."""

    def replace_related(self, table: RelatedTable, rows: Sequence[RelatedRow], *, complete: bool) -> Counts:
        """Make the table hold these rows, no key twice: all or nothing, and nothing is written where nothing differs.

        Rows under other keys go if `complete`, else they stay. Raises `ConfigurationError` when something that is not
        ours has the table's name.
        """


def related_counts(held: Mapping[str, bytes], rows: Iterable[RelatedRow], *, complete: bool) -> Counts:
    """What replacing rows with these hashes by these rows changes."""
    counts, wanted = Counts(), {row.key: row.row_hash for row in rows}
    for key, digest in wanted.items():
        counts.compare(held.get(key), digest)
    counts.deleted = len(held.keys() - wanted.keys()) if complete else 0
    return counts


# The tables that a destination keeps named vectors in: one for each dimension that a vector ever had.


VectorTableState: TypeAlias = Literal["current", "filling", "retired"]
"""What the plain view shows; what will take its place, or stands beside it; what it showed before."""


@dataclass(frozen=True, slots=True)
class VectorTable:
    """One dimension of a named vector. `rows` are values of features, `superseded` rows are kept beside these; `view`
    and `function` show this table."""

    table: str
    modality: Modality
    vector_name: str
    storage: str
    rows: int
    superseded: int
    state: VectorTableState
    view: str
    function: str


@runtime_checkable
class VectorTables(Protocol):
    """What a destination also provides when a changed dimension leaves a table behind. `prepare` is not needed."""

    def vector_tables(self) -> Sequence[VectorTable]:
        """All of them, sorted by modality and name, those of one name from the oldest to the newest."""

    def drop_vector_tables(self, tables: Sequence[str]) -> Sequence[VectorTable]:
        """Drop these tables with what shows them: retired ones, and ones without any row. All or nothing.

        Raises `ConfigurationError` for one that is not there, that is in use, or that somebody has built upon, and
        `LockedError` while a sync is running.
        """


@dataclass(frozen=True, slots=True)
class VectorCount:
    """How many features have a named vector of one dimension (None: a sparse one), and in which `place`: ``the table
    video__model_704``. `modality` is None where one place holds those of all modalities."""

    modality: Modality | None
    vector_name: str
    dimension: int | None
    rows: int
    place: str


@runtime_checkable
class VectorCounts(Protocol):
    """What a destination also provides when it keeps vectors of each dimension in a place of their own. `prepare` comes
    first."""

    def vector_counts(self, vector_names: Collection[str]) -> Sequence[VectorCount]:
        """Those of these named vectors that have more than one dimension now, one count for each. Counts nothing where
        none has."""


# What a destination, or a source, also provides when a sync can be planned: seen without changing anything.


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
