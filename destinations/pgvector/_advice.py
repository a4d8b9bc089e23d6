"""What is not done as the configuration says, and what to change."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from psycopg import sql
from sqlalchemy import Connection, inspect

from vectorferry.connector.plugin import MODALITIES, SchemaMapping

from .._postgres import driver_of
from ._catalogue import Catalogue, VectorEntry
from ._storage import MAX_INDEXED_DIMENSION
from ._tables import SyncSchema

__all__ = ["not_indexed", "unmatched"]


def not_indexed(catalogue: Catalogue, mapping: SchemaMapping) -> Iterator[str]:
    """A sentence for each table whose vectors should have an index that cannot be built."""
    for modality in MODALITIES:
        for entry in catalogue.live(modality):
            wanted = mapping.vector(modality, entry.vector_name)
            if wanted.index != "none" and entry.layout.dimension > MAX_INDEXED_DIMENSION[entry.layout.storage]:
                yield _not_indexed(entry)


def _not_indexed(entry: VectorEntry) -> str:
    layout, key = entry.layout, f"modalities.{entry.modality}.vectors.{entry.vector_name}"
    most, most_of_halves = MAX_INDEXED_DIMENSION[layout.storage], MAX_INDEXED_DIMENSION["halfvec"]
    told = (
        f"{entry.table}: no hnsw index is built, since one over {layout.storage} takes {most:,} dimensions at most and "
        f"these have {layout.dimension:,}: every search reads the whole table"
    )
    if layout.storage == "vector" and layout.dimension <= most_of_halves:
        return (
            f"{told}. {key}.storage: halfvec has an index up to {most_of_halves:,}; sync into another `schema` with it"
        )
    return f"{told}. {key}.index: none says that this is meant"


def unmatched(connection: Connection, schema: SyncSchema) -> Iterator[str]:
    """A sentence for each mapped column without a single value, and each mapped named vector without a table, where
    there are features of the modality."""
    there = inspect(connection)
    for modality in MODALITIES:
        table, mapping = schema.features[modality], schema.mapping.modality(modality)
        if not there.has_table(table.name, schema=schema.name):
            continue
        held = {column["name"] for column in there.get_columns(table.name, schema=schema.name)}
        place = sql.Identifier(schema.name, table.name)
        if not _any(connection, place, "feature_id"):
            continue
        for name, column in mapping.columns.items():
            if name in held and not _any(connection, place, name):
                yield f"modalities.{modality}.columns.{name}: {column.path} is in no {modality} feature that is stored"
        names = schema.catalogue.named(modality)
        for name in mapping.vectors.keys() - names.keys() if names else ():
            near = difflib.get_close_matches(name, names, n=1)
            meant = f"; did you mean {near[0]}?" if near else ""
            yield f"modalities.{modality}.vectors.{name}: no {modality} feature has a vector of this name{meant}"


def _any(connection: Connection, table: sql.Identifier, column: str) -> bool:
    """Whether a row has a value in a column. Where none has, every row is looked at."""
    query = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} IS NOT NULL)").format(table, sql.Identifier(column))
    found = driver_of(connection).execute(query).fetchone()
    return bool(found and found[0])
