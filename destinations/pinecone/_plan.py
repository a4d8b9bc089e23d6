"""What a sync would find and make in Pinecone and its manifest, without writing to either."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace

from vectorferry.connector.plugin import MODALITIES, Averages, Known, Planned, SchemaMapping
from vectorferry.destinations.pinecone._catalogue import announce, check_names, index_changes
from vectorferry.destinations.pinecone._layout import Layout
from vectorferry.destinations.pinecone._manifest import Manifest
from vectorferry.destinations.pinecone._manifest_rows import count_vectors
from vectorferry.destinations.pinecone._manifest_tables import IndexRow, ManifestCounts
from vectorferry.destinations.pinecone._project import Project, ProjectSettings


def plan_sync(settings: ProjectSettings, layout: Layout, manifest: Manifest, mapping: SchemaMapping) -> Planned:
    """Look at everything but single assets. Raises what preparing the destination would raise.

    The statements are those that preparing the manifest executes, and the changes of indexes those that
    `Catalogue.reconcile` carries out.
    """
    layout.check(mapping)
    outlook = manifest.outlook()
    present = outlook.manifest
    if present is not None:
        present.check_settings(layout.fixed)
    indexes = present.indexes() if present is not None else {}
    with closing(Project(settings)) as project:
        changes = index_changes(indexes, project)
    rows = [row for row in {**indexes, **changes}.values() if row is not None]
    check_names(rows, layout.keeps)
    layout.check_any(mapping, {row.vector_name for row in rows})
    vector_names = frozenset(row.vector_name for row in indexes.values())
    notes = [
        *(announce(name, row) for name, row in changes.items()),
        *_unmade_indexes(layout, mapping, vector_names),
    ]
    if present is None:
        nothing: Mapping[str, Known] = {}
        return Planned(
            lambda *_: nothing, lambda _: (), statements=outlook.statements, notes=notes, refusal=outlook.refusal
        )
    counts = present.counts()
    forgotten = indexes.keys() & changes.keys()
    digest = layout.digest(mapping)
    return Planned(
        lambda collection, asset_ids: _known(present, collection, asset_ids, digest, forgotten),
        present.asset_ids,
        statements=outlook.statements,
        notes=notes,
        averages=_averages(counts, indexes),
        refusal=outlook.refusal,
        cursor=lambda collection: None if forgotten else present.cursor(collection, digest),
        origin=present.origin,
        vector_counts=count_vectors(indexes.values(), vector_names, lambda: counts),
        collections=present.collections,
        vector_kinds=[(None, row.vector_name, row.dimension) for row in indexes.values()],
    )


def _known(
    manifest: Manifest, collection: str, asset_ids: Sequence[str], layout: str, forgotten: Collection[str]
) -> Mapping[str, Known]:
    """The ledger's entries, without fingerprints where they are not certain: of another layout, or touched by a run
    that was killed. `forgotten` are indexes that preparing forgets, with the entries of assets in them."""
    entries = manifest.entries(collection, asset_ids, forgotten=forgotten)
    certain = manifest.known(collection, asset_ids, layout, forgotten=forgotten)
    return {**{asset_id: replace(entry, fingerprint="") for asset_id, entry in entries.items()}, **certain}


def _averages(counts: ManifestCounts, indexes: Mapping[str, IndexRow]) -> Averages | None:
    """None without a feature. Bytes are those of dense vectors: how long sparse ones are, nobody has written down."""
    assets = sum(counts.assets.values())
    records = {name: sum(collections.values()) for name, collections in counts.records.items()}
    if not counts.features or not assets:
        return None
    size = sum(4 * (indexes[name].dimension or 0) * number for name, number in records.items() if name in indexes)
    return Averages(counts.features / assets, sum(records.values()) / counts.features, size / counts.features)


def _unmade_indexes(layout: Layout, mapping: SchemaMapping, vector_names: Container[str]) -> Iterator[str]:
    mapped = (name for modality in MODALITIES for name in mapping.modality(modality).vectors)
    for name in dict.fromkeys([*sorted(layout.vectors), *mapped]):
        if layout.keeps(name) and name not in vector_names and name not in layout.hybrid.values():
            yield f"the index for {name} is made when its first vector arrives, which tells the dimension"
    if layout.makes_any:
        yield "an index for every other named vector is made when its first vector arrives"
    elif not layout.vectors:
        yield "vectors of any other name are set aside as over_limit: `vectors` allows no index for them"
