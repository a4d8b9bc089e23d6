from __future__ import annotations

import io

from rich.console import Console

from vectorferry.connector.cli._console import cell, make_table, show_table

ID = "a8b36bb488f5a7bedf929fcd"
TABLE = "video__marengo3_0_transcription"


def shown(width: int, *names: str, cut: str) -> list[str]:
    table = make_table("table", "collection", "words", "rows", numbers=("rows",), cut=(cut,))
    table.add_row(*map(cell, names), "7")
    written = io.StringIO()
    show_table(table, Console(file=written, width=width))
    return written.getvalue().splitlines()


def test_ids_are_never_cut_however_narrow_the_terminal() -> None:
    (row,) = [line for line in shown(40, TABLE, ID, "said in the tunnel", cut="words") if ID in line]
    assert row.split()[:2] == [TABLE, ID]
    assert row.split()[-1] == "7"


def test_words_give_way_so_that_ids_fit() -> None:
    lines = shown(80, TABLE, ID, "out of the tunnel and over the bar", cut="words")
    assert max(map(len, lines)) <= 80
    (row,) = [line for line in lines if ID in line]
    assert "…" in row
    assert row.split()[:2] == [TABLE, ID]


def test_an_endless_id_does_not_make_an_endless_line() -> None:
    lines = shown(80, TABLE, "x" * 5_000, "words", cut="words")
    assert max(map(len, lines)) < 200


def test_a_long_word_that_is_no_id_does_not_widen_a_table() -> None:
    lines = shown(80, TABLE, "films", f"refused GET /indexes/{'x' * 60}\n{ID}", cut="words")
    assert max(map(len, lines)) <= 80
    assert any(ID in line for line in lines)
