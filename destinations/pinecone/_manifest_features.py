"""The manifest's rows of features and of unconfirmed records: reading and writing them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Final

from sqlalchemy import Connection, Table, Text, delete, func, literal, select, tuple_
from sqlalchemy.dialects.postgresql import ARRAY, insert

from vectorferry.connector import Batch, Modality

from .._postgres import FeatureKey, Row, delete_keys, diff_table, of_assets, send
from ._manifest_values import HeldFeature, ManifestRows, Place

__all__ = [
    "can_be_ours",
    "confirm",
    "feature_of",
    "is_storable",
    "journal",
    "read_features",
    "read_unconfirmed",
    "write_features",
    "write_found",
]

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
    send(connection, features, diff)
    delete_keys(connection, features, batch.collection, diff.delete)


def write_found(
    connection: Connection, features: Table, collection: str, index: str, found: Mapping[FeatureKey, HeldFeature]
) -> None:
    """Add records that were found in an index to what is known of their features."""
    held = read_features(connection, features, collection, sorted({asset_id for asset_id, _ in found}))
    wanted = {key: held[key].also_in(index, one) if key in held else one for key, one in found.items()}
    send(connection, features, diff_table(_rows(collection, wanted), held))


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
