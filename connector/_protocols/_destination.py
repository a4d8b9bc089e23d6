"""The destination that every store is for the engine, and the values that cross it.

Third parties add one through the entry point group ``vectorferry.destinations``. Destinations are plain
blocking code: the engine calls each from one thread of its own, one call at a time.
"""

# ruff: noqa: ARG002 - what the base has no use for, those that override it have

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Literal, TypeAlias

from vectorferry.connector._model._batch import Applied, Batch, Contents, Counts, MappedAsset, RowCounts
from vectorferry.connector._model._discrepancies import DigestKind, Discrepancy, SliceSums, StoredDigest
from vectorferry.connector._model._errors import ConfigurationError
from vectorferry.connector._model._limits import VectorKind
from vectorferry.connector._model._mapping import SchemaMapping
from vectorferry.connector._model._records import Modality, Reason, Rejected, Vector
from vectorferry.connector._model._related import RelatedRow, RelatedTable
from vectorferry.connector._protocols._allowance import Allowance
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._shards import ShardBook
from vectorferry.connector._protocols._source import Origin

MOST_UNRECORDED: Final = 100
"""Collections that no book names, and that one check tells of: more would be no report that anybody reads."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger holds of one asset: its fingerprint, the modalities synced under it, features per modality."""

    fingerprint: str
    modalities: frozenset[Modality]
    features: Mapping[Modality, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IndexBuild:
    """One vector index that was built; `seconds` is wall time."""

    table: str
    index: str
    method: str
    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Visibility:
    """How far one place of a destination (``index/namespace``) has been written, and how far queries see it.

    Both are the store's own sequence numbers, which grow with every write; `visible` is None when it was not asked.
    """

    place: str
    written: int
    visible: int | None = None

    @property
    def is_visible(self) -> bool:
        """Whether a query sees everything that was written."""
        return self.visible is not None and self.visible >= self.written


@dataclass(slots=True)
class Delivery:
    """What writing has cost since the destination was opened, and whether queries see it.

    `bytes` are those of request bodies; `write_units` an estimate of what the store will bill. All zero and empty for
    a destination that is not metered and whose commits are seen at once.
    """

    requests: int = 0
    retries: int = 0
    bytes: int = 0
    write_units: int = 0
    places: list[Visibility] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """Nearest features of one modality under one named vector; `like` is a feature id, else `vector` is given. `exact`
    asks for a look at every vector, however long that takes, where the store has a choice."""

    modality: Modality
    vector_name: str | None = None
    vector: Vector | None = None
    like: str | None = None
    limit: int = 10
    filters: Mapping[str, Any] = field(default_factory=dict)
    exact: bool = False

    def check_limit(self, most: int) -> None:
        """Raise `ConfigurationError` unless it asks for 1 to so many rows."""
        if not 1 <= self.limit <= most:
            raise ConfigurationError(f"the limit is {self.limit}; ask for 1 to {most:,} rows")

    def given_vector(self) -> Vector:
        """What to be near to, where no feature is named. Raises `ConfigurationError` where neither is."""
        if self.vector is None:
            raise ConfigurationError("a search needs a feature to be like (--like) or a vector (--vector)")
        return self.vector

    def unknown_feature(self, vector: str, is_stored: Callable[[Modality], bool]) -> ConfigurationError:
        """The error to raise where `like` is no feature of the modality that has this named vector. It tells of the
        first other modality of which the feature `is_stored`."""
        other = next((each for each in Modality if each != self.modality and is_stored(each)), None)
        hint = f"; ask with --modality {other}" if other else ""
        return ConfigurationError(f"no {self.modality} feature {self.like} has a vector named {vector}{hint}")


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """Rows, nearest first, and the statement that anyone can run to get them again, in a `language`. `exact` says that
    none can have been passed over, as an index may."""

    statement: str
    rows: Sequence[Mapping[str, Any]]
    language: Literal["sql", "python"] = "sql"
    exact: bool = False


@dataclass(frozen=True, slots=True)
class TableStatus:
    """One table, or one index of all modalities (`modality` None). `collections` holds rows per collection; `uri` is
    where it is, with nothing secret: ``postgresql://host/database?schema=media&table=video``."""

    name: str
    modality: Modality | None
    vector_name: str | None
    rows: int
    collections: Mapping[str, int]
    details: Mapping[str, Any] = field(default_factory=dict)
    uri: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """What a destination holds now. `related` counts the rows of each table of metadata beside the assets."""

    destination: str
    location: str
    assets: Mapping[str, int]
    tables: Sequence[TableStatus]
    quarantined: int
    last_change: datetime | None = None
    related: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the changes of one collection have been followed: the source's mark `since`, what it is valid for (the
    mapping's digest and the modalities), and how many incremental scans have followed the last full one.

    A void one says nothing of that: it stands in the books while a run lists everything, under a mark of its own, and
    is what that run replaces at its end."""

    since: str
    mapping: str
    modalities: frozenset[Modality]
    incremental_scans: int = 0
    is_void: bool = False

    def is_entry(self, other: Cursor | None) -> bool:
        """Whether the other one is the same entry of the books, void or not."""
        return other is not None and replace(other, is_void=self.is_void) == self


RunState: TypeAlias = Literal["done", "failed", "refused", "limited"]
"""Of a collection in a run. `refused`: the delete guard stopped deletes; `limited`: the source's quota was used up."""


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """One collection of one run, as a destination's books keep it. Times are aware; `recorded_at` is the books' own.

    `counts` are JSON values: scan, modalities, mapping (its digest), listed, unchanged, pulled, requests, features
    {modality: counts}, vectors_written {vector name: count}. `started_by` says who ran it: ``cli``, ``dagster``,
    ``python``.
    """

    run_id: str
    collection: str
    started_at: datetime
    ended_at: datetime
    state: RunState
    counts: Mapping[str, Any]
    started_by: str
    recorded_at: datetime | None = None


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


@dataclass(frozen=True, slots=True)
class IndexProgress:
    """How far an index is that is being built: in which phase, which share of that is done (None: not known), and for
    how many seconds."""

    phase: str
    share: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """An index of a named vector, or a leftover of building one; `kind` in a few words, such as ``hnsw, halfvec``.

    It was `built` over `built_rows`, where that is known. `dead_rows` are rows of its table that are no more, but that
    searches still go past, and `dead_share` is their share of all. `advice` is what would help it, a sentence each.
    """

    name: str
    table: str
    vector_name: str
    kind: str
    state: Literal["valid", "invalid", "replaced", "missing", "building", "leftover"]
    rows: int
    bytes: int
    built: datetime | None = None
    built_rows: int | None = None
    progress: IndexProgress | None = None
    dead_rows: int = 0
    dead_share: float = 0.0
    advice: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ColumnDescription:
    """A column of a table or a view, with its type as SQL calls it, and what its comment says."""

    name: str
    type: str
    comment: str


@dataclass(frozen=True, slots=True)
class RelationDescription:
    """A table or a view; `key` are the columns of its primary key."""

    name: str
    kind: Literal["table", "view"]
    comment: str
    columns: Sequence[ColumnDescription]
    key: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class FunctionDescription:
    """A function, with its arguments (and their defaults) and what it returns as SQL has them."""

    name: str
    arguments: str
    returns: str
    comment: str


@dataclass(frozen=True, slots=True)
class SchemaDescription:
    """What somebody who queries finds: whatever begins with `_sync_` is a sync's own."""

    schema: str
    relations: Sequence[RelationDescription]
    functions: Sequence[FunctionDescription]


@dataclass(frozen=True, slots=True)
class SqlResult:
    """What one statement gave: rows under their columns, or, without any, what Postgres says was done."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    status: str


@dataclass(frozen=True, slots=True)
class VectorCount:
    """How many features have a named vector of one dimension (None: a sparse one), and in which `place`: ``the table
    video__model_704``. `modality` is None where one place holds those of all modalities."""

    modality: Modality | None
    vector_name: str
    dimension: int | None
    rows: int
    place: str


@dataclass(frozen=True, slots=True)
class SecurityFinding:
    """Something that is not ours, or lets somebody do more than they need: ``table media.video``, its `problem`,
    and as `remedy` what to run or do."""

    subject: str
    problem: str
    remedy: str


@dataclass(frozen=True, slots=True)
class SecurityCheck:
    """What was found, seen from the account that loads (empty: from whoever runs this)."""

    loader: str
    findings: Sequence[SecurityFinding]


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


@dataclass(frozen=True, slots=True)
class IndexAdvice:
    """How one named vector of a dimension (None: a sparse one) is searched, and what would be better.

    Its `index` is said in a few words (``none`` where there is none), with so many bytes on disk and about so many
    seconds to build over the rows that are there now; whether it is `fine`, and in words what to change, and why.
    """

    table: str
    vector_name: str
    rows: int
    dimension: int | None
    index: str
    index_bytes: int
    build_seconds: float
    fine: bool
    advice: str


@dataclass(frozen=True, slots=True, eq=False)
class Planned:
    """A destination as `prepare` would leave it.

    `statements` are those that `prepare` would make or change something with, in order, and it `reshapes` where one of
    them renames, casts or drops what is there; `notes` tell in words what
    else a sync would do here, and what cannot be known before. `known` and `asset_ids` answer as the destination's
    methods of that name would after `prepare`, and `collections` as `stored_collections`: empty before the first sync.
    Of an asset that is there but would be read again in any case, `known` gives an empty fingerprint.
    `related_hashes`, `cursor` and `origin` answer as the methods of these names. `averages` are None when nothing is
    stored. `refusal` says why a sync would be refused, by whoever is asking, and what helps. `vector_counts` are of all
    named vectors, `vector_kinds` as the method of that name, and `index_advice` is about each that has an index.
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
    vector_kinds: Sequence[VectorKind] = ()
    index_advice: Sequence[IndexAdvice] = ()


class Health(StrEnum):
    """How something is: as it should be, worth a look, or so that a sync would fail."""

    GOOD = "good"
    NOTE = "note"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A sentence about something that whoever sets a sync up wants to know; where it is wrong, with what helps."""

    text: str
    health: Health = Health.GOOD


class Destination(ABC):
    """A store that features are upserted into.

    What is abstract every destination does. What has an answer here is overridden where there is more to say. The rest
    belongs to a `Capability`, which its docstring names: whoever overrides these methods declares it, and they raise
    `NotSupportedError` where it is not declared. `prepare` comes before everything but `lock`, `place`, `planned`,
    and what says so. Every method may raise `DestinationError`.
    """

    capabilities: frozenset[Capability] = frozenset()
    """What this one does beyond what every destination must."""

    @property
    @abstractmethod
    def name(self) -> str:
        """A short label for logs and summaries, unique within the sync."""

    @abstractmethod
    def prepare(self, mapping: SchemaMapping) -> None:
        """Make or extend whatever the mapping needs. A no-op, without any write, when nothing is missing."""

    @abstractmethod
    def known(self, collection: str, asset_ids: Sequence[str]) -> Mapping[str, Known]:
        """The ledger's entries for those of these assets that it has."""

    @abstractmethod
    def apply(self, batch: Batch) -> Applied:
        """Replace these assets as wholes: upsert their rows and vectors, remove their stale ones, record
        fingerprints and quarantine. All or nothing, and the same batch again changes nothing.

        What a rejected record names is not stale: the stored feature with all its vectors, the one vector, or the value
        of the one column stays until a good one comes, counts as unchanged, and the record is `kept`.

        An asset that is only rejected loses the fingerprint that the ledger has of it: it is read again even when the
        source goes back to what it was, and leaves the quarantine then."""

    @abstractmethod
    def asset_ids(self, collection: str) -> Iterable[str]:
        """Every asset of a collection in the ledger or the quarantine, streamed."""

    @abstractmethod
    def remove(self, collection: str, asset_ids: Sequence[str]) -> Applied:
        """Remove assets that a complete scan did not see, with their features, vectors and ledger entries."""

    @abstractmethod
    def quarantined(self, collection: str) -> int:
        """How many records of a collection are in quarantine."""

    @abstractmethod
    def status(self) -> Status:
        """Row counts, tables and quarantine as they are now."""

    @abstractmethod
    def search(self, query: SearchQuery) -> SearchAnswer:
        """Answer a similarity query."""

    @abstractmethod
    def close(self) -> None:
        """Release connections. Safe to call twice."""

    # What has an answer where a destination has nothing to say.

    def build_indexes(self) -> Sequence[IndexBuild]:
        """Build the vector indexes that are due; nothing when all are there and valid."""
        return ()

    def delivered(self, wait: float = 0) -> Delivery:
        """What writing has cost since this was opened, and how far queries see what this wrote: as it is known now,
        or after waiting up to `wait` seconds for queries to see all of it."""
        return Delivery()

    def place(self) -> str | None:
        """Where it writes, without secrets: the same text for all that write there, however they were spelled. None
        where no two of them could be one."""
        return None

    def advice(self) -> Sequence[str]:
        """What it does not do, or does otherwise, and what to change; a sentence or two each."""
        return ()

    def diagnose(self) -> Iterable[Diagnosis]:
        """What there is to know of the place before a first sync: versions, room, what is about to run out. Writes
        nothing, and needs no `prepare`."""
        return ()

    def vector_counts(self, vector_names: Collection[str]) -> Sequence[VectorCount]:
        """Those of these named vectors that have more than one dimension now, one count for each, where each dimension
        has a place of its own. Counts nothing where none has."""
        return ()

    def vector_kinds(self) -> Iterable[VectorKind]:
        """The named vectors that it has a place for, one for each dimension: they count towards what a source may make
        anew. None where a new name makes nothing."""
        return ()

    def digest_sums(self, collection: str, slices: int) -> SliceSums[DigestKind] | None:
        """What `digests` would give of a whole collection, summed up by kind in so many slices of it (a power of two),
        without reading it out. None where that cannot be said, and everything is compared.

        An asset is in the slice that the lowest bits of a hash of its id are. Who hashes otherwise than another
        destination only differs from it in every slice."""
        return None

    def slice_assets(self, collection: str, slices: Set[int]) -> Iterable[str]:
        """The assets of a collection that are in one of these of its `SLICES`, in any order. Asked of who sums up;
        where none of two names any, everything is compared."""
        return ()

    def reading_allowance(self) -> Allowance | None:
        """The `allowance` for a command that writes nothing here; None where its user may not write, and so could not
        borrow. Asked of who keeps one."""
        return self.allowance()

    # What belongs to a capability.

    def allowance(self) -> Allowance:
        """`ALLOWANCE`: what the processes that share this store may ask of a source's service together. It is used
        beside everything else, from the thread of the source, until the destination is closed."""
        raise Capability.ALLOWANCE.missing(self.name)

    def lock(self, collection: str, wait: float = 0) -> AbstractContextManager[None]:
        """`LOCK`: keep everybody else who would lock this collection out until the block ends, or this process does.

        Everything may be called in the block, from the same thread. Waits up to `wait` seconds for who is in there.
        Raises `LockedError`, which says who that is. Where what keeps others out can end before the block does, no
        method writes the collection any more, and each that was to raises `LockLostError`.
        """
        raise Capability.LOCK.missing(self.name)

    def planned(self, mapping: SchemaMapping) -> Planned:
        """`PLAN`: what a sync under this mapping would find, make and change. Writes nothing.

        What it answers with may be asked until the destination is closed. Raises what `prepare` would raise.
        """
        raise Capability.PLAN.missing(self.name)

    def tombstone(self, collection: str, asset_ids: Sequence[str]) -> Applied:
        """`TOMBSTONES`: hide these assets with their features: they are in no answer any more, as if they had been
        removed, and count as deleted. Their ledger entries and quarantine records go, so that `apply` brings them back
        as it would insert them; but it finds their vectors where they were, and writes none that is the same. `remove`
        removes them."""
        raise Capability.TOMBSTONES.missing(self.name)

    def stored_collections(self) -> Sequence[str]:
        """`STORED_COLLECTIONS`: the collections of which `asset_ids` names anything, be it in the quarantine only. Of
        others a first load asks nothing by `known`. `STORED_ASSETS` takes this along."""
        raise Capability.STORED_COLLECTIONS.missing(self.name)

    def stored(self, collection: str, asset_ids: Sequence[str]) -> Iterable[MappedAsset]:
        """`STORED_ASSETS`: these assets with all their features and vectors, as they would be applied, streamed, so
        that other destinations can be filled from it. Vectors (and their hashes) are as they are stored, which may be
        less precise than the source had them."""
        raise Capability.STORED_ASSETS.missing(self.name)

    def contents(self, collection: str, asset_ids: Sequence[str]) -> Mapping[str, Contents]:
        """`CONTENTS`: what its books say is in each of these assets, also in those that `known` leaves out; nothing of
        an asset that it does not have, or hides.

        With it, an asset that comes with less than is stored of it is read a second time first, and the delete guard
        counts features and vectors.
        """
        raise Capability.CONTENTS.missing(self.name)

    def content_counts(self, collection: str) -> RowCounts:
        """`CONTENTS`: how many features and vectors its books have of a collection, hidden ones left out."""
        raise Capability.CONTENTS.missing(self.name)

    def rejected(self, collection: str | None = None) -> Iterable[tuple[str, Rejected, datetime]]:
        """`QUARANTINE`: the collection, the record and when it was written, for every record in quarantine of one
        collection or of all, streamed; sorted by collection, asset and feature. Times are aware. Needs no `prepare`."""
        raise Capability.QUARANTINE.missing(self.name)

    def forget_rejected(self, collection: str, asset_ids: Sequence[str], reason: Reason | None = None) -> int:
        """`QUARANTINE`: drop the records of these assets, all or those of one reason; how many there were. Nothing else
        changes: an asset that the ledger has is not read again before it changes. Needs no `prepare`."""
        raise Capability.QUARANTINE.missing(self.name)

    def read_again(self, collection: str, asset_ids: Sequence[str], *, in_run: bool = False) -> int:
        """`QUARANTINE`: let the next sync read these assets as if they had changed: `known` has an empty fingerprint
        for them until they are applied again. How many of them the ledger had. Rows and records stay. Needs no
        `prepare`. `in_run`: the run of this collection that is under way asks, which knows what its cursor leaves."""
        raise Capability.QUARANTINE.missing(self.name)

    def discrepancies(self, collection: str, sample: int | None = None) -> Iterable[Discrepancy]:
        """`VERIFY`: every record of a collection that is missing, extra or different from what the destination's own
        books say, streamed. Which records there are is compared for all assets; their contents for all (None), or for
        at most `sample` assets, other ones each time."""
        raise Capability.VERIFY.missing(self.name)

    def digests(self, collection: str, asset_ids: Sequence[str] | None = None) -> Iterable[StoredDigest]:
        """`VERIFY`: what the books say of every row and vector of these assets (None: all of a collection), streamed,
        sorted by asset, feature, modality and vector name. Two destinations that were given the same vectors answer
        alike, however exactly they store them; a row or vector whose own hash the books do not have has an empty
        digest."""
        raise Capability.VERIFY.missing(self.name)

    def distrust(self, collection: str, discrepancies: Iterable[Discrepancy]) -> None:
        """`VERIFY`: until it has written these assets again, `known` leaves them out, `asset_ids` names them all, and
        `apply` writes those of their records that were found to be different, whatever their hashes say."""
        raise Capability.VERIFY.missing(self.name)

    def unrecorded_collections(self) -> Mapping[str, Sequence[str]]:
        """`VERIFY`: collections that searches find something of and that no book names, so that `stored_collections`
        has none of them and no sync ever removes it; each with what does, in statements or in words. No more than
        `MOST_UNRECORDED` at once."""
        raise Capability.VERIFY.missing(self.name)

    def security(self) -> SecurityCheck:
        """`SECURITY`: who else may change what it holds, or have this run something: owners, rights that are wider than
        documented, code of others, modes of directories. Needs no `prepare`, and no right to read."""
        raise Capability.SECURITY.missing(self.name)

    def cursor(self, collection: str) -> Cursor | None:
        """`CURSORS`: how far the changes of a collection have been followed, as it was recorded last, if that still
        holds. None where what is kept is void.

        A cursor says that everything up to it is here. Whatever makes that untrue forgets it, void or not:
        `read_again`, `distrust`, and whatever else lets assets be read again (another layout, an index that is gone).
        A run that was under way by then has decided on some of them already, and records none. What only the run itself
        does under its `lock` (`remove`, `tombstone`, `read_again` with `in_run`) makes it void.
        """
        raise Capability.CURSORS.missing(self.name)

    def record_cursor(self, collection: str, cursor: Cursor | None, before: Cursor | None = None) -> None:
        """`CURSORS`: keep this one, void or not; None: forget what is kept. Writes nothing when that changes nothing.

        With the one `before`, only while that entry is still kept, void or not: else somebody has forgotten it. To look
        and to write is one step."""
        raise Capability.CURSORS.missing(self.name)

    def origin(self, collection: str) -> Origin | None:
        """`ORIGINS`: who a collection was read as, as it was recorded last, so that another account's listing is not
        taken for deletes."""
        raise Capability.ORIGINS.missing(self.name)

    def record_origin(self, collection: str, origin: Origin | None) -> None:
        """`ORIGINS`: keep this one; None: forget what is kept. Writes nothing when that changes nothing."""
        raise Capability.ORIGINS.missing(self.name)

    def record_runs(self, runs: Sequence[RecordedRun]) -> None:
        """`RUNS`: enter what became of each collection of a run, all or nothing; the same run again takes the place of
        what was entered. Of each collection only the newest hundred or so stay."""
        raise Capability.RUNS.missing(self.name)

    def runs(
        self, since: datetime | None = None, limit: int = 1_000, collection: str | None = None
    ) -> Sequence[RecordedRun]:
        """`RUNS`: what was entered, newest first; with `since`, what was entered at or after this time, oldest first.
        Of one `collection`, or of all (None). Nothing where no run was ever recorded. Needs no `prepare`."""
        raise Capability.RUNS.missing(self.name)

    def related_hashes(self, table: RelatedTable) -> Mapping[str, bytes]:
        """`RELATED_TABLES`: by key, the hash of each row that it holds; empty when it does not have the table yet."""
        raise Capability.RELATED_TABLES.missing(self.name)

    def replace_related(self, table: RelatedTable, rows: Sequence[RelatedRow], *, complete: bool) -> Counts:
        """`RELATED_TABLES`: make the table hold these rows, no key twice: all or nothing, and nothing is written where
        nothing differs.

        Rows under other keys go if `complete`, else they stay. Raises `ConfigurationError` when something that is not
        ours has the table's name.
        """
        raise Capability.RELATED_TABLES.missing(self.name)

    def shard_book(self) -> ShardBook:
        """`SHARDS`: where the shards of a run are kept that several workers share: a book with a connection of its own,
        to be used from one thread and closed. Needs no `prepare`, and no run finds one before there was a sync.

        Whoever declares this writes a batch with `fences` only while each of them stands, raises `TakenOverError` where
        one does not, and lets every other run go that has shared a collection, as soon as it has its `lock`.
        """
        raise Capability.SHARDS.missing(self.name)

    def catch_up(self) -> None:
        """`SHARDS`: take note of what other workers have made here since (tables of vectors, indexes)."""
        raise Capability.SHARDS.missing(self.name)

    def vector_tables(self) -> Sequence[VectorTable]:
        """`VECTOR_TABLES`: the tables of all named vectors, one for each dimension, sorted by modality and name, those
        of one name from the oldest to the newest. Needs no `prepare`."""
        raise Capability.VECTOR_TABLES.missing(self.name)

    def describe(self) -> SchemaDescription:
        """`SQL`: its tables, views and functions, and what the comments in the database say of them. Needs no
        `prepare`."""
        raise Capability.SQL.missing(self.name)

    def sql_environment(self) -> AbstractContextManager[Mapping[str, str]]:
        """`SQL`: for a block, the variables with which libpq's programs (psql, pg_dump) reach the database, with the
        password, and find its schema without a prefix. Needs no `prepare`."""
        raise Capability.SQL.missing(self.name)

    def run_sql(self, statements: str) -> Iterable[SqlResult]:
        """`SQL`: run somebody's statements, each on its own, with the schema in the path. Needs no `prepare`. Raises
        `ConfigurationError` for one that the database refuses, with its words."""
        raise Capability.SQL.missing(self.name)

    def first_rows(self, limit: int, table: str | None = None) -> Mapping[str, SqlResult]:
        """`SQL`: by table, the first rows of each (or of one) in the order of their keys. Needs no `prepare`. Raises
        `ConfigurationError` for a table that is none."""
        raise Capability.SQL.missing(self.name)

    def vector_indexes(self) -> Sequence[VectorIndex]:
        """`INDEXES`: the index of each named vector, as it is or as it is missing, and what building has left. Needs no
        `prepare`."""
        raise Capability.INDEXES.missing(self.name)

    def index_progress(self) -> Mapping[str, IndexProgress]:
        """`INDEXES`: by table, how far the index is that is being built there, by whomever. Needs no `prepare`."""
        raise Capability.INDEXES.missing(self.name)

    def rebuild_indexes(self, names: Sequence[str]) -> Iterable[IndexBuild]:
        """`INDEXES`: build these vector indexes anew (none: all), one after the other, each beside the old one, which
        answers meanwhile; what is missing or broken is built, and leftovers go. Yields each that is built. A name is an
        index's, its table's, its view's or its vector's. Needs no `prepare`.

        Raises `ConfigurationError` for a name that is none, and `LockedError` where somebody's transaction, or another
        build, is in the way.
        """
        raise Capability.INDEXES.missing(self.name)

    def drop_vector_tables(self, tables: Sequence[str]) -> Sequence[VectorTable]:
        """`VECTOR_TABLES`: drop these tables with what shows them: retired ones, and ones without any row. All or
        nothing. Needs no `prepare`.

        Raises `ConfigurationError` for one that is not there, that is in use, or that somebody has built upon, and
        `LockedError` while a sync is running.
        """
        raise Capability.VECTOR_TABLES.missing(self.name)
