"""The hits of a source's own search for people, each with what is stored of it."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from vectorferry.connector._engine import Found, FoundHit
from vectorferry.connector.cli._answers import place, row_text, seconds
from vectorferry.connector.cli._console import plain
from vectorferry.connector.cli._tables import cell, make_table, show_table

__all__ = ["show_hits"]


def show_hits(found: Found, console: Console) -> None:
    """One line per hit and one for the stored feature that it overlaps most."""
    for line in _heading(found):
        console.print(Text(line), soft_wrap=True)
    if not found.hits:
        console.print(Text("\nno hits\n"))
        return
    table = make_table("rank", "hit", "asset", numbers=("rank",), cut=("hit",))
    for one in found.hits:
        hit = one.hit
        words = cell(plain(hit.text or _stored_text(one), 400))
        if found.looked_up:
            words.append(f"\n{_feature(one)}", style="dim")
        table.add_row(str(hit.rank), words, place(hit.asset_id, seconds(hit.start, hit.end)))
    show_table(table, console)


def _heading(found: Found) -> Iterator[str]:
    yield f"hits of the source's own search in {plain(found.collection)}"
    if found.note:
        yield f"{plain(found.destination or '')}: its rows cannot be read: {plain(found.note)}"
    elif found.destination:
        yield f"with the features that {plain(found.destination)} holds of them"
    else:
        yield "no destination of this sync can say what it holds of them"


def _feature(one: FoundHit) -> str:
    if one.rows:
        return plain(one.rows[0]["feature_id"])
    return "not synced" if one.asset is None else "no feature at that time"


def _stored_text(one: FoundHit) -> str:
    """What the first of its features that says anything says."""
    return next(filter(None, map(row_text, one.rows)), "")
