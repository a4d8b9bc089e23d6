from __future__ import annotations

from io import StringIO

from rich.console import Console

from connector import DestinationSummary, Summary
from connector.cli._summary_view import show_summary


def test_an_error_of_two_lines_is_two_sentences() -> None:
    shown = StringIO()
    error = "cannot connect to Postgres: Connection refused\nCheck that the server runs."
    show_summary(Summary("media", destinations={"store": DestinationSummary(error=error)}), Console(file=shown))
    assert "store: failed: cannot connect to Postgres: Connection refused. Check that the server runs." in (
        " ".join(shown.getvalue().split())
    )
