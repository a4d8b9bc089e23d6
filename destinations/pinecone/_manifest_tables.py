"""The tables of the manifest, and what goes into them and comes out. Several manifests may share a schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB

from vectorferry.connector.plugin import Modality
from vectorferry.destinations._postgres import (
    ID,
    FeatureKey,
    ShardTables,
    cursor_table,
    ledger_table,
    limit_table,
    origin_table,
    quarantine_table,
    run_table,
)

_FEATURE: Final = ("collection", "asset_id", "feature_id")


class Place(NamedTuple):
    """Where one record is, within a collection. (There is one for each record that is written, and a dataclass takes
    three times as long to make, hash and sort.)"""

    asset_id: str
    feature_id: str
    index_name: str

    @property
    def key(self) -> FeatureKey:
        """The feature that the record is of."""
        return self[:2]


@dataclass(slots=True)  # a frozen one takes four times as long to make, and there are very many
class RecordedFeature:
    """What is recorded of one feature.

    `records` maps the name of an index to the hash of the vectors in it; the metadata is the same in each. `row_hash`
    is None in a manifest that was rebuilt from the store; empty metadata hashes say that it is not known.
    """

    modality: Modality
    row_hash: bytes | None
    metadata_hash: bytes
    keys_hash: bytes
    records: Mapping[str, bytes]

    def without_row_hash(self) -> RecordedFeature:
        """The same, as a manifest that was rebuilt from the store has it."""
        return replace(self, row_hash=None)

    def without(self, index: str) -> RecordedFeature:
        """The same without the record in an index."""
        return replace(self, records={name: digest for name, digest in self.records.items() if name != index})

    def also_in(self, index: str, other: RecordedFeature) -> RecordedFeature:
        """The same with the record that was found in an index; metadata that differs is not known any more."""
        same = (self.metadata_hash, self.keys_hash) == (other.metadata_hash, other.keys_hash)
        joined = replace(self, records={**self.records, index: other.records[index]})
        return joined if same else replace(joined, metadata_hash=b"", keys_hash=b"")


@dataclass(frozen=True, slots=True)
class RecordedAssets:
    """What is recorded of some assets of one collection.

    `assets` maps asset ids to row hashes. `unconfirmed` are the places that a run which never came to its end has
    touched: a record may or may not be there, with unknown content.
    """

    features: Mapping[FeatureKey, RecordedFeature] = field(default_factory=dict)
    assets: Mapping[str, bytes] = field(default_factory=dict)
    unconfirmed: Mapping[Place, Modality] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ManifestRows:
    """What the manifest should hold for a batch's assets. `per_asset` counts features by modality, for the ledger.

    Of features that were `touched`, nothing else stays, of whatever modality they were before. Those that are
    `uncertain` stay as they are, and in the journal: a run that was killed had begun to write them, this one has not.
    """

    features: Mapping[FeatureKey, RecordedFeature]
    per_asset: Mapping[str, Mapping[str, int]]
    touched: Set[FeatureKey] = frozenset()
    uncertain: Set[FeatureKey] = frozenset()


@dataclass(frozen=True, slots=True)
class IndexRow:
    """One index. `dimension` is None for sparse vectors; `host` is where it is written and queried.

    An index is `complete` once all of its records are known: not while a lost manifest is being rebuilt from it.
    """

    name: str
    vector_name: str
    dimension: int | None
    metric: str
    host: str
    complete: bool = True


@dataclass(frozen=True, slots=True)
class NamespaceRow:
    """One namespace of one index; `lsn` is the highest sequence number that a write to it was answered with, `visible`
    the highest of these that a query is known to have seen."""

    index: str
    collection: str
    namespace: str
    lsn: int
    visible: int = 0


@dataclass(frozen=True, slots=True)
class ManifestCounts:
    """What there is: features, records per index and collection, assets per collection, quarantine, last change."""

    features: int
    records: Mapping[str, dict[str, int]]
    assets: Mapping[str, int]
    quarantined: int
    last_change: datetime | None


class ManifestTables:
    """The tables of the manifest of the destination of this name. A schema may hold several manifests, and a pgvector
    sync."""

    def __init__(self, schema: str, name: str) -> None:
        self.metadata = MetaData(schema=schema)
        self._prefix = f"_sync_{name.replace('-', '_')}"
        self.ledger = ledger_table(
            f"{self._prefix}_ledger",
            self.metadata,
            Column("row_hash", LargeBinary, nullable=False),
            Column("layout", Text, nullable=False, comment="how features became records; another one: read again"),
        )
        self.features = self._features()
        self.unconfirmed = self._unconfirmed()
        self.indexes = self._indexes()
        self.namespaces = self._namespaces()
        self.quarantine = quarantine_table(f"{self._prefix}_quarantine", self.metadata)
        self.cursors = cursor_table(f"{self._prefix}_cursors", self.metadata)
        self.origins = origin_table(f"{self._prefix}_origins", self.metadata)
        self.runs = run_table(f"{self._prefix}_runs", self.metadata)
        self.sharing = ShardTables(self._prefix, self.metadata)
        self.limits = limit_table(self.metadata)  # of the schema, and not of this manifest
        self.settings = self._settings()

    @property
    def naming_assets(self) -> Sequence[Table]:
        """Every table that an asset may be named in."""
        return self.ledger, self.quarantine, self.unconfirmed, self.features

    def _features(self) -> Table:
        return Table(
            f"{self._prefix}_features",
            self.metadata,
            *(Column(name, ID, nullable=False) for name in _FEATURE),
            Column("modality", Text, nullable=False),
            Column("row_hash", LargeBinary, comment="null: found in the store, not yet seen at the source"),
            Column("metadata_hash", LargeBinary, nullable=False),
            Column("keys_hash", LargeBinary, nullable=False),
            Column("records", JSONB, nullable=False, comment="by index: the hash of the vectors in it"),
            PrimaryKeyConstraint(*_FEATURE),
            Index(f"{self._prefix}_features_feature_id", "feature_id"),
        )

    def _unconfirmed(self) -> Table:
        return Table(
            f"{self._prefix}_unconfirmed",
            self.metadata,
            *(Column(name, ID, nullable=False) for name in (*_FEATURE, "index_name")),
            Column("modality", Text, nullable=False),
            PrimaryKeyConstraint(*_FEATURE, "index_name"),
            comment="records that are being written, or were when a run was killed",
        )

    def _indexes(self) -> Table:
        return Table(
            f"{self._prefix}_indexes",
            self.metadata,
            Column("name", ID, primary_key=True),
            Column("vector_name", Text, nullable=False),
            Column("dimension", Integer, comment="null: sparse"),
            Column("metric", Text, nullable=False),
            Column("host", Text, nullable=False),
            Column("complete", Boolean, nullable=False, comment="false: its records are still being looked up"),
        )

    def _namespaces(self) -> Table:
        return Table(
            f"{self._prefix}_namespaces",
            self.metadata,
            Column("index_name", ID, nullable=False),
            Column("collection", ID, nullable=False),
            Column("namespace", Text, nullable=False),
            Column("lsn", BigInteger, nullable=False, comment="highest that a write was answered with"),
            Column("visible", BigInteger, nullable=False, server_default="0", comment="seen by a query up to here"),
            PrimaryKeyConstraint("index_name", "collection"),
        )

    def _settings(self) -> Table:
        return Table(
            f"{self._prefix}_settings",
            self.metadata,
            Column("key", ID, primary_key=True),
            Column("value", Text, nullable=False),
        )
