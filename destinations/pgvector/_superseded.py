"""Which rows of a generation are the value of a feature's vector."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Table, and_, exists, false, not_, true

from ._catalogue import VectorEntry
from ._schema import KEY_COLUMNS
from ._tables import SyncSchema
from ._tombstones import visible

__all__ = ["is_not_superseded", "is_of_shown_feature"]


def is_not_superseded(schema: SyncSchema, entry: VectorEntry, rows: Table) -> ColumnElement[bool]:
    """Of a row of a generation's table: it is not retired, and no later generation has a row of the same feature."""
    if entry.state == "retired":
        return false()
    live = schema.catalogue.live_generations(entry.modality, entry.vector_name)
    later = [schema.vector_table(other) for other in live if other.generation > entry.generation]
    return and_(true(), *(not_(exists().where(_same(other, rows))) for other in later))


def is_of_shown_feature(schema: SyncSchema, entry: VectorEntry, rows: Table) -> ColumnElement[bool]:
    """Of a row of a generation's table: its feature is there, and not hidden."""
    features = schema.features[entry.modality]
    return exists().where(_same(features, rows), visible(features))


def _same(table: Table, rows: Table) -> ColumnElement[bool]:
    return and_(*(table.c[name] == rows.c[name] for name in KEY_COLUMNS))
