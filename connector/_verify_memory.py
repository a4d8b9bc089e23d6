"""Checking a destination in memory: the model of what every other one has to find."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from vectorferry.connector._destination import LoadedAsset, RecordHashes
from vectorferry.connector._vectors import vector_hash
from vectorferry.connector._verify import Difference, Discrepancy, StoredDigest
from vectorferry.connector._verify_rows import is_row_of

__all__ = ["discrepancies_of", "hashes_of", "in_order"]


def hashes_of(asset: LoadedAsset) -> RecordHashes:
    """The hashes of its features' rows and vectors."""
    rows: RecordHashes = {(one.modality, None, one.feature_id): one.row_hash for one in asset.features}
    vectors: RecordHashes = {
        (one.modality, name, one.feature_id): digest
        for one in asset.features
        for name, digest in one.vector_hashes.items()
    }
    return {**rows, **vectors}


def discrepancies_of(
    recorded: Mapping[str, RecordHashes], assets: Mapping[str, LoadedAsset], ledger: Set[str]
) -> Iterator[Discrepancy]:
    """What differs between the hashes that were recorded and the assets that are there."""
    for asset_id in sorted(ledger | assets.keys()):
        asset = assets.get(asset_id)
        if asset_id not in ledger:
            yield Discrepancy(Difference.EXTRA, asset_id)
        elif asset is None:
            yield Discrepancy(Difference.MISSING, asset_id)
        else:
            yield from _compared(asset, recorded.get(asset_id, {}))


def in_order(asset_id: str, hashes: RecordHashes) -> list[StoredDigest]:
    """The hashes of one asset, sorted."""
    return sorted(
        StoredDigest(asset_id, str(feature_id), modality.value, vector_name or "", digest)
        for (modality, vector_name, feature_id), digest in hashes.items()
    )


def _compared(asset: LoadedAsset, recorded: RecordHashes) -> Iterator[Discrepancy]:
    found = hashes_of(asset)
    kinds = {
        **dict.fromkeys(recorded.keys() - found.keys(), Difference.MISSING),
        **dict.fromkeys(found.keys() - recorded.keys(), Difference.EXTRA),
        **dict.fromkeys(_wrong(asset), Difference.DIFFERENT),
    }
    for (modality, vector_name, feature_id), kind in sorted(kinds.items(), key=str):
        yield Discrepancy(kind, asset.asset_id, str(feature_id), modality, vector_name)


def _wrong(asset: LoadedAsset) -> RecordHashes:
    rows: RecordHashes = {
        (one.modality, None, one.feature_id): one.row_hash
        for one in asset.features
        if not is_row_of(one.row_hash, one.columns, one.metadata, one.extra)
    }
    vectors: RecordHashes = {
        (one.modality, name, one.feature_id): b""
        for one in asset.features
        for name, vector in one.vectors.items()
        if vector_hash(vector) != one.vector_hashes[name]
    }
    return {**rows, **vectors}
