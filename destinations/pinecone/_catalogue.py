"""The indexes of a sync: what the manifest knows, what the project has, and making the two agree."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from vectorferry.connector.plugin import MODALITIES, ConfigurationError, Modality
from vectorferry.destinations._postgres import FeatureKey
from vectorferry.destinations.pinecone._ids import IndexSpec, index_name, owner_of
from vectorferry.destinations.pinecone._layout import Layout
from vectorferry.destinations.pinecone._manifest import Manifest
from vectorferry.destinations.pinecone._manifest_tables import IndexRow, RecordedFeature
from vectorferry.destinations.pinecone._metadata import keys_hash, metadata_hash
from vectorferry.destinations.pinecone._project import IndexList, Project, check_fits
from vectorferry.destinations.pinecone._reader import IndexReader, StoredRecord
from vectorferry.destinations.pinecone._writer import IndexWriter

_log = logging.getLogger("vectorferry")


def index_changes(
    known: Mapping[str, IndexRow], project: Project, listing: IndexList | None = None
) -> Mapping[str, IndexRow | None]:
    """By name, the indexes that are not what the manifest knows; None for those that are gone. Changes nothing."""
    listed = project.indexes(known, listing)
    unlisted = {name: project.find(name) for name in known.keys() - listed.keys()}
    present = {name: row and _with_known_name(row, known) for name, row in {**unlisted, **listed}.items()}
    return {name: row for name, row in present.items() if row is None or row != known.get(name)}


def announce(name: str, row: IndexRow | None) -> str:
    """What `Catalogue.reconcile` would do about this change, in words."""
    if row is None:
        return f"the index {name} is gone: assets with records in it are read and written again"
    return (
        f"the index {name} is not what the manifest knows: its records are looked up first, which may change this plan"
    )


def check_names(rows: Iterable[IndexRow], keeps: Callable[[str], bool]) -> None:
    """Raise `ConfigurationError` when nothing that is there is to be kept: a slip would delete all of it."""
    names = sorted({row.vector_name for row in rows})
    if names and not any(map(keeps, names)):
        raise ConfigurationError(
            f"`vectors` names none of the vectors that are in Pinecone ({', '.join(names)}), so that every record "
            "would be deleted. Correct the names; if it is meant, name an old one beside the new ones for one sync."
        )


class Catalogue:
    """The indexes by name, as the manifest has them; none before it has been read."""

    def __init__(self, manifest: Manifest, project: Project, layout: Layout) -> None:
        self._manifest = manifest
        self._project = project
        self._layout = layout
        self._rows: dict[str, IndexRow] = {}

    @property
    def rows(self) -> Mapping[str, IndexRow]:
        """By name."""
        return self._rows

    @property
    def vector_names(self) -> frozenset[str]:
        """The named vectors that these indexes are for."""
        return frozenset(row.vector_name for row in self._rows.values())

    def reread(self) -> None:
        """Take in what others have added to the manifest."""
        self._rows = dict(self._manifest.indexes())

    def reconcile(self, listing: IndexList) -> None:
        """Forget indexes that somebody deleted, so that their records are written again, and take in those that are
        not what the manifest knows: all of them when it was lost, and those that somebody has made anew."""
        with self._manifest.alone_with_indexes():
            self.reread()
            if not index_changes(self._rows, self._project, listing):
                return
            # That list is older than what the manifest knows: whoever was waited for may have changed both.
            for name, row in index_changes(self._rows, self._project).items():
                if row is None:
                    self._forget(name)
                else:
                    self._adopt(row)

    def ensure(self, specs: Iterable[IndexSpec]) -> bool:
        """Make the indexes that are missing. Whether one of them was there, so that the manifest knows more now."""
        adopted = False
        for spec in sorted(specs):
            row = self._rows.get(index_name(self._layout.prefix, spec))
            if row is None:
                adopted |= not self._find_or_make(spec)
                continue
            check_fits(row, spec)
            if row.vector_name != spec.vector_name:
                self._enter(replace(row, vector_name=spec.vector_name))  # an index's tag has less room than a name
        return adopted

    def vector_of(self, index: str) -> str:
        """The named vector that an index holds."""
        return self._rows[index].vector_name if index in self._rows else index

    def writer(self, index: str) -> IndexWriter:
        """What writes to an index."""
        return self._project.writer(self._rows[index])

    def reader(self, index: str) -> IndexReader:
        """What reads from an index."""
        return self._project.reader(self._rows[index])

    def _find_or_make(self, spec: IndexSpec) -> bool:
        """Whether it was made just now."""
        with self._manifest.alone_with_indexes():
            row, created = self._project.ensure(spec)
            self.reread()  # somebody else may have made it just now
            if created:
                self._enter(row)
            elif (named := _with_known_name(row, self._rows)) != self._rows.get(row.name):
                self._adopt(named)
        return created

    def _forget(self, name: str) -> None:
        _log.warning("the Pinecone index %s is gone: its records are written again", name)
        self._manifest.forget_index(name)
        del self._rows[name]

    def _adopt(self, row: IndexRow) -> None:
        """Record every record of an index that is ours. The index is complete only then, so that a rebuild that was
        stopped begins anew."""
        self._manifest.forget_index(row.name)  # what a rebuild that was stopped has entered may be gone by now
        self._manifest.put_index(replace(row, complete=False))
        reader, number = self._project.reader(row), 0
        for namespace in reader.namespaces():
            for page in reader.pages(namespace):
                for collection, features in _ours(row, reader.fetch(namespace, page)).items():
                    if self._layout.namespace_of(collection) == namespace:
                        self._manifest.adopt(collection, row.name, features)
                        number += len(features)
        self._enter(row)
        _log.info("the manifest did not know this Pinecone index %s; %s records found there", row.name, f"{number:,}")

    def _enter(self, row: IndexRow) -> None:
        self._manifest.put_index(row)
        self._rows[row.name] = row


def _with_known_name(row: IndexRow, known: Mapping[str, IndexRow]) -> IndexRow:
    """With the vector's name as the manifest has it: a tag has less room."""
    return replace(row, vector_name=known[row.name].vector_name) if row.name in known else row


def _ours(row: IndexRow, records: Mapping[str, StoredRecord]) -> Mapping[str, dict[FeatureKey, RecordedFeature]]:
    """By collection: the records whose metadata says that their id is theirs."""
    ours: dict[str, dict[FeatureKey, RecordedFeature]] = defaultdict(dict)
    for record_id, record in records.items():
        key, collection = owner_of(record_id, record.metadata), record.metadata.get("collection")
        modality = record.metadata.get("modality")
        if key is not None and isinstance(collection, str) and modality in MODALITIES:
            ours[collection][key] = RecordedFeature(
                modality=Modality(modality),
                row_hash=None,
                metadata_hash=metadata_hash(record.metadata),
                keys_hash=keys_hash(record.metadata),
                records={row.name: record.digest},
            )
    return ours
