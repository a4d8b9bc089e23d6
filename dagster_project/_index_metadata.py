"""What a run says of a named vector's indexes, as the metadata that Dagster's UI knows how to draw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

import dagster as dg

from vectorferry.connector import Applied, Counts, DestinationSummary, Status, TableStatus, Visibility

__all__ = ["index_changes", "index_metadata", "index_rows", "indexes_of"]

TEMPLATE: Final = "namespace_template"
"""What an index says of its namespaces is for all collections; a run's `namespace` is one collection's."""


def indexes_of(status: Status) -> Mapping[str, Sequence[TableStatus]]:
    """The indexes that a destination has, by named vector. There are several where its dimension has changed."""
    indexes: dict[str, list[TableStatus]] = {}
    for table in status.tables:
        if table.modality is None and table.vector_name is not None:
            indexes.setdefault(table.vector_name, []).append(table)
    return indexes


def index_metadata(indexes: Sequence[TableStatus]) -> dict[str, Any]:
    """What the indexes of a named vector hold now, all collections together, and where they are."""
    rows = {"dagster/row_count": sum(index.rows for index in indexes)}
    return rows | {
        f"{prefix}{TEMPLATE if key == 'namespace' else key}": _shown(value)
        for prefix, index in _prefixed(indexes)
        for key, value in {"index": index.name, **index.details}.items()
        if value is not None
    }


def index_rows(indexes: Sequence[TableStatus], collection: str) -> dict[str, int]:
    """How many records of a collection they hold now."""
    return {"dagster/partition_row_count": sum(index.collections.get(collection, 0) for index in indexes)}


def index_changes(
    summary: DestinationSummary, indexes: Sequence[TableStatus], vector_name: str, collection: str
) -> dict[str, Any]:
    """What one run did to a named vector of one collection, what that cost, and how far queries see it.

    Unchanged vectors are not among it: those of assets that were not read again are not counted. Requests, bytes and
    write units are those of the run, for all named vectors of the destination together.
    """
    delivery = summary.delivery
    return {
        **_counts(summary.by_collection.get(collection, summary.applied), vector_name),
        "requests": delivery.requests,
        "retries": delivery.retries,
        "sent_bytes": delivery.bytes,
        "write_units": delivery.write_units,
        **_places(delivery.places, indexes, collection),
    }


def _counts(applied: Applied, vector_name: str) -> dict[str, int]:
    total = Counts()
    for (_, name), counts in applied.vectors.items():
        total += counts if name == vector_name else Counts()
    return {
        "inserted": total.inserted,
        "updated": total.updated,
        "deleted": total.deleted,
        "quarantined": total.quarantined
        + applied.assets.quarantined
        + sum(each.quarantined for each in applied.features.values()),
    }


def _places(places: Iterable[Visibility], indexes: Sequence[TableStatus], collection: str) -> dict[str, Any]:
    """The collection's namespace, and the sequence numbers of its last write and of what queries see.

    A run also tells of the namespaces of other collections that no query is known to have seen.
    """
    by_place = {_decoded(*place.place.split("/", 1)): place for place in places}
    return {
        f"{prefix}{key}": value
        for prefix, index in _prefixed(indexes)
        if (place := by_place.get((index.name, _namespace(index, collection))))
        for key, value in _place(place).items()
    }


def _decoded(index: str, namespace: str = "") -> tuple[str, str]:
    """Namespaces are percent-encoded where a collection's id is not printable ASCII."""
    return index, unquote(namespace)


def _namespace(index: TableStatus, collection: str) -> str:
    return unquote(str(index.details.get("namespace", "{collection}"))).replace("{collection}", collection)


def _place(place: Visibility) -> dict[str, Any]:
    visible = {} if place.visible is None else {"visible_lsn": place.visible}
    return {"namespace": place.place.partition("/")[2], "written_lsn": place.written, **visible}


def _prefixed(indexes: Sequence[TableStatus]) -> list[tuple[str, TableStatus]]:
    """Plain names for the only index; for one of several its own name in front."""
    return [("" if len(indexes) == 1 else f"{index.name}/", index) for index in indexes]


def _shown(value: Any) -> Any:
    """A plug-in may say anything; Dagster takes numbers and texts, and draws them."""
    return value if isinstance(value, bool | int | float | str) else dg.MetadataValue.text(str(value))
