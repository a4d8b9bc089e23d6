"""Reading and writing the manifest's rows: features with their unconfirmed records, the ledger, namespaces, counts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Connection,
    Subquery,
    Table,
    Text,
    and_,
    delete,
    exists,
    false,
    func,
    literal,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert

from vectorferry.connector.plugin import Batch, Known, MappedAsset, Modality, VectorCount
from vectorferry.destinations._postgres import (
    FeatureKey,
    Row,
    SummedRows,
    count_rejected,
    delete_keys,
    diff_table,
    digest_hashes,
    forget_cursors,
    forget_unread,
    in_hex,
    is_storable,
    key_hash,
    known_assets,
    of_assets,
    read_sums,
    recorded_features,
    send_rows,
    side_by_side,
    slice_of,
    sum_up,
    text_array,
)
from vectorferry.destinations.pinecone._manifest_tables import (
    IndexRow,
    ManifestCounts,
    ManifestRows,
    ManifestTables,
    NamespaceRow,
    Place,
    RecordedFeature,
)

RecordCounts: TypeAlias = dict[tuple[Modality, str | None], int]
"""By modality, and name of an index (None: features)."""

_LONGEST_ID: Final = 512
"""In bytes. The engine hands no longer one to any destination."""


# Features.


def read_features(
    connection: Connection, features: Table, collection: str, asset_ids: Sequence[str]
) -> dict[FeatureKey, RecordedFeature]:
    """The features of some assets."""
    return _features_where(connection, features, of_assets(features, collection, asset_ids))


def read_features_after(
    connection: Connection,
    features: Table,
    collection: str,
    key: FeatureKey,
    asset_ids: Sequence[str] | None,
    number: int,
) -> dict[FeatureKey, RecordedFeature]:
    """The next features of these assets, or of all (None), by asset and feature; empty at the end."""
    some = features.c.collection == collection if asset_ids is None else of_assets(features, collection, asset_ids)
    after = tuple_(features.c.asset_id, features.c.feature_id) > tuple_(*(literal(name) for name in key))
    return _features_where(connection, features, and_(some, after), number)


def write_features(connection: Connection, features: Table, batch: Batch, rows: ManifestRows) -> None:
    """Bring the features of a batch's assets to what is desired; those of other modalities stay."""
    asset_ids = [asset.asset_id for asset in batch.assets]
    recorded = read_features(connection, features, batch.collection, asset_ids)
    replaced = {*rows.touched, *rows.features}
    compared = {key: row for key, row in recorded.items() if row.modality in batch.modalities or key in replaced}
    diff = diff_table(_feature_rows(batch.collection, rows.features), compared)
    send_rows(connection, features, features.c.keys(), diff)
    delete_keys(connection, features, batch.collection, diff.delete)


def write_adopted(
    connection: Connection, features: Table, collection: str, index: str, adopted: Mapping[FeatureKey, RecordedFeature]
) -> None:
    """Add records that were found in an index to what is known of their features."""
    recorded = read_features(connection, features, collection, sorted({asset_id for asset_id, _ in adopted}))
    joined = {
        key: recorded[key].also_in(index, feature) if key in recorded else feature for key, feature in adopted.items()
    }
    send_rows(connection, features, features.c.keys(), diff_table(_feature_rows(collection, joined), recorded))


def can_be_ours(collection: str, key: FeatureKey) -> bool:
    """Whether these are names that a sync takes. If not, none has ever written a record under them."""
    return all(is_storable(text) and len(text.encode()) <= _LONGEST_ID for text in (collection, *key))


def _features_where(
    connection: Connection, features: Table, condition: ColumnElement[bool], number: int | None = None
) -> dict[FeatureKey, RecordedFeature]:
    columns = (column for column in features.c if column.name != "collection")
    statement = select(*columns).where(condition)
    if number is not None:
        statement = statement.order_by(features.c.asset_id, features.c.feature_id).limit(number)
    rows = connection.execute(statement).all()
    return {
        (asset_id, feature_id): RecordedFeature(
            modality=Modality(modality),
            row_hash=row_hash,
            metadata_hash=metadata_hash,
            keys_hash=keys_hash,
            records={index: _digest(each) for index, each in records.items()},
        )
        for asset_id, feature_id, modality, row_hash, metadata_hash, keys_hash, records in rows
    }


def _digest(recorded: object) -> bytes:
    """Empty of what somebody else has written: then the record is written again."""
    try:
        return bytes.fromhex(str(recorded))
    except ValueError:
        return b""


def _feature_rows(
    collection: str, features: Mapping[FeatureKey, RecordedFeature]
) -> dict[FeatureKey, tuple[RecordedFeature, Row]]:
    def row(key: FeatureKey, feature: RecordedFeature) -> Row:
        records = {index: digest.hex() for index, digest in feature.records.items()}
        hashes = (feature.row_hash, feature.metadata_hash, feature.keys_hash)
        return (collection, *key, feature.modality.value, *hashes, records)

    return {key: (feature, row(key, feature)) for key, feature in features.items()}


# The journal of unconfirmed records.


def read_unconfirmed(
    connection: Connection, unconfirmed: Table, collection: str, asset_ids: Sequence[str]
) -> dict[Place, Modality]:
    """The unconfirmed records of some assets."""
    columns = (unconfirmed.c[name] for name in ("asset_id", "feature_id", "index_name", "modality"))
    rows = connection.execute(select(*columns).where(of_assets(unconfirmed, collection, asset_ids))).all()
    return {Place(*place): Modality(modality) for *place, modality in rows}


def journal(connection: Connection, unconfirmed: Table, collection: str, places: Mapping[Place, Modality]) -> None:
    """Enter records as unconfirmed, in one statement: nothing can be sent before it."""
    columns = [unconfirmed.c[name] for name in ("asset_id", "feature_id", "index_name", "modality")]
    rows = [(place.asset_id, place.feature_id, place.index_name, places[place].value) for place in sorted(places)]
    arrays = map(text_array, zip(*rows, strict=True))
    entered = func.unnest(*arrays).table_valued(*(column.name for column in columns)).render_derived()
    new = insert(unconfirmed).from_select(
        ["collection", *(column.name for column in columns)], select(literal(collection, Text), *entered.c)
    )
    keys = unconfirmed.primary_key.columns
    connection.execute(new.on_conflict_do_update(index_elements=keys, set_={"modality": new.excluded.modality}))


def strike_out(connection: Connection, unconfirmed: Table, batch: Batch, uncertain: Set[FeatureKey]) -> None:
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


def has_doubts(
    connection: Connection, tables: ManifestTables, collection: str, modalities: Collection[Modality]
) -> bool:
    """Whether records of these modalities are unconfirmed although nothing of their assets is in quarantine: that would
    say why."""
    unconfirmed, quarantine = tables.unconfirmed, tables.quarantine
    of_asset = (quarantine.c.collection == collection, quarantine.c.asset_id == unconfirmed.c.asset_id)
    doubtful = select(unconfirmed.c.asset_id).where(
        unconfirmed.c.collection == collection,
        unconfirmed.c.modality.in_([modality.value for modality in modalities]),
        ~exists().where(*of_asset),
    )
    return bool(connection.execute(select(exists(doubtful))).scalar())


# The ledger: assets whose records are all in the store, as the store has acknowledged.


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
    return known_assets(connection, ledger, collection, asset_ids, ledger.c.layout == layout, ~touched, *only)


def write_ledger(
    connection: Connection,
    tables: ManifestTables,
    batch: Batch,
    per_asset: Mapping[str, Mapping[str, int]],
    layout: str,
) -> None:
    """Record a batch's assets. What was recorded of other modalities stays, under the same fingerprint and layout."""
    ledger, asset_ids = tables.ledger, [asset.asset_id for asset in batch.assets]
    names = ("asset_id", "fingerprint", "features", "row_hash", "layout")
    rows = connection.execute(
        select(*(ledger.c[name] for name in names)).where(of_assets(ledger, batch.collection, asset_ids))
    )
    recorded = {(asset_id, ""): _Entry(*values) for asset_id, *values in rows}
    before = known_assets(connection, ledger, batch.collection, asset_ids, ledger.c.layout == layout)

    def entry(asset: MappedAsset) -> tuple[_Entry, Row]:
        features = recorded_features(asset.fingerprint, per_asset[asset.asset_id], before.get(asset.asset_id))
        values = (asset.fingerprint, features, asset.row_hash, layout)
        return _Entry(*values), (batch.collection, asset.asset_id, *values)

    entries = {(asset.asset_id, ""): entry(asset) for asset in batch.assets}
    send_rows(connection, ledger, ("collection", *names), diff_table(entries, recorded))
    forget_unread(connection, ledger, batch)


# Indexes and namespaces.


def forget_index(connection: Connection, tables: ManifestTables, name: str) -> None:
    """Forget an index with its records. Assets that had some are not known any more, and will be read again."""
    features = tables.features
    connection.execute(delete(tables.ledger).where(has_records_in(tables, name)))
    without = features.c.records.op("-")(literal(name, Text))
    connection.execute(update(features).where(features.c.records.has_key(name)).values(records=without))
    connection.execute(delete(tables.unconfirmed).where(tables.unconfirmed.c.index_name == name))
    connection.execute(delete(tables.namespaces).where(tables.namespaces.c.index_name == name))
    connection.execute(delete(tables.indexes).where(tables.indexes.c.name == name))
    forget_cursors(connection, tables.cursors)


def has_records_in(tables: ManifestTables, index: str) -> ColumnElement[bool]:
    """Of a ledger's row: the asset has records in this index."""
    features, ledger = tables.features, tables.ledger
    of_asset = (features.c.collection == ledger.c.collection, features.c.asset_id == ledger.c.asset_id)
    return exists().where(*of_asset, features.c.records.has_key(index))


def of_namespace(namespaces: Table, row: NamespaceRow) -> ColumnElement[bool]:
    """The row of one namespace."""
    return and_(namespaces.c.index_name == row.index, namespaces.c.collection == row.collection)


def advance(
    connection: Connection, namespaces: Table, collection: str, namespace: str, written: Mapping[str, int]
) -> None:
    """Note by index how far the namespace of a collection has been written; it never goes back."""
    if not written:
        return
    rows = [
        {"index_name": index, "collection": collection, "namespace": namespace, "lsn": written[index]}
        for index in sorted(written)
    ]
    new = insert(namespaces).values(rows)
    connection.execute(
        new.on_conflict_do_update(
            index_elements=["index_name", "collection"],
            set_={"lsn": new.excluded.lsn},
            where=namespaces.c.lsn < new.excluded.lsn,
        )
    )


# The manifest in numbers.


def read_counts(connection: Connection, tables: ManifestTables) -> ManifestCounts:
    """Count everything."""
    features, ledger = tables.features, tables.ledger
    index = func.jsonb_object_keys(features.c.records).label("index_name")
    each = select(index, features.c.collection).subquery()
    grouped = (each.c.index_name, each.c.collection)
    records: dict[str, dict[str, int]] = defaultdict(dict)
    for name, collection, number in connection.execute(
        select(*grouped, func.count()).group_by(*grouped).order_by(*grouped)
    ):
        records[name][collection] = number
    assets = select(ledger.c.collection, func.count().label("assets")).group_by(ledger.c.collection)
    return ManifestCounts(
        features=connection.execute(select(func.count()).select_from(features)).scalar_one(),
        records=dict(records),
        assets={row.collection: row.assets for row in connection.execute(assets)},
        quarantined=count_rejected(connection, tables.quarantine),
        last_change=connection.execute(select(func.max(ledger.c.synced_at))).scalar(),
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


def read_digest_sums(
    connection: Connection,
    tables: ManifestTables,
    collection: str,
    slices: int,
    vector_names: Mapping[str, str],
    hashless: Container[str],
) -> Iterator[SummedRows]:
    """The hashes of a collection added up: of assets, of features, and of the vectors in each of the indexes that
    `vector_names` names; `hashless` are the names of vectors that have no hash of their own."""
    features, ledger, name = tables.features, tables.ledger, literal(collection, Text)

    def of_kind(*parts: ColumnElement[str] | str) -> list[ColumnElement[str]]:
        return [literal(part, Text) if isinstance(part, str) else part for part in parts]

    number, key = slice_of(collection, ledger.c.asset_id, slices), key_hash(name, ledger.c.asset_id)
    assets = sum_up(of_kind("", ""), number, digest_hashes(in_hex(ledger.c.row_hash), key))
    yield from read_sums(connection, [assets.where(ledger.c.collection == collection)])

    digests = {index: features.c.records.op("->>")(literal(index, Text)) for index in vector_names}
    rows = _evaluated_once(
        features.c.collection == collection,
        [
            features.c.modality,
            slice_of(collection, features.c.asset_id, slices).label("number"),
            key_hash(name, features.c.asset_id, features.c.feature_id).label("key"),
            in_hex(features.c.row_hash).label("row"),
            *(digest.label(f"vector_{place}") for place, digest in enumerate(digests.values())),
        ],
    )
    modality, number, key, row, *vectors = rows.c
    unread = (every := func.count()) - func.count(row)
    sums = [sum_up(of_kind(modality, ""), number, digest_hashes(row, key), unknown=unread)]
    for vector_name, digest in zip(vector_names.values(), vectors, strict=True):
        kind, has_record = of_kind(modality, vector_name), digest.is_not(None)
        if vector_name in hashless:
            sums.append(sum_up(kind, number, [], unknown=every.filter(has_record), which=has_record))
        else:
            sums.append(sum_up(kind, number, digest_hashes(digest, key), which=has_record))
    # To get at a row's columns takes as long as to hash them: every row is read once, whatever the number of indexes.
    yield from read_sums(connection, [side_by_side(sums)], beside=len(sums))


def _evaluated_once(condition: ColumnElement[bool], columns: Sequence[ColumnElement[Any]]) -> Subquery:
    """Rows of these columns. Postgres would work out an expression as often as somebody names it, which took a third
    of the time: it does not over a union, which its second half, without rows, makes this. OFFSET 0 would do as well,
    but one process would have to do it all."""
    return union_all(select(*columns).where(condition), select(*columns).where(false())).subquery()


def count_vectors(
    indexes: Iterable[IndexRow], vector_names: Collection[str], counts: Callable[[], ManifestCounts]
) -> list[VectorCount]:
    """The records of every index of those of these named vectors that have several dimensions. The manifest is counted
    only where there is one."""
    rows = [row for row in indexes if row.vector_name in vector_names]
    dimensions = {(row.vector_name, row.dimension) for row in rows}
    several = [name for name, count in Counter(name for name, _ in dimensions).items() if count > 1]
    records = counts().records if several else {}
    return [
        VectorCount(
            None,
            row.vector_name,
            row.dimension,
            sum(records.get(row.name, {}).values()),
            f"the index {row.name}, one more that Pinecone counts and bills",
        )
        for row in rows
        if row.vector_name in several
    ]
