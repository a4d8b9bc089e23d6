"""Reports where somebody looks at them: some lines in a console, tables in a notebook."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import islice
from typing import Final

from vectorferry.connector._model._batch import Applied, Counts
from vectorferry.connector._model._records import MODALITIES

__all__ = ["Displayed", "DisplayedTable", "count_rows"]

MOST_LINES: Final = 30
MOST_LETTERS: Final = 60
"""Of one cell. Names come from a service, which may think of any length."""


@dataclass(frozen=True, slots=True)
class DisplayedTable:
    """Rows of as many cells as there are columns; the first cell of a row says what the row is about."""

    name: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


class Displayed:
    """Something that is shown as a headline and tables. No part of it is markup, whatever a service calls things."""

    __slots__ = ()

    @abstractmethod
    def _headline(self) -> str:
        """What it is and how it ended, on one line."""

    @abstractmethod
    def _tables(self) -> Iterator[DisplayedTable]:
        """What is worth a look, the most important first."""

    def __repr__(self) -> str:
        lines = [self._headline(), *(line for table in self._tables() for line in _lines(table))]
        rest = len(lines) - MOST_LINES
        return "\n".join(lines if rest <= 0 else [*lines[:MOST_LINES], f"… and {rest:,} more lines: see to_dict()"])

    def _repr_html_(self) -> str:
        """What notebooks show."""
        tables = "".join(_html(table) for table in islice(self._tables(), MOST_LINES))
        return f"<p>{escape(_plain(self._headline()))}</p>{tables}"


def count_rows(applied: Applied) -> Iterator[tuple[str, Counts]]:
    """What was written of assets, of each modality's features, and of each named vector, with a label each."""
    yield "assets", applied.assets
    for modality in MODALITIES:
        yield modality.value, applied.features.get(modality, Counts())
        for name in sorted(name for of, name in applied.vectors if of == modality):
            yield f"  {name}", applied.vectors[modality, name]


def _lines(table: DisplayedTable) -> Iterator[str]:
    rows = [[table.name, *table.columns], *table.rows]
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for first, *others in cells:
        aligned = "  ".join(value.rjust(width) for value, width in zip(others, widths[1:], strict=True))
        yield f"{first.ljust(widths[0])}  {aligned}".rstrip()


def _html(table: DisplayedTable) -> str:
    head = "".join(f"<th>{escape(_cell(value))}</th>" for value in (table.name, *table.columns))
    rows = "".join(
        f"<tr>{''.join(f'<td>{escape(_cell(value))}</td>' for value in row)}</tr>" for row in table.rows[:MOST_LINES]
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(value: object) -> str:
    if value is None:
        return "?"
    text = f"{value:,}" if isinstance(value, int) else _plain(str(value))
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 1]}…"


def _plain(text: str) -> str:
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
