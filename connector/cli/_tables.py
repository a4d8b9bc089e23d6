"""Tables that look the same everywhere and fit 80 columns."""

from __future__ import annotations

from rich import box
from rich.table import Table

__all__ = ["counted", "make_table", "megabytes"]


def make_table(*columns: str, numbers: tuple[str, ...] = (), title: str | None = None) -> Table:
    """An empty table. Columns in `numbers` are set to the right and never cut; the others are cut with an ellipsis."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left", title_style="bold")
    for column in columns:
        if column in numbers:
            table.add_column(column, justify="right", no_wrap=True, min_width=len(column))
        else:
            table.add_column(column, no_wrap=True, overflow="ellipsis")
    return table


def counted(number: int, noun: str) -> str:
    """``1 asset``, ``2,000 assets``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def megabytes(size: int) -> str:
    """Bytes as MB with one digit."""
    return f"{size / 1_000_000:,.1f} MB"
