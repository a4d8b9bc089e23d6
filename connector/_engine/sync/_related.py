"""The tables of metadata beside the assets: read whole, and replaced where they differ."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from vectorferry.connector._config._settings import DeleteGuard
from vectorferry.connector._engine.sync._guard import refusal_of_rows
from vectorferry.connector._engine.sync._lane import Lane
from vectorferry.connector._engine.sync._origins import (
    OriginChanges,
    guard_for,
    origin_of,
    record_origin,
    since_recorded,
)
from vectorferry.connector._iterators import closing
from vectorferry.connector._model._errors import (
    ConfigurationError,
    GuardRefusedError,
    IncompleteScanError,
    LimitReachedError,
    QuarantineError,
    SourceError,
    VectorferryError,
)
from vectorferry.connector._model._mapping import ColumnType, SchemaMapping
from vectorferry.connector._model._records import Reason
from vectorferry.connector._model._related import RelatedRow, RelatedTable
from vectorferry.connector._model._rows import coerce, hash_row, short
from vectorferry.connector._model._storable import check_id, clean
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._destination import Destination
from vectorferry.connector._protocols._source import Source
from vectorferry.connector._reports._summary import RelatedSummary, Summary

MOST_ROWS: Final = 100_000  # they are in memory all at once

ALL_TABLES: Final = ""
"""What stands for them where collections are named: no collection has an empty id."""


def check_related_names(source: Source, mapping: SchemaMapping) -> None:
    """Raise `ConfigurationError` when the mapping wants a table for a modality that the source has a use for."""
    reserved = mapping.tables()
    for table in source.related_tables:
        if table.name in reserved:
            raise ConfigurationError(
                f"modalities.{reserved[table.name]}.table: {table.name} is a table that the source brings along; "
                "choose another name"
            )


async def sync_related(source: Source, lanes: Sequence[Lane], guard: DeleteGuard, summary: Summary) -> None:
    """Make the destinations that store such tables hold what the source has in them.

    One that fails is named in the summary and stays as it was, and the others go on. Nothing is asked of a source whose
    quota is used up.
    """
    takers = [lane for lane in lanes if lane.alive and lane.can(Capability.RELATED_TABLES)]
    if not takers or not (tables := source.related_tables) or summary.limit:
        return
    try:
        origin = await origin_of(source, ALL_TABLES)
    except LimitReachedError as error:
        summary.limit = error
        return
    changes = await since_recorded(takers, ALL_TABLES, origin, partial(_holds_nothing, tables))
    for table in tables:
        if summary.limit:
            return
        replacing = _Replacing(table, takers, guard, changes)
        replacing.summary.origin_changes.update(changes)
        summary.related[table.name] = replacing.summary
        try:
            await replacing.replace(partial(source.related_rows, table))
        except LimitReachedError as error:
            summary.limit = error
        except GuardRefusedError as error:
            replacing.summary.refuse(str(error))
        except VectorferryError as error:
            replacing.summary.fail(str(error))
    if guard.mode != "keep" and all(each.complete and not each.refused for each in summary.related.values()):
        await record_origin(takers, ALL_TABLES, origin)


def _holds_nothing(tables: Sequence[RelatedTable], destination: Destination) -> bool:
    return not any(map(destination.related_hashes, tables))


@dataclass(frozen=True, slots=True)
class _Replacing:
    """One table on its way to the destinations that take it."""

    table: RelatedTable
    takers: Sequence[Lane]
    guard: DeleteGuard
    changes: OriginChanges
    summary: RelatedSummary = field(default_factory=RelatedSummary)

    async def replace(self, listed: Callable[[], AsyncIterator[Mapping[str, Any]]]) -> None:
        """Read all rows, then write. Rows that are gone go only after two complete lists without them or a bad row.

        Raises what the source raises, and `GuardRefusedError` when rows that are not listed have stayed.
        """
        rows = await self._read(listed())
        if self.summary.complete and await self._anything_missing(rows):
            rows |= await self._read(listed())
        self.summary.listed = len(rows)
        refusal = await self._refusal(rows) if self.summary.complete else None
        complete = self.summary.complete and self.guard.mode != "keep" and not refusal
        await asyncio.gather(*(self._write(lane, list(rows.values()), complete=complete) for lane in self.takers))
        if refusal:
            raise GuardRefusedError(refusal)

    async def _read(self, listed: AsyncIterator[Mapping[str, Any]]) -> dict[str, RelatedRow]:
        self.summary.complete = False
        rows: dict[str, RelatedRow] = {}
        bad: list[QuarantineError] = []
        try:
            async with closing(listed) as each:
                async for fields in each:
                    try:
                        row = _mapped_row(self.table, fields)
                        rows.setdefault(row.key, row)
                    except QuarantineError as error:
                        bad.append(error)
                    if len(rows) + len(bad) > MOST_ROWS:
                        raise SourceError(f"the source lists more than {MOST_ROWS:,} rows")
        except IncompleteScanError as error:
            self.summary.tell_incomplete(str(error), unknowable=error.unknowable)
            return rows
        if bad:
            left_out = "1 row was" if len(bad) == 1 else f"{len(bad):,} rows were"
            self.summary.fail(f"{left_out} left out, so no row was deleted: {bad[0]}")
        self.summary.complete = not bad
        return rows

    async def _anything_missing(self, rows: Mapping[str, RelatedRow]) -> bool:
        """Whether rows would go. A destination that cannot say so will not be able to write either, and is told of
        then."""
        if self.guard.mode == "keep":
            return False
        stored_hashes = [lane.ask(partial(lane.destination.related_hashes, self.table)) for lane in self.takers]
        answers = await asyncio.gather(*stored_hashes, return_exceptions=True)
        return any(isinstance(stored, Mapping) and stored.keys() - rows.keys() for stored in answers)

    async def _refusal(self, rows: Mapping[str, RelatedRow]) -> str | None:
        """Why no destination may lose a row, where one must not."""
        for lane in self.takers:
            stored_keys = (await lane.ask(partial(lane.destination.related_hashes, self.table))).keys()
            guard = guard_for(self.guard, self.changes.get(lane.name, ()))
            if why := refusal_of_rows(guard, len(stored_keys), len(stored_keys - rows.keys()), len(rows)):
                return f"{lane.name}: nothing was deleted: {why}"
        return None

    async def _write(self, lane: Lane, rows: Sequence[RelatedRow], *, complete: bool) -> None:
        """A destination that refuses the table has not failed: its features go on."""
        work = partial(lane.destination.replace_related, self.table, rows, complete=complete)
        try:
            self.summary.destinations[lane.name] = await lane.ask(work)
        except VectorferryError as error:
            self.summary.fail(f"{lane.name}: {error}")


def _mapped_row(table: RelatedTable, fields: Mapping[str, Any]) -> RelatedRow:
    """The row that a destination is given. Raises `QuarantineError` when a value does not fit its column, or the key
    is no id."""
    columns = {name: _value(name, fields.get(name), kind) for name, kind in table.columns.items()}
    key = columns[table.key] or ""
    check_id(key, table.key)
    digest, _ = hash_row(columns, {}, {})
    return RelatedRow(key, columns, digest)


def _value(name: str, value: Any, kind: ColumnType) -> Any:
    try:
        cleaned, _ = clean(value)
        return coerce(cleaned, kind)
    except (ValueError, RecursionError) as error:
        detail = f"column {name}: {short(value)} does not fit {kind}"
        raise QuarantineError(Reason.BAD_VALUE, detail) from error
