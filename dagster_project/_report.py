"""What a step has done, asset by asset and partition by partition, as metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vectorferry.connector import DestinationSummary, Status, Summary, TableStatus
from vectorferry.dagster._index_metadata import index_changes, index_metadata, index_rows, indexes_of
from vectorferry.dagster._local_data import local_data_metadata
from vectorferry.dagster._metadata import partition_metadata, scan_metadata, table_metadata
from vectorferry.dagster._selection import Selection
from vectorferry.dagster._targets import Target, VectorIndex, further_indexes

__all__ = ["Finished", "Report"]

Finished = Mapping[str, tuple[str, Summary]]
"""The collection and the summary behind each partition key."""


@dataclass(frozen=True)
class Report:
    """`statuses` are of the synced destinations, by their position in the file; none where they cannot be read."""

    selection: Selection
    finished: Finished
    statuses: Mapping[int, Status]

    def whole(self, target: Target) -> dict[str, Any]:
        """What the table or index holds now, all collections together."""
        return {**self._whole(target), **local_data_metadata(self.selection.narrowed)}

    def partition(self, target: Target, key: str) -> dict[str, Any]:
        """What the run did to one collection in the table or index."""
        collection, summary = self.finished[key]
        if isinstance(target, VectorIndex):
            return self._index_partition(target, collection, summary)
        return partition_metadata(summary, list(self.statuses.values()), target.modality, collection)

    def further(self) -> Iterator[tuple[VectorIndex, str]]:
        """Indexes that have no asset because nobody knew of them before the run, with each finished partition
        that has records there."""
        for place, status in self.statuses.items():
            for index in further_indexes(self.selection.settings, place, indexes_of(status)):
                for key, (collection, _) in self.finished.items():
                    if index_rows(self._indexes(index), collection)["dagster/partition_row_count"]:
                        yield index, key

    def _whole(self, target: Target) -> dict[str, Any]:
        if isinstance(target, VectorIndex):
            return index_metadata(self._indexes(target)) if target.place in self.statuses else {}
        return table_metadata(self.selection.settings.modalities, target.modality, list(self.statuses.values()))

    def _index_partition(self, index: VectorIndex, collection: str, summary: Summary) -> dict[str, Any]:
        indexes = self._indexes(index)
        return {
            "collection": collection,
            "modalities": ", ".join(sorted(self.selection.modalities)),
            **index_changes(self._destination(index, summary), indexes, index.vector_name, collection),
            **(index_rows(indexes, collection) if index.place in self.statuses else {}),
            **scan_metadata(summary, collection),
            "seconds": round(summary.seconds, 3),
        }

    def _indexes(self, index: VectorIndex) -> Sequence[TableStatus]:
        status = self.statuses.get(index.place)
        return indexes_of(status).get(index.vector_name, []) if status else []

    def _destination(self, index: VectorIndex, summary: Summary) -> DestinationSummary:
        """A summary names destinations in the order in which the run was given them."""
        return list(summary.destinations.values())[self.selection.places.index(index.place)]
