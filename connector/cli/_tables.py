"""Tables that look the same everywhere and fit 80 columns."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

__all__ = ["cell", "counted", "make_table", "megabytes"]


def make_table(*columns: str, numbers: tuple[str, ...] = (), cut: tuple[str, ...] = ()) -> Table:
    """An empty table. `numbers` are set to the right; only the columns in `cut` give way when 80 are not enough."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        # rich shrinks columns that may wrap before any other; what is in them asks for an ellipsis itself.
        table.add_column(column, justify="right" if column in numbers else "left", no_wrap=column not in cut)
    return table


def cell(text: str) -> Text:
    """Text for a table, cut with an ellipsis where it does not fit."""
    return Text(text, no_wrap=True, overflow="ellipsis")


def counted(number: int, noun: str, plural: str = "s") -> str:
    """``1 asset``, ``2,000 assets``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}{plural}"


def megabytes(size: int) -> str:
    """Bytes as MB with one digit."""
    return f"{size / 1_000_000:,.1f} MB"
