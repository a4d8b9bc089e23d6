"""What a sync would find and make in Pinecone and its manifest, without writing to either."""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import closing

from vectorferry.connector.plugin import MODALITIES, Planned, SchemaMapping
from vectorferry.destinations.pinecone._catalogue import Catalogue
from vectorferry.destinations.pinecone._layout import Layout
from vectorferry.destinations.pinecone._manifest import Manifest
from vectorferry.destinations.pinecone._manifest_tables import IndexRow
from vectorferry.destinations.pinecone._project import Project, ProjectSettings

__all__ = ["planned_sync"]


def planned_sync(settings: ProjectSettings, layout: Layout, manifest: Manifest, mapping: SchemaMapping) -> Planned:
    """Look at everything but single assets. Raises what preparing the destination would raise."""
    layout.check(mapping)
    outlook = manifest.outlook(layout.fixed)
    with closing(Project(settings)) as project:
        if outlook.exists:
            catalogue = Catalogue(manifest, project, layout)
            known, changes = catalogue.names, catalogue.changes()
        else:
            known, changes = frozenset[str](), project.control.indexes(())
    forgotten = known & changes.keys()
    digest = layout.digest(mapping)
    return Planned(
        lambda collection, asset_ids: outlook.known(collection, asset_ids, digest, forgotten),
        outlook.asset_ids,
        statements=outlook.statements,
        notes=[*(_told(name, row) for name, row in changes.items()), *_unmade(layout, mapping, outlook.vector_names)],
        averages=outlook.averages,
        refusal=outlook.refusal,
        cursor=lambda collection: None if forgotten else outlook.cursor(collection, digest),
        origin=outlook.origin,
        vector_counts=outlook.vector_counts,
        collections=outlook.collections,
    )


def _told(name: str, row: IndexRow | None) -> str:
    if row is None:
        return f"the index {name} is gone: assets with records in it are read and written again"
    return (
        f"the index {name} is not what the manifest knows: its records are looked up first, which may change this plan"
    )


def _unmade(layout: Layout, mapping: SchemaMapping, made: Container[str]) -> Iterator[str]:
    mapped = (name for modality in MODALITIES for name in mapping.modality(modality).vectors)
    for name in dict.fromkeys([*sorted(layout.vectors), *mapped]):
        if layout.keeps(name) and name not in made and name not in layout.hybrid.values():
            yield f"the index for {name} is made when its first vector arrives, which tells the dimension"
    if not layout.vectors:
        yield "an index for every other named vector is made when its first vector arrives"
