"""The manifest's rows: places, features with their unconfirmed records, the ledger, and all of them in numbers."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final, TypeAlias

from sqlalchemy import ColumnElement, Connection, Table, Text, delete, exists, func, literal, select, tuple_, update
from sqlalchemy.dialects.postgresql import ARRAY, insert

from vectorferry.connector.plugin import Batch, ConfigurationError, Known, MappedAsset, Modality, VectorCount
from vectorferry.destinations._postgres import (
    FeatureKey,
    Row,
    count_rejected,
    delete_keys,
    diff_table,
    forget_cursors,
    forget_unread,
    known_assets,
    of_assets,
    recorded_features,
    send,
)
from vectorferry.destinations.pinecone._manifest_tables import (
    HeldFeature,
    IndexRow,
    ManifestCounts,
    ManifestRows,
    ManifestTables,
    NamespaceRow,
    Place,
)

__all__ = [
    "RecordCounts",
    "advance",
    "any_assets",
    "asset_hashes",
    "assets_after",
    "can_be_ours",
    "certain_assets",
    "check_settings",
    "confirm",
    "count_records",
    "count_vectors",
    "features_after",
    "forget_index",
    "forget_namespace",
    "has_records_in",
    "is_storable",
    "journal",
    "note_visible",
    "read_counts",
    "read_features",
    "read_indexes",
    "read_indexes_of",
    "read_namespaces",
    "read_unconfirmed",
    "record_settings",
    "unconfirmed_keys",
    "write_features",
    "write_found",
    "write_index",
    "write_ledger",
]


def record_settings(connection: Connection, tables: ManifestTables, values: Mapping[str, str], place: str) -> None:
    """Keep settings that are new. Raises `ConfigurationError` for one that is not what it was; `place` says where."""
    held = check_settings(connection, tables, values, place)
    new = [{"key": key, "value": value} for key, value in sorted(values.items()) if key not in held]
    if new:
        connection.execute(insert(tables.settings).on_conflict_do_nothing(), new)


def check_settings(
    connection: Connection, tables: ManifestTables, values: Mapping[str, str], place: str
) -> Mapping[str, str]:
    """The settings that are kept. Raises `ConfigurationError` for one that is not what it was; `place` says where."""
    held = {row.key: row.value for row in connection.execute(select(tables.settings))}
    for key, value in values.items():
        if held.get(key, value) != value:
            raise ConfigurationError(
                f"{key}: the records in Pinecone were written under {held[key]!r}, not {value!r}, says the manifest in "
                f"{place}. Set it back to {held[key]!r}, or give the manifest another `schema` to start anew."
            )
    return held


def read_indexes(connection: Connection, tables: ManifestTables) -> dict[str, IndexRow]:
    """Every index that records were written to."""
    found = connection.execute(select(tables.indexes).order_by(tables.indexes.c.name))
    return {row.name: IndexRow(*row) for row in found}


def write_index(connection: Connection, tables: ManifestTables, row: IndexRow) -> None:
    """Enter an index, or correct its entry."""
    values = {
        "vector_name": row.vector_name,
        "dimension": row.dimension,
        "metric": row.metric,
        "host": row.host,
        "complete": row.complete,
    }
    if read_indexes(connection, tables).get(row.name) != row:
        connection.execute(
            insert(tables.indexes)
            .values(name=row.name, **values)
            .on_conflict_do_update(index_elements=["name"], set_=values)
        )


def forget_index(connection: Connection, tables: ManifestTables, name: str) -> None:
    """Forget an index with its records. Assets that had some are not known any more, and will be read again."""
    features = tables.features
    has_records = features.c.records.has_key(name)
    connection.execute(delete(tables.ledger).where(has_records_in(tables, name)))
    without = features.c.records.op("-")(literal(name, Text))
    connection.execute(update(features).where(has_records).values(records=without))
    connection.execute(delete(tables.unconfirmed).where(tables.unconfirmed.c.index_name == name))
    connection.execute(delete(tables.namespaces).where(tables.namespaces.c.index_name == name))
    connection.execute(delete(tables.indexes).where(tables.indexes.c.name == name))
    forget_cursors(connection, tables.cursors)


def has_records_in(tables: ManifestTables, index: str) -> ColumnElement[bool]:
    """Of a ledger's row: the asset has records in this index."""
    features, ledger = tables.features, tables.ledger
    of_asset = (features.c.collection == ledger.c.collection, features.c.asset_id == ledger.c.asset_id)
    return exists().where(*of_asset, features.c.records.has_key(index))


def read_namespaces(connection: Connection, tables: ManifestTables) -> list[NamespaceRow]:
    """Every namespace that holds, or has held, records."""
    namespaces = tables.namespaces
    found = connection.execute(select(namespaces).order_by(namespaces.c.index_name, namespaces.c.collection))
    return [NamespaceRow(*row) for row in found]


def forget_namespace(connection: Connection, tables: ManifestTables, row: NamespaceRow) -> None:
    """Forget how far a namespace was written, unless it was written further meanwhile."""
    namespaces = tables.namespaces
    of_row = (namespaces.c.index_name == row.index, namespaces.c.collection == row.collection)
    connection.execute(delete(namespaces).where(*of_row, namespaces.c.lsn == row.lsn))


def note_visible(connection: Connection, tables: ManifestTables, row: NamespaceRow, visible: int) -> None:
    """Note how far queries were seen to see a namespace."""
    namespaces = tables.namespaces
    of_row = (namespaces.c.index_name == row.index, namespaces.c.collection == row.collection)
    connection.execute(
        update(namespaces).where(*of_row, namespaces.c.visible < visible).values(visible=func.least(visible, row.lsn))
    )


def advance(
    connection: Connection, tables: ManifestTables, collection: str, namespace: str, written: Mapping[str, int]
) -> None:
    """Note by index how far the namespace of a collection has been written; it never goes back."""
    if not written:
        return
    rows = [
        {"index_name": index, "collection": collection, "namespace": namespace, "lsn": written[index]}
        for index in sorted(written)
    ]
    new = insert(tables.namespaces).values(rows)
    connection.execute(
        new.on_conflict_do_update(
            index_elements=["index_name", "collection"],
            set_={"lsn": new.excluded.lsn},
            where=tables.namespaces.c.lsn < new.excluded.lsn,
        )
    )


# The manifest's rows of features and of unconfirmed records: reading and writing them.


_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


_LONGEST_ID: Final = 512
"""In bytes. The engine hands no longer one to any destination."""


def read_features(
    connection: Connection, features: Table, collection: str, asset_ids: Sequence[str]
) -> dict[FeatureKey, HeldFeature]:
    """The features of some assets."""
    columns = (column for column in features.c if column.name != "collection")
    rows = connection.execute(select(*columns).where(of_assets(features, collection, asset_ids)))
    return {(asset_id, feature_id): feature_of(*values) for asset_id, feature_id, *values in rows}


def write_features(connection: Connection, features: Table, batch: Batch, rows: ManifestRows) -> None:
    """Bring the features of a batch's assets to what is wanted; those of other modalities stay."""
    asset_ids = [asset.asset_id for asset in batch.assets]
    held = read_features(connection, features, batch.collection, asset_ids)
    gone_unless_wanted = {*rows.touched, *rows.features}
    compared = {key: one for key, one in held.items() if one.modality in batch.modalities or key in gone_unless_wanted}
    diff = diff_table(_rows(batch.collection, rows.features), compared)
    send(connection, features, features.c.keys(), diff)
    delete_keys(connection, features, batch.collection, diff.delete)


def write_found(
    connection: Connection, features: Table, collection: str, index: str, found: Mapping[FeatureKey, HeldFeature]
) -> None:
    """Add records that were found in an index to what is known of their features."""
    held = read_features(connection, features, collection, sorted({asset_id for asset_id, _ in found}))
    wanted = {key: held[key].also_in(index, one) if key in held else one for key, one in found.items()}
    send(connection, features, features.c.keys(), diff_table(_rows(collection, wanted), held))


def can_be_ours(collection: str, key: FeatureKey) -> bool:
    """Whether these are names that a sync takes. If not, none has ever written a record under them."""
    return all(is_storable(text) and len(text.encode()) <= _LONGEST_ID for text in (collection, *key))


def is_storable(text: str) -> bool:
    """Whether Postgres can hold this text."""
    return not _UNSTORABLE.search(text)


def read_unconfirmed(
    connection: Connection, unconfirmed: Table, collection: str, asset_ids: Sequence[str]
) -> dict[Place, Modality]:
    """The unconfirmed records of some assets."""
    columns = (unconfirmed.c[name] for name in ("asset_id", "feature_id", "index_name", "modality"))
    rows = connection.execute(select(*columns).where(of_assets(unconfirmed, collection, asset_ids)))
    return {Place(*place): Modality(modality) for *place, modality in rows}


def journal(connection: Connection, unconfirmed: Table, collection: str, places: Mapping[Place, Modality]) -> None:
    """Enter records as unconfirmed, in one statement: nothing can be sent before it."""
    columns = [unconfirmed.c[name] for name in ("asset_id", "feature_id", "index_name", "modality")]
    rows = [(place.asset_id, place.feature_id, place.index, places[place].value) for place in sorted(places)]
    arrays = [literal([*values], ARRAY(Text)) for values in zip(*rows, strict=True)]
    entered = func.unnest(*arrays).table_valued(*(column.name for column in columns)).render_derived()
    new = insert(unconfirmed).from_select(
        ["collection", *(column.name for column in columns)], select(literal(collection, Text), *entered.c)
    )
    keys = unconfirmed.primary_key.columns
    connection.execute(new.on_conflict_do_update(index_elements=keys, set_={"modality": new.excluded.modality}))


def confirm(connection: Connection, unconfirmed: Table, batch: Batch, uncertain: Set[FeatureKey]) -> None:
    """Strike out the records of a batch's assets, but for those of `uncertain` features; of modalities that it is not
    about, nothing has become certain."""
    asset_ids = [asset.asset_id for asset in batch.assets]
    statement = delete(unconfirmed).where(
        of_assets(unconfirmed, batch.collection, asset_ids),
        unconfirmed.c.modality.in_([modality.value for modality in batch.modalities]),
    )
    if uncertain:
        key = tuple_(unconfirmed.c.asset_id, unconfirmed.c.feature_id)
        statement = statement.where(key.not_in(sorted(uncertain)))
    connection.execute(statement)


def feature_of(
    modality: str, row_hash: bytes | None, metadata_hash: bytes, keys_hash: bytes, records: Mapping[str, str]
) -> HeldFeature:
    """A row's values as what the store holds of a feature."""
    return HeldFeature(
        modality=Modality(modality),
        row_hash=row_hash,
        metadata_hash=metadata_hash,
        keys_hash=keys_hash,
        records={index: bytes.fromhex(digest) for index, digest in records.items()},
    )


def _rows(collection: str, features: Mapping[FeatureKey, HeldFeature]) -> dict[FeatureKey, tuple[HeldFeature, Row]]:
    return dict(_keyed_rows(collection, features))


def _keyed_rows(
    collection: str, features: Mapping[FeatureKey, HeldFeature]
) -> Iterator[tuple[FeatureKey, tuple[HeldFeature, Row]]]:
    for key, one in features.items():
        records = {index: digest.hex() for index, digest in one.records.items()}
        yield (
            key,
            (one, (collection, *key, one.modality.value, one.row_hash, one.metadata_hash, one.keys_hash, records)),
        )


# The manifest's ledger: assets whose records are all in the store, as the store has acknowledged.


@dataclass(frozen=True, slots=True)
class _Entry:
    """The values of one row that are compared."""

    fingerprint: str
    features: Mapping[str, int]
    row_hash: bytes
    layout: str


def certain_assets(
    connection: Connection,
    tables: ManifestTables,
    collection: str,
    asset_ids: Sequence[str],
    layout: str,
    *only: ColumnElement[bool],
) -> Mapping[str, Known]:
    """Assets that were written under this layout, and that nobody has begun to write since without ending it; `only`
    under these further conditions."""
    ledger, unconfirmed = tables.ledger, tables.unconfirmed
    touched = exists().where(
        unconfirmed.c.collection == ledger.c.collection, unconfirmed.c.asset_id == ledger.c.asset_id
    )
    return known_assets(connection, ledger, collection, asset_ids, _under(tables, layout), ~touched, *only)


def asset_hashes(
    connection: Connection, tables: ManifestTables, collection: str, asset_ids: Sequence[str]
) -> dict[str, bytes]:
    """The row hashes of those of these assets that the ledger has."""
    ledger = tables.ledger
    found = connection.execute(
        select(ledger.c.asset_id, ledger.c.row_hash).where(of_assets(ledger, collection, asset_ids))
    )
    return {row.asset_id: row.row_hash for row in found}


def write_ledger(
    connection: Connection,
    tables: ManifestTables,
    batch: Batch,
    per_asset: Mapping[str, Mapping[str, int]],
    layout: str,
) -> None:
    """Record a batch's assets. What was recorded of other modalities stays, under the same fingerprint and layout."""
    asset_ids = [asset.asset_id for asset in batch.assets]
    held = _entries(connection, tables, batch.collection, asset_ids)
    before = known_assets(connection, tables.ledger, batch.collection, asset_ids, _under(tables, layout))

    def entry(asset: MappedAsset) -> _Entry:
        features = recorded_features(asset.fingerprint, per_asset[asset.asset_id], before.get(asset.asset_id))
        return _Entry(asset.fingerprint, features, asset.row_hash, layout)

    wanted = {(asset.asset_id, ""): entry(asset) for asset in batch.assets}
    rows = {key: (one, _row(batch.collection, key, one)) for key, one in wanted.items()}
    send(connection, tables.ledger, _LEDGER_COLUMNS, diff_table(rows, held))
    forget_unread(connection, tables.ledger, batch)


def _under(tables: ManifestTables, layout: str) -> ColumnElement[bool]:
    return tables.ledger.c.layout == layout


def _entries(
    connection: Connection, tables: ManifestTables, collection: str, asset_ids: Sequence[str]
) -> dict[FeatureKey, _Entry]:
    ledger = tables.ledger
    columns = (ledger.c[name] for name in ("asset_id", "fingerprint", "features", "row_hash", "layout"))
    found = connection.execute(select(*columns).where(of_assets(ledger, collection, asset_ids)))
    return {(asset_id, ""): _Entry(*values) for asset_id, *values in found}


_LEDGER_COLUMNS: Final = ("collection", "asset_id", "fingerprint", "features", "row_hash", "layout")


def _row(collection: str, key: FeatureKey, entry: _Entry) -> Row:
    return (collection, key[0], entry.fingerprint, entry.features, entry.row_hash, entry.layout)


# The manifest in numbers.


RecordCounts: TypeAlias = dict[tuple[Modality, str | None], int]
"""By modality, and name of an index (None: features)."""


def read_counts(connection: Connection, tables: ManifestTables) -> ManifestCounts:
    """Count everything."""
    return ManifestCounts(
        records=_records(connection, tables.features),
        assets=_assets(connection, tables.ledger),
        quarantined=count_rejected(connection, tables.quarantine),
        last_change=connection.execute(select(func.max(tables.ledger.c.synced_at))).scalar(),
    )


def count_records(connection: Connection, features: Table, collection: str) -> RecordCounts:
    """How many features of a collection there are by modality, and how many records of them by index."""
    modality, of_collection = features.c.modality, features.c.collection == collection
    counted = select(modality, func.count()).where(of_collection).group_by(modality)
    counts: RecordCounts = {(Modality(of), None): number for of, number in connection.execute(counted)}
    index = func.jsonb_object_keys(features.c.records).label("index_name")
    each = select(modality, index).where(of_collection).subquery()
    grouped = (each.c.modality, each.c.index_name)
    for of, name, number in connection.execute(select(*grouped, func.count()).group_by(*grouped)):
        counts[Modality(of), name] = number
    return counts


def count_vectors(
    indexes: Iterable[IndexRow], vector_names: Collection[str], counted: Callable[[], ManifestCounts]
) -> list[VectorCount]:
    """The records of every index of those of these named vectors that have several dimensions. The manifest is
    `counted` only where there is one."""
    wanted = [row for row in indexes if row.vector_name in vector_names]
    dimensions = {(row.vector_name, row.dimension) for row in wanted}
    several = [name for name, count in Counter(name for name, _ in dimensions).items() if count > 1]
    records = counted().records if several else {}
    return [
        VectorCount(
            None,
            row.vector_name,
            row.dimension,
            sum(records.get(row.name, {}).values()),
            f"the index {row.name}, one more that Pinecone counts and bills",
        )
        for row in wanted
        if row.vector_name in several
    ]


def read_indexes_of(connection: Connection, features: Table, modality: Modality) -> frozenset[str]:
    """The indexes that hold records of a modality."""
    names = select(func.jsonb_object_keys(features.c.records)).where(features.c.modality == modality.value)
    return frozenset(connection.execute(names.distinct()).scalars())


def _records(connection: Connection, features: Table) -> dict[str, dict[str, int]]:
    index = func.jsonb_object_keys(features.c.records).label("index_name")
    each = select(index, features.c.collection).subquery()
    grouped = (each.c.index_name, each.c.collection)
    statement = select(*grouped, func.count()).group_by(*grouped).order_by(*grouped)
    records: dict[str, dict[str, int]] = defaultdict(dict)
    for name, collection, count in connection.execute(statement):
        records[name][collection] = count
    return dict(records)


def _assets(connection: Connection, ledger: Table) -> dict[str, int]:
    collection = ledger.c.collection
    counted = connection.execute(
        select(collection, func.count().label("assets")).group_by(collection).order_by(collection)
    )
    return {row.collection: row.assets for row in counted}


# Reading whole collections of the manifest, for a check, a page at a time: no transaction waits for Pinecone.


_PAGE: Final = 1_000


def features_after(
    connection: Connection,
    tables: ManifestTables,
    collection: str,
    after: FeatureKey,
    asset_ids: Sequence[str] | None,
) -> dict[FeatureKey, HeldFeature]:
    """The next features of these assets, or of all (None), by asset and feature; empty at the end."""
    features = tables.features
    key = tuple_(features.c.asset_id, features.c.feature_id)
    which = features.c.collection == collection if asset_ids is None else of_assets(features, collection, asset_ids)
    rows = connection.execute(
        select(*(column for column in features.c if column.name != "collection"))
        .where(which, key > tuple_(*(literal(name) for name in after)))
        .order_by(features.c.asset_id, features.c.feature_id)
        .limit(_PAGE)
    )
    return {(asset_id, feature_id): feature_of(*values) for asset_id, feature_id, *values in rows}


def assets_after(
    connection: Connection, tables: ManifestTables, collection: str, after: str, asset_ids: Sequence[str] | None
) -> list[tuple[str, bytes]]:
    """The row hashes of the next of these assets, or of all (None), by id; empty at the end."""
    ledger = tables.ledger
    which = ledger.c.collection == collection if asset_ids is None else of_assets(ledger, collection, asset_ids)
    columns = select(ledger.c.asset_id, ledger.c.row_hash).where(which, ledger.c.asset_id > after)
    rows = connection.execute(columns.order_by(ledger.c.asset_id).limit(_PAGE))
    return [(asset_id, bytes(row_hash)) for asset_id, row_hash in rows]


def unconfirmed_keys(connection: Connection, tables: ManifestTables, collection: str) -> set[FeatureKey]:
    """Every feature with a record that is being written, or was when a run was killed."""
    unconfirmed = tables.unconfirmed
    keys = select(unconfirmed.c.asset_id, unconfirmed.c.feature_id).where(unconfirmed.c.collection == collection)
    return {(asset_id, feature_id) for asset_id, feature_id in connection.execute(keys)}


def any_assets(connection: Connection, tables: ManifestTables, collection: str, number: int) -> list[str]:
    """So many assets of the ledger, other ones each time."""
    ledger = tables.ledger
    names = select(ledger.c.asset_id).where(ledger.c.collection == collection)
    return list(connection.execute(names.order_by(func.random()).limit(number)).scalars())
