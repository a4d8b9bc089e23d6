"""Tables that look the same everywhere, and fit 80 columns where no name is too long for that."""

from __future__ import annotations

from typing import Final

from rich import box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Column, Table
from rich.text import Text

__all__ = ["cell", "counted", "make_table", "megabytes", "show_table"]

WHOLE: Final = 63
"""Ids and names up to this length are never cut: Postgres has none that are longer."""

GAP: Final = 2
"""Columns are so far apart, and one of it stands at either edge."""


def make_table(*columns: str, numbers: tuple[str, ...] = (), cut: tuple[str, ...] = ()) -> Table:
    """An empty table. `numbers` are set to the right; only the columns in `cut` give way when 80 are not enough."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        # rich shrinks columns that may wrap before any other; what is in them asks for an ellipsis itself.
        table.add_column(column, justify="right" if column in numbers else "left", no_wrap=column not in cut)
    return table


def show_table(table: Table, console: Console) -> None:
    """Print it, wider than the terminal if need be: an id that was cut could not be copied from there."""
    for column in table.columns:
        width = min(WHOLE, max(_width(column, content) for content in (column.header, *column.cells)))
        column.min_width = width
        column.max_width = width if column.no_wrap else None
    needed = sum((column.min_width or 0) + GAP for column in table.columns)
    if needed > console.width:
        table.width = needed
    console.print(table, crop=False)


def _width(column: Column, content: RenderableType) -> int:
    """What a cell needs. In a column that gives way, an id stands alone or in the last line, below words."""
    lines = str(content).splitlines() or [""]
    if column.no_wrap:
        return max(map(cell_len, lines))
    last = lines[-1]
    indent = len(last) - len(last.lstrip())
    return indent + max(map(cell_len, last.split()), default=0)


def cell(text: str) -> Text:
    """Text for a table, cut with an ellipsis where it does not fit."""
    return Text(text, no_wrap=True, overflow="ellipsis")


def counted(number: int, noun: str, plural: str = "s") -> str:
    """``1 asset``, ``2,000 assets``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}{plural}"


def megabytes(size: int) -> str:
    """Bytes as MB with one digit."""
    return f"{size / 1_000_000:,.1f} MB"
