"""Rows of many tables side by side, each in the order of its asset ids, from server-side cursors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from typing import Any, Final

import psycopg
from psycopg import sql
from sqlalchemy import Connection, Table, text

from .._postgres import Row, driver_of
from ._stored_values import Loaders

__all__ = ["Feed", "Reader", "begin_snapshot"]

# One snapshot for every table: a sync that commits meanwhile must not give an asset two halves of two versions.
_SNAPSHOT: Final = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

_ROWS_AT_ONCE: Final = 500


def begin_snapshot(connection: Connection) -> None:
    """Let the transaction that has just begun see one state of every table."""
    connection.execute(_SNAPSHOT)


class Reader:
    """Opens cursors over the rows of some assets of a collection, or of all (None), and of some features only where
    `feature_ids` are given."""

    def __init__(
        self,
        connection: Connection,
        cursors: ExitStack,
        loaders: Loaders,
        collection: str,
        asset_ids: Sequence[str] | None = None,
        feature_ids: Sequence[str] | None = None,
    ) -> None:
        self._driver = driver_of(connection)
        self._cursors = cursors
        self._loaders = loaders
        self._numbers = count()
        self._parameters: dict[str, Any] = {"collection": collection}
        if asset_ids is not None:
            self._parameters["asset_ids"] = list(asset_ids)
        if feature_ids is not None:
            self._parameters["feature_ids"] = list(feature_ids)

    def rows(self, table: Table, columns: Sequence[str]) -> Iterator[Row]:
        """Each row's asset id and these columns, in the order of asset ids, fetched a few hundred at a time."""
        name = f"vectorferry_{id(self)}_{next(self._numbers)}"
        cursor = self._cursors.enter_context(psycopg.ServerCursor(self._driver, name))
        cursor.itersize = _ROWS_AT_ONCE
        for type_, loader in self._loaders.items():
            cursor.adapters.register_loader(type_, loader)
        cursor.execute(self._select(table, columns), self._parameters, binary=True)
        return iter(cursor)

    def _select(self, table: Table, columns: Sequence[str]) -> sql.Composed:
        some_assets = sql.SQL(" AND asset_id = ANY(%(asset_ids)s)" if "asset_ids" in self._parameters else "")
        some_features = sql.SQL(" AND feature_id = ANY(%(feature_ids)s)" if "feature_ids" in self._parameters else "")
        return sql.SQL("SELECT {} FROM {} WHERE collection = %(collection)s{}{} ORDER BY asset_id").format(
            sql.SQL(", ").join(map(sql.Identifier, ("asset_id", *columns))),
            sql.Identifier(str(table.schema), table.name),
            some_assets,
            some_features,
        )


class Feed:
    """Rows in the order of asset ids, which each begins with, taken asset by asset.

    Postgres' collation "C" and Python compare texts alike: by code points.
    """

    def __init__(self, rows: Iterator[Row]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    @property
    def waiting(self) -> str | None:
        """The asset of the next row; None at the end."""
        return None if self._next is None else str(self._next[0])

    def take(self, asset_id: str) -> list[Row]:
        """What follows the asset id in the rows of this asset; those of earlier ones are passed over."""
        taken = []
        while self._next is not None and self._next[0] <= asset_id:
            if self._next[0] == asset_id:
                taken.append(self._next[1:])
            self._next = next(self._rows, None)
        return taken
