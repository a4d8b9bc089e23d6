"""The indexes themselves as a table without vectors: it says what a collection's id stands for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from vectorferry.connector._related import RelatedTable
from vectorferry.connector.sources._tally import Tally
from vectorferry.connector.sources._times import read_time
from vectorferry.connector.sources.twelvelabs._api import TwelveLabsApi
from vectorferry.connector.sources.twelvelabs._index import Index, index_from
from vectorferry.connector.sources.twelvelabs._related_rows import check_depth, check_listed, with_rest

__all__ = ["INDEXES", "IndexList", "index_list"]

INDEXES: Final = RelatedTable(
    name="indexes",
    key="collection",
    columns={
        "collection": "text",
        "name": "text",
        "model_name": "text",
        "options": "jsonb",
        "created_at": "timestamptz",
        "updated_at": "timestamptz",
        "expires_at": "timestamptz",
        "extra": "jsonb",
    },
)

TIMES: Final = ("created_at", "updated_at", "expires_at")


class IndexList:
    """What one walk over the list of indexes found."""

    def __init__(self, tally: Tally, rows: list[dict[str, Any]]) -> None:
        self._tally = tally
        self._rows = rows

    @property
    def indexes(self) -> list[Index]:
        """All that have an id."""
        return [index_from(row) for row in self._rows]

    @property
    def problem(self) -> str | None:
        """What shows that these are not all; None when nothing does."""
        return self._tally.problem()

    def table_rows(self) -> Iterator[Mapping[str, Any]]:
        """The rows of the table. Raises `IncompleteScanError` at the end unless they are known to be all."""
        for row in self._rows:
            check_depth(row, "indexes")
            yield _table_row(row)
        check_listed(self._tally, "indexes")


async def index_list(api: TwelveLabsApi) -> IndexList:
    """Walk over the list of indexes once."""
    tally = Tally("indexes", "_id")
    return IndexList(tally, [row async for page in api.indexes() for row in tally.fresh(page)])


def _table_row(row: Mapping[str, Any]) -> Mapping[str, Any]:
    index = index_from(row)
    fields = {
        "collection": index.index_id,
        "name": index.name,
        "model_name": index.model_name,
        "options": list(index.options or ()),
        **{key: read_time(row.get(key)) for key in TIMES},
    }
    return with_rest(fields, {key: value for key, value in row.items() if key != "index_name" or index.name is None})
