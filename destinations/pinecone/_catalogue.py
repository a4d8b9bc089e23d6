"""The indexes of a sync: what the manifest knows, what the project has, and making the two agree."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from vectorferry.connector.plugin import MODALITIES, ConfigurationError, Modality, SearchQuery
from vectorferry.destinations._postgres import FeatureKey
from vectorferry.destinations.pinecone._ids import IndexSpec, index_name, owner_of
from vectorferry.destinations.pinecone._layout import Layout
from vectorferry.destinations.pinecone._manifest import Manifest
from vectorferry.destinations.pinecone._manifest_tables import HeldFeature, IndexRow
from vectorferry.destinations.pinecone._metadata import keys_hash, metadata_hash
from vectorferry.destinations.pinecone._project import Project, check_fits
from vectorferry.destinations.pinecone._reader import IndexReader, StoredRecord
from vectorferry.destinations.pinecone._writer import IndexWriter

__all__ = ["Catalogue"]


def adopt_index(manifest: Manifest, row: IndexRow, reader: IndexReader, namespace_of: Callable[[str], str]) -> int:
    """Record every record of an index that is ours; how many there are. The index is complete only then, so that a
    rebuild that was stopped begins anew."""
    manifest.forget_index(row.name)  # what a rebuild that was stopped has entered may be gone by now
    manifest.put_index(replace(row, complete=False))
    found = 0
    for namespace in reader.namespaces():
        for page in reader.pages(namespace):
            for collection, features in _ours(row, reader.fetch(namespace, page)).items():
                if namespace_of(collection) == namespace:
                    manifest.adopt(collection, row.name, features)
                    found += len(features)
    manifest.put_index(row)
    return found


def _ours(row: IndexRow, records: Mapping[str, StoredRecord]) -> Mapping[str, dict[FeatureKey, HeldFeature]]:
    """By collection: the records whose metadata says that their id is theirs."""
    ours: dict[str, dict[FeatureKey, HeldFeature]] = defaultdict(dict)
    for record_id, record in records.items():
        key, collection = owner_of(record_id, record.metadata), record.metadata.get("collection")
        modality = record.metadata.get("modality")
        if key is not None and isinstance(collection, str) and modality in MODALITIES:
            ours[collection][key] = _held(row, record, Modality(modality))
    return ours


def _held(row: IndexRow, record: StoredRecord, modality: Modality) -> HeldFeature:
    return HeldFeature(
        modality=modality,
        row_hash=None,
        metadata_hash=metadata_hash(record.metadata),
        keys_hash=keys_hash(record.metadata),
        records={row.name: record.digest},
    )


# The indexes of a sync: what the manifest knows, what the project has, and making the two agree.


_log = logging.getLogger("vectorferry")


class Catalogue:
    """The indexes by name, as the manifest has them."""

    def __init__(self, manifest: Manifest, project: Project, layout: Layout) -> None:
        self._manifest = manifest
        self._project = project
        self._layout = layout
        self._rows = dict(manifest.indexes())

    def reread(self) -> None:
        """Take in what others have added to the manifest."""
        self._rows = dict(self._manifest.indexes())

    def reconcile(self) -> None:
        """Forget indexes that somebody deleted, so that their records are written again, and take in those that are
        not what the manifest knows: all of them when it was lost, and those that somebody has made anew."""
        with self._manifest.alone_with_indexes():
            self.reread()
            for name, row in self.changes().items():
                if row is None:
                    self._forget(name)
                else:
                    self._adopt(row)

    def changes(self) -> Mapping[str, IndexRow | None]:
        """By name, the indexes that are not what the manifest knows; None for those that are gone. Changes nothing."""
        listed = self._project.control.indexes(self._rows)
        unlisted = {name: self._project.control.find(name) for name in self._rows.keys() - listed.keys()}
        found = {name: row and self._named(row) for name, row in {**unlisted, **listed}.items()}
        return {name: row for name, row in found.items() if row is None or row != self._rows.get(name)}

    def check_names(self, keeps: Callable[[str], bool]) -> None:
        """Raise `ConfigurationError` when nothing that is there is to be kept: a slip would delete all of it."""
        held = sorted({row.vector_name for row in self._rows.values()})
        if held and not any(map(keeps, held)):
            raise ConfigurationError(
                f"`vectors` names none of the vectors that are in Pinecone ({', '.join(held)}), so that every record "
                "would be deleted. Correct the names; if it is meant, name an old one beside the new ones for one sync."
            )

    @property
    def names(self) -> frozenset[str]:
        """The indexes that the manifest knows."""
        return frozenset(self._rows)

    @property
    def vector_names(self) -> frozenset[str]:
        """The named vectors that these indexes are for."""
        return frozenset(row.vector_name for row in self._rows.values())

    def ensure(self, specs: Iterable[IndexSpec]) -> bool:
        """Make the indexes that are missing. Whether one of them was there, so that the manifest knows more now."""
        found = False
        for spec in sorted(specs):
            row = self._rows.get(index_name(self._layout.prefix, spec))
            if row is None:
                found |= self._find_or_make(spec)
                continue
            check_fits(row, spec)
            if row.vector_name != spec.vector_name:
                self._enter(replace(row, vector_name=spec.vector_name))  # an index's tag has less room than a name
        return found

    def vector_of(self, index: str) -> str:
        """The named vector that an index holds."""
        return self._rows[index].vector_name if index in self._rows else index

    def writer(self, index: str) -> IndexWriter:
        """What writes to an index."""
        return self._project.writer(self._rows[index])

    def reader(self, index: str) -> IndexReader:
        """What reads from an index."""
        return self._project.reader(self._rows[index])

    def row_for(self, query: SearchQuery) -> IndexRow:
        """The one index that a query is about. Raises `ConfigurationError` when it could be none or several."""
        rows = [row for row in self._rows.values() if query.vector_name in (None, row.vector_name)]
        if query.vector is not None and len(rows) > 1:
            rows = [row for row in rows if row.dimension == getattr(query.vector, "size", None)] or rows
        if len(rows) > 1:  # an index outlives its records, and modalities may differ in their metric
            filled = self._manifest.indexes_of(query.modality)
            rows = [row for row in rows if row.name in filled] or rows
        if len(rows) == 1:
            return rows[0]
        raise ConfigurationError(self._choice(query, [row.vector_name for row in rows]))

    def _choice(self, query: SearchQuery, found: Sequence[str]) -> str:
        """What to do about a question that none or several of the indexes could answer."""
        there = sorted({row.vector_name for row in self._rows.values()})
        if not there:
            return "there are no vectors in Pinecone yet; run `vectorferry sync` first"
        if not found:
            return f"there is no index for {query.vector_name}: choose one of {', '.join(there)} with --vector-name"
        if len({*found}) > 1:
            return (
                f"there are {len(found)} indexes for this search: choose one of {', '.join(there)} with --vector-name"
            )
        return (
            f"there are {len(found)} indexes for {found[0]}, of several dimensions or metrics: "
            "ask with --vector and a vector of one of their dimensions"
        )

    def _find_or_make(self, spec: IndexSpec) -> bool:
        with self._manifest.alone_with_indexes():
            row, created = self._project.control.ensure(spec)
            self.reread()  # somebody else may have made it just now
            if created:
                self._enter(row)
            else:
                self._take_in(self._named(row))
        return not created

    def _forget(self, name: str) -> None:
        _log.warning("the Pinecone index %s is gone: its records are written again", name)
        self._manifest.forget_index(name)
        del self._rows[name]

    def _named(self, row: IndexRow) -> IndexRow:
        """With the vector's name as the manifest has it: a tag has less room."""
        known = self._rows.get(row.name)
        return row if known is None else replace(row, vector_name=known.vector_name)

    def _take_in(self, row: IndexRow) -> None:
        """Look up what an index holds, unless the manifest knows it and this very index."""
        if row != self._rows.get(row.name):
            self._adopt(row)

    def _adopt(self, row: IndexRow) -> None:
        found = adopt_index(self._manifest, row, self._project.reader(row), self._layout.namespace_of)
        self._rows[row.name] = row
        _log.info("the manifest did not know this Pinecone index %s; %s records found there", row.name, f"{found:,}")

    def _enter(self, row: IndexRow) -> None:
        self._manifest.put_index(row)
        self._rows[row.name] = row
