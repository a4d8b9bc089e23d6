"""What a sync reports, as the metadata that Dagster's UI knows how to draw."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, unquote

import dagster as dg

from vectorferry import Summary
from vectorferry.connector._engine import EmbeddingMap, Fleet
from vectorferry.connector.plugin import (
    Applied,
    Counts,
    DestinationSummary,
    Modality,
    SchemaMapping,
    Status,
    TableStatus,
    Visibility,
)

ROWS_SHOWN: Final = 20
CELL_SHOWN: Final = 80
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
    return (
        rows
        | _console_links(indexes)
        | {
            f"{prefix}{TEMPLATE if key == 'namespace' else key}": _shown(value)
            for prefix, index in _prefixed(indexes)
            for key, value in {"index": index.name, **index.details}.items()
            if value is not None and key != CONSOLE
        }
    )


def _console_links(indexes: Sequence[TableStatus]) -> dict[str, Any]:
    links = {f"{prefix}{CONSOLE}": index.details.get(CONSOLE) for prefix, index in _prefixed(indexes)}
    return {name: dg.MetadataValue.url(str(link)) for name, link in links.items() if link}


def index_rows(indexes: Sequence[TableStatus], collection: str) -> dict[str, Any]:
    """How many records of a collection they hold now, and where those of the newest one are."""
    rows = {"dagster/partition_row_count": sum(index.collections.get(collection, 0) for index in indexes)}
    at = [f"{index.uri}/{quote(_namespace(index, collection), safe='')}" for index in indexes if index.uri]
    return {**rows, **({URI: at[-1]} if at else {})}


def index_changes(
    summary: DestinationSummary, indexes: Sequence[TableStatus], vector_name: str, collection: str
) -> dict[str, Any]:
    """What one run did to a named vector of one collection, what that cost, and how far queries see it.

    Unchanged vectors are not among it: those of assets that were not read again are not counted. Requests, bytes and
    write units are those of the run, for all named vectors of the destination together.
    """
    delivery = summary.delivery
    return {
        **_index_counts(summary.by_collection.get(collection, summary.applied), vector_name),
        "requests": delivery.requests,
        "retries": delivery.retries,
        "sent_bytes": delivery.bytes,
        "write_units": delivery.write_units,
        **_places(delivery.places, indexes, collection),
    }


def _index_counts(applied: Applied, vector_name: str) -> dict[str, int]:
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


URI: Final = "dagster/uri"
CONSOLE: Final = "console"
"""Of a destination's details: where its own web pages show it."""

PUNCTUATION: Final = re.compile(r"([!-/:-@\[-`{-~])")


def markdown_table(rows: Sequence[Mapping[str, str]]) -> dg.MarkdownMetadataValue:
    """Rows of one kind as a table in Markdown, in which whatever they say is text: no link, no image, no markup."""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    cells = [line if line[:1] == ["---"] else list(map(_cell, line)) for line in lines]
    return dg.MetadataValue.md("\n".join(f"| {' | '.join(line)} |" for line in cells))


def _cell(text: str) -> str:
    line = "".join(each if each.isprintable() else " " for each in text)
    return PUNCTUATION.sub(r"\\\1", line if len(line) <= CELL_SHOWN else f"{line[:CELL_SHOWN]}…")


def map_metadata(maps: Iterable[EmbeddingMap]) -> dict[str, Any]:
    """Each map as an image in Markdown, with the picture itself in its address."""
    return {
        f"map/{each.vector_name}": dg.MetadataValue.md(f"![{len(each.points)} points]({_image(each)})") for each in maps
    }


def _image(drawn: EmbeddingMap) -> str:
    alone = len({point.collection for point in drawn.points}) == 1
    picture = drawn.svg("asset" if alone else "collection")
    return f"data:image/svg+xml;base64,{b64encode(picture.encode()).decode()}"


KEYS: Final[Mapping[str, str]] = {
    "collection": "the source's collection, and the partition",
    "asset_id": "the asset that this feature describes a piece of",
    "feature_id": "unique within its asset",
}

LEFT_OVER: Final[Mapping[str, str]] = {
    "metadata": "the feature's metadata, as the source says it",
    "extra": "fields that no column is mapped to",
}


def column_lineage(mapping: SchemaMapping, modality: Modality, source: dg.AssetKey) -> dg.TableColumnLineage:
    """Which field of the source each mapped column comes from."""
    return dg.TableColumnLineage(
        {
            name: [dg.TableColumnDep(asset_key=source, column_name=column.path)]
            for name, column in mapping.columns(modality).items()
        }
    )


def mapped_columns(mapping: SchemaMapping, modality: Modality) -> dg.TableSchema:
    """The columns of a modality's table: the keys, the mapped columns, and what is left over."""
    return dg.TableSchema(
        columns=[
            *(_column(name, "text", description, nullable=False) for name, description in KEYS.items()),
            *(
                _column(name, column.type, f"the source's {column.path}")
                for name, column in mapping.columns(modality).items()
            ),
            *(_column(name, "jsonb", description) for name, description in LEFT_OVER.items()),
        ]
    )


def _column(name: str, kind: str, description: str, *, nullable: bool = True) -> dg.TableColumn:
    constraints = dg.TableColumnConstraints(nullable=nullable)
    return dg.TableColumn(name=name, type=kind, description=description, constraints=constraints)


def table_metadata(mapping: SchemaMapping, modality: Modality, statuses: Sequence[Status]) -> dict[str, Any]:
    """What the table holds now, all collections together: its rows, and its columns with the named vectors."""
    table, vectors = _tables(statuses, modality)
    columns = [*mapped_columns(mapping, modality).columns, *map(_vector_column, vectors)]
    rows: dict[str, Any] = {"dagster/row_count": table.rows} if table else {}
    rows |= {URI: table.uri} if table and table.uri else {}
    return {**rows, "dagster/column_schema": dg.TableSchema(columns=columns)}


def _tables(statuses: Sequence[Status], modality: Modality) -> tuple[TableStatus | None, list[TableStatus]]:
    """The table of this modality in the first destination that has tables, and the tables of its named vectors: one
    for each dimension, without those that are retired."""
    first = _with_tables(statuses)
    tables = [table for table in first.tables if table.modality == modality] if first else []
    current = (table for table in tables if table.details.get("state") != "retired")
    vectors = [table for table in current if table.vector_name is not None]
    return next((table for table in tables if table.vector_name is None), None), vectors


def _with_tables(statuses: Sequence[Status]) -> Status | None:
    """The first destination with a table per modality; others have an index for all of them."""
    return next((each for each in statuses if any(table.modality is not None for table in each.tables)), None)


def _vector_column(table: TableStatus) -> dg.TableColumn:
    kind = str(table.details.get("storage", "vector"))
    return _column(str(table.vector_name), kind, f"named vector, in {table.name} ({table.rows:,} rows)")


def partition_metadata(
    summary: Summary, statuses: Sequence[Status], modality: Modality, collection: str
) -> dict[str, Any]:
    """What one run did to one modality of one collection, and how many rows the collection has now."""
    return {
        "collection": collection,
        **_changes(summary, statuses, modality, collection),
        **_rows(statuses, modality, collection),
        **scan_metadata(summary, collection),
        **_set_aside(summary, modality, collection),
        "requests": summary.of(collection).usage.requests,
        "retries": summary.of(collection).usage.retries,
        "received_bytes": summary.of(collection).usage.bytes,
        "seconds": round(summary.of(collection).seconds, 3),
    }


def _set_aside(summary: Summary, modality: Modality, collection: str) -> dict[str, Any]:
    """The first records that the run put into quarantine, as a table."""
    records = [
        dg.TableRecord(
            {"destination": name, "asset": each.asset_id, "feature": each.feature_id}
            | {"reason": str(each.reason), "detail": each.detail}
        )
        for name, destination in summary.destinations.items()
        if collection in destination.by_collection
        for each in destination.by_collection[collection].rejected
        if each.modality in ("", modality)
    ]
    return {"set_aside": dg.MetadataValue.table(records[:ROWS_SHOWN])} if records else {}


def fleet_metadata(fleet: Fleet) -> dict[str, Any]:
    """Who has read and written a collection before the closing step, at what rate, who lagged behind, and what was not
    done by then."""
    if not fleet.workers:
        return {}
    records = [
        dg.TableRecord(
            {
                "worker": each.owner,
                "shards": each.shards,
                "assets": each.assets,
                "assets_per_second": round(each.rate or 0.0, 1),
                "remark": each.remark,
            }
        )
        for each in fleet.workers
    ]
    return {
        "workers": dg.MetadataValue.table(records),
        "workers/assets_left": fleet.assets - fleet.done,
        **({"workers/assets_per_second": round(fleet.rate, 1)} if fleet.rate else {}),
        **({"workers/seconds_left": round(fleet.seconds_left)} if fleet.seconds_left else {}),
    }


def related_metadata(summary: Summary) -> dict[str, int]:
    """How many rows the tables of metadata have that the source keeps beside its assets."""
    return {f"rows/{name}": table.listed for name, table in summary.related.items()}


def _changes(summary: Summary, statuses: Sequence[Status], modality: Modality, collection: str) -> dict[str, int]:
    """Counts of the first destination with tables under plain names, of others under ``{destination}/…``."""
    tables = _with_tables(statuses)
    first = tables.destination if tables else next(iter(summary.destinations), None)
    return {
        f"{'' if name == first else f'{name}/'}{kind}": count
        for name, destination in summary.destinations.items()
        for kind, count in _counts(destination, modality, collection).items()
    }


def is_written(destination: DestinationSummary, modality: Modality, collection: str) -> bool:
    """Whether the run has written features of a modality of a collection, or their vectors, into a destination."""
    counts = _counts(destination, modality, collection) if collection in destination.by_collection else {}
    return any(counts.get(kind) for kind in ("inserted", "updated", "vectors_written"))


def _counts(destination: DestinationSummary, modality: Modality, collection: str) -> dict[str, int]:
    applied = destination.by_collection.get(collection, destination.applied)
    features = applied.features.get(modality, Counts())
    vectors = [counts for (of, _), counts in applied.vectors.items() if of == modality]
    return {
        "inserted": features.inserted,
        "updated": features.updated,
        "unchanged": features.unchanged,
        "deleted": features.deleted,
        "quarantined": features.quarantined + sum(counts.quarantined for counts in vectors),
        "vectors_written": sum(counts.inserted + counts.updated for counts in vectors),
    }


def _rows(statuses: Sequence[Status], modality: Modality, collection: str) -> dict[str, int]:
    table, vectors = _tables(statuses, modality)
    rows = {"dagster/partition_row_count": table.collections.get(collection, 0)} if table else {}
    for vector in vectors:
        key = f"rows/{vector.vector_name}"
        rows[key] = rows.get(key, 0) + vector.collections.get(collection, 0)
    return rows


def scan_metadata(summary: Summary, collection: str) -> dict[str, Any]:
    """How many assets the source listed, and what became of them; unfinished and failed ones by name."""
    scan = summary.of(collection)
    ids_by_state = {
        "assets_pending_ids": scan.pending,
        "assets_failed_ids": scan.failed,
        "assets_unread_ids": scan.unread,
    }
    texts = {"why_full": scan.why_full, "note": scan.note, "error": scan.error}
    return {
        "scan": scan.scan,
        "assets_listed": scan.listed,
        "assets_unchanged": scan.unchanged,
        "assets_pulled": scan.pulled,
        "assets_pending": scan.pending_count,
        "assets_failed": scan.failed_count,
        "assets_unread": scan.unread_count,
        **{key: dg.MetadataValue.json(ids) for key, ids in ids_by_state.items() if ids},
        **{key: text for key, text in texts.items() if text},
    }
