"""A search's answer for people: the rows, and the statement that gives them again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from vectorferry.connector._destination import SearchAnswer
from vectorferry.connector.cli._console import plain, printable
from vectorferry.connector.cli._tables import cell, make_table, show_table

__all__ = ["place", "row_text", "seconds", "show_answer"]

NEARNESS: Final = ("distance", "score")
"""What a store answers: pgvector a distance, which is small for what is near, Pinecone a score."""
TEXTS: Final = ("description", "caption", "transcription", "text")
VECTOR: Final = re.compile(r"([\[{])([^,'\]}]+,[^,'\]}]+),[^'\]}]{40,}([\]}])")


def show_answer(answer: SearchAnswer, console: Console) -> None:
    """The statement with any long vector cut short, then the rows."""
    shown = _shortened(answer.statement)
    console.print(_coloured(shown, answer.language), soft_wrap=True)
    if shown != answer.statement:
        console.print(Text("(the vector is cut short here; --json prints it whole)", style="dim"))
    if answer.rows:
        show_table(_table(answer), console)
    else:
        console.print(Text("\nno rows\n"))


def _coloured(statement: str, language: str) -> Text:
    """Lines are left as they are, so that they can be copied."""
    lines = "\n".join(printable(line) for line in statement.splitlines())
    coloured = Syntax("", language, theme="ansi_dark", background_color="default").highlight(lines)
    coloured.rstrip()
    return coloured


def _shortened(statement: str) -> str:
    """The 1,408 numbers of a query vector are of no use on a screen; ``--json`` has them all."""
    return VECTOR.sub(r"\1\2,…\3", statement)


def _table(answer: SearchAnswer) -> Table:
    nearness = next((name for name in NEARNESS if name in answer.rows[0]), NEARNESS[0])
    table = make_table(nearness, "feature", "collection", numbers=(nearness,), cut=("feature",))
    for row in answer.rows:
        feature = cell(plain(row_text(row), 400)).append(f"\n{plain(row.get('feature_id', ''))}", style="dim")
        when = seconds(row.get("start_time"), row.get("end_time"))
        table.add_row(_number(row.get(nearness)), feature, place(row.get("collection", ""), when))
    return table


def row_text(row: Mapping[str, Any]) -> str:
    """What a feature's columns say in words."""
    return str(next((row[name] for name in TEXTS if row.get(name)), ""))


def place(name: object, when: str) -> Text:
    """Where something is: the collection or asset, and the seconds below it."""
    return cell(plain(name, 36)).append(f"\n{when}", style="dim")


def seconds(start: object, end: object) -> str:
    """``4–6.5 s``, in tenths; empty where either is not known."""
    return (
        f"{_tenths(start)}–{_tenths(end)} s" if isinstance(start, int | float) and isinstance(end, int | float) else ""
    )


def _tenths(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else ""
