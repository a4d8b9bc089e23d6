from __future__ import annotations

from io import StringIO

from rich.console import Console

from connector import Counts, DestinationSummary, RelatedSummary, Summary
from connector.cli._summary_view import show_summary


def test_an_error_of_two_lines_is_two_sentences() -> None:
    shown = StringIO()
    error = "cannot connect to Postgres: Connection refused\nCheck that the server runs."
    show_summary(Summary("media", destinations={"store": DestinationSummary(error=error)}), Console(file=shown))
    assert "store: failed: cannot connect to Postgres: Connection refused. Check that the server runs." in (
        " ".join(shown.getvalue().split())
    )


def test_tables_of_metadata_are_told_where_they_change_and_where_they_fail() -> None:
    shown = StringIO()
    people = RelatedSummary(4, complete=True, destinations={"store": Counts(1, 0, 2, 1)})
    same = RelatedSummary(4, complete=True, destinations={"store": Counts(unchanged=4)})
    broken, kept = RelatedSummary(error="the source is down"), RelatedSummary(refused=True, note="nothing was deleted")
    related = {"people": people, "teams": same, "places": broken, "pets": kept}
    show_summary(Summary("media", destinations={"store": DestinationSummary()}, related=related), Console(file=shown))
    lines = [line.strip() for line in shown.getvalue().splitlines()]
    assert "store: people: 1 inserted, 1 deleted" in lines
    assert "places: failed: the source is down" in lines
    assert "pets: nothing was deleted" in lines
    assert not any("teams" in line for line in lines)
