"""Which rows each asset should have: recorded in the ledger by name, since a row that is gone tells nothing itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from sqlalchemy import Connection, Table, func, select, true

from vectorferry.connector.plugin import Batch, Modality, RowCounts, canonical_json
from vectorferry.connector.plugin import Contents as AssetContents
from vectorferry.destinations._postgres import Row, WantedRows, of_assets
from vectorferry.destinations.pgvector._rows import BatchRows
from vectorferry.destinations.pgvector._storage import SPARSE_DIMENSION

__all__ = [
    "Contents",
    "asset_contents",
    "comparable",
    "count_contents",
    "feature_vectors",
    "recorded_contents",
    "with_contents",
]


Named: TypeAlias = str | tuple[str, int]
"""A vector's name and dimension; without a dimension in what earlier versions have written."""


Contents: TypeAlias = Mapping[str, Sequence[tuple[Sequence[Named], Sequence[str]]]]
"""By modality: pairs of vectors and the ids of the features that have exactly these. Features of one asset mostly have
the same, so that a name is written once and not once for each."""


def feature_vectors(contents: Contents) -> dict[tuple[str, str], dict[str, int | None]]:
    """By modality and feature id: the dimensions of its vectors by their names."""
    return {
        (modality, feature_id): dict(map(_as_pair, named))
        for modality, pairs in contents.items()
        for named, feature_ids in pairs
        for feature_id in feature_ids
    }


def asset_contents(contents: Contents | None) -> AssetContents:
    """The same by modality and feature id; features with the same vectors share one mapping."""
    return {
        Modality(modality): {feature_id: vectors for vectors, ids in _groups(pairs) for feature_id in ids}
        for modality, pairs in (contents or {}).items()
    }


def count_contents(connection: Connection, ledger: Table, collection: str) -> RowCounts:
    """How many features and vectors the ledger names in a collection."""
    modality = func.jsonb_each(ledger.c.contents).table_valued("key", "value", name="modality")
    pair = func.jsonb_array_elements(modality.c.value).table_valued("value", name="pair")
    named, ids = pair.c.value.op("->")(0), pair.c.value.op("->")(1)
    grouped = (
        select(modality.c.key, named, func.sum(func.jsonb_array_length(ids)))
        .select_from(ledger.join(modality, true()).join(pair, true()))
        .where(ledger.c.collection == collection)
        .group_by(modality.c.key, named)
    )
    counts: Counter[tuple[Modality, str | None]] = Counter()
    for of, vectors, features in connection.execute(grouped):
        for name in (None, *dict(map(_as_pair, vectors))):
            counts[Modality(of), name] += int(features)
    return counts


def recorded_contents(
    connection: Connection, ledger: Table, collection: str, asset_ids: Sequence[str]
) -> dict[str, Contents | None]:
    """What the ledger has of these assets."""
    columns = (ledger.c.asset_id, ledger.c.contents)
    found = connection.execute(select(*columns).where(of_assets(ledger, collection, asset_ids)))
    return {row.asset_id: row.contents for row in found}


def with_contents(
    entries: WantedRows, batch: Batch, rows: BatchRows, held: Mapping[str, Contents | None]
) -> WantedRows:
    """The ledger's rows with what the batch writes; modalities that it is not about keep their rows, and so their
    names."""
    now = _written(batch, rows)

    def extended(asset_id: str, digest: bytes, row: Row) -> tuple[bytes, Row]:
        contents = {**(held.get(asset_id) or {}), **now[asset_id]}
        return comparable(digest, contents), (*row, contents)

    return {key: extended(key[0], *entry) for key, entry in entries.items()}


def comparable(digest: bytes, contents: Contents | None) -> bytes:
    """What is compared of a ledger's row: the rest of it, and its contents."""
    return digest + canonical_json(contents)


def _written(batch: Batch, rows: BatchRows) -> Mapping[str, Contents]:
    named: dict[tuple[str, str, str], list[tuple[str, int]]] = defaultdict(list)
    for modality, vector_name, dimension in sorted(rows.vectors):
        for asset_id, feature_id in rows.vectors[modality, vector_name, dimension]:
            named[asset_id, modality, feature_id].append((vector_name, dimension))
    grouped: dict[str, dict[str, dict[tuple[tuple[str, int], ...], list[str]]]] = {
        asset.asset_id: {modality.value: {} for modality in batch.modalities} for asset in batch.assets
    }
    for modality, wanted in rows.features.items():
        for asset_id, feature_id in sorted(wanted):
            have = tuple(named.get((asset_id, modality, feature_id), ()))
            grouped[asset_id][modality].setdefault(have, []).append(feature_id)
    return {
        asset_id: {modality: _as_pairs(pairs) for modality, pairs in by_modality.items()}
        for asset_id, by_modality in grouped.items()
    }


def _as_pairs(pairs: Mapping[tuple[tuple[str, int], ...], list[str]]) -> list[tuple[Sequence[Named], list[str]]]:
    return [(named, pairs[named]) for named in sorted(pairs)]


def _groups(
    pairs: Sequence[tuple[Sequence[Named], Sequence[str]]],
) -> Iterator[tuple[dict[str, int | None], Sequence[str]]]:
    for named, feature_ids in pairs:
        dimensions = dict(map(_as_pair, named))
        vectors = {name: None if size == SPARSE_DIMENSION else size for name, size in dimensions.items()}
        yield vectors, feature_ids


def _as_pair(named: Named) -> tuple[str, int | None]:
    return (named, None) if isinstance(named, str) else (named[0], named[1])
