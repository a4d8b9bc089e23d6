"""What tables, views and columns say of themselves in the database, for those who meet them there first."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from psycopg import sql
from sqlalchemy import Table, TextClause, text

from vectorferry.connector.plugin import MODALITIES, ColumnMapping, Modality, SchemaMapping
from vectorferry.destinations.pgvector._catalogue import Layer, VectorEntry
from vectorferry.destinations.pgvector._schema import SyncSchema
from vectorferry.destinations.pgvector._tables import SyncTables

_COLUMNS: Final[Mapping[str, str]] = {
    "collection": "The source's container of assets, such as a collection or an index.",
    "asset_id": "The id of the media item at the source; unique within its collection.",
    "feature_id": "The id of the feature at the source; unique within its asset.",
    "modality": "What it is: video, image, text or audio.",
    "url": "Where the media item is.",
    "status": "What the source says of its processing.",
    "created_at": "When the source made it.",
    "updated_at": "When the source changed it last.",
    "metadata": "What the user told the source of it, whole.",
    "extra": "What the source sent besides, and no column takes.",
    "row_hash": "A hash of the row as it was written, by which changes are found.",
    "synced_at": "When this was last written by a sync.",
    "deleted_at": "When it was hidden, since it was gone at the source; null: it is there.",
    "feature_key": "collection, asset_id and feature_id in one number, by which views join features and vectors.",
    "embedding": "The vector, as the model at the source made it.",
    "vector_hash": "A hash of the vector, by which changes are found.",
    "asset_url": "Where the feature's media item is.",
    "asset_metadata": "What the user told the source of the media item, whole.",
}
"""By name, since a name means the same everywhere."""

_OF_A_FIELD: Final = "The source's field "
"""How the comments of mapped columns begin. They change with the mapping; those that somebody else wrote do not."""


@dataclass(frozen=True, slots=True)
class Described:
    """A relation, and what it and its columns say of themselves."""

    name: str
    kind: Literal["TABLE", "VIEW"]
    comment: str
    columns: Mapping[str, str]


def table_descriptions(
    tables: SyncTables, features: Mapping[Modality, Table], mapping: SchemaMapping
) -> Iterator[Described]:
    """The tables of a schema, those of named vectors aside."""
    assets = tables.assets
    comment = "One row per media item, as the source lists it. Its features have its collection and asset_id."
    yield Described(assets.name, "TABLE", comment, _common_columns(assets.columns.keys()))
    for modality in MODALITIES:
        table = features[modality]
        comment = f"One row per {modality} feature: one described piece of a media item, such as a segment of a video."
        mapped = _mapped(mapping.columns(modality))
        yield Described(table.name, "TABLE", comment, {**_common_columns(table.columns.keys()), **mapped})
    for name, comment in {
        "_sync_ledger": "What has been synced: one row per asset, with what its rows were made of.",
        "_sync_modalities": "The table and the mapped columns of each modality, as of the last sync.",
        "_sync_vectors": "Each named vector: how it is stored, compared and indexed, and its table and views.",
        "_sync_quarantine": "Records that could not be loaded, and why; see docs/quarantine.md.",
        "_sync_cursors": "How far the changes of each collection have been followed.",
        "_sync_origins": "Which account each collection was read from.",
        "_sync_runs": "What became of each collection in its last runs.",
        "_sync_shared": "The runs that several workers share at this moment.",
        "_sync_shards": "The shards of these runs, and which worker has which.",
        "_sync_limits": "How much of a service's limits all processes have borrowed, and until when they wait.",
        "_sync_related": "The tables of metadata beside assets and features.",
    }.items():
        yield Described(name, "TABLE", comment, {})


def vector_descriptions(schema: SyncSchema, entry: VectorEntry, layers: Iterable[Layer]) -> Iterator[Described]:
    """The table of a generation, and what shows it."""
    storage, of = entry.storage, f"{entry.vector_name!r} of {entry.modality}"
    size = f"{storage.dimension} dimensions, compared by {storage.metric}"
    comment = f"The named vector {of}: one row per feature that has it, {size}."
    table = schema.vector_table(entry)
    yield Described(entry.table, "TABLE", comment, _common_columns(table.columns.keys()))
    mapped = schema.mapping.columns(entry.modality)
    columns = ["collection", "asset_id", "feature_id", "metadata", "extra", "embedding"]
    assets = [name for name in ("asset_url", "asset_metadata") if name not in mapped]
    for layer in layers:
        comment = f"The features that have the named vector {of}, each with it; search them with {layer.function}."
        comment += _ordering(entry)
        yield Described(layer.view, "VIEW", comment, {**_common_columns([*columns, *assets]), **_mapped(mapped)})


def _ordering(entry: VectorEntry) -> str:
    """What a query has to order by for a quantizing index to be used."""
    dimension, operator = entry.storage.dimension, entry.storage.operator
    if entry.storage.quantization == "halfvec":
        return f" Its index is used by ORDER BY embedding::halfvec({dimension}) {operator} '[…]'::halfvec({dimension})."
    if entry.storage.quantization == "binary":
        return (
            f" Its index is used by ORDER BY binary_quantize(embedding)::bit({dimension}) <~> binary_quantize('[…]')."
        )
    return ""


def _common_columns(columns: Iterable[str]) -> dict[str, str]:
    return {name: _COLUMNS[name] for name in columns if name in _COLUMNS}


def _mapped(columns: Mapping[str, ColumnMapping]) -> dict[str, str]:
    return {name: f"{_OF_A_FIELD}{column.path!r}, as {column.type}." for name, column in columns.items()}


_COMMENT: Final = sql.SQL("COMMENT ON {} {} IS {}")
_KINDS: Final = {"TABLE": sql.SQL("TABLE"), "VIEW": sql.SQL("VIEW"), "COLUMN": sql.SQL("COLUMN")}
_STORED: Final = text("""
SELECT c.relname, coalesce(a.attname, ''), d.description FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = c.oid
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND d.objsubid > 0
WHERE n.nspname = :schema AND c.relname = ANY(:names)
""")


def stored_comments(schema: str, relations: Iterable[str]) -> TextClause:
    """Asks what these relations and their columns say of themselves, for `comment_steps`."""
    return _STORED.bindparams(schema=schema, names=[*relations])


def comment_steps(
    schema: str, described: Iterable[Described], stored: Iterable[Any] = (), anew: Collection[str] = ()
) -> Iterator[str]:
    """What gives comments to those that have none: what is made `anew` has none by then, whatever is `stored`. What
    others have written stays."""
    relations = [*described]
    comments = {(str(relation), str(column)): str(comment) for relation, column, comment in stored}
    statements = []
    for relation in relations:
        for column, comment in {"": relation.comment, **relation.columns}.items():
            before = None if relation.name in anew else comments.get((relation.name, column))
            if before is None or (before.startswith(_OF_A_FIELD) and before != comment):
                statements.append(_comment(schema, relation, column, comment))
    if statements:
        yield sql.SQL(";\n").join(statements).as_string()  # in one go: a named vector has two dozen


def _comment(schema: str, relation: Described, column: str, comment: str) -> sql.Composed:
    target = sql.Identifier(schema, relation.name, *([column] if column else []))
    return _COMMENT.format(_KINDS["COLUMN" if column else relation.kind], target, sql.Literal(comment))
