from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from vectorferry import Summary
from vectorferry.connector.cli._summary_view import show_summary
from vectorferry.connector.plugin import (
    CollectionSummary,
    Counts,
    DestinationSummary,
    LimitReachedError,
    RelatedSummary,
)


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


@pytest.mark.parametrize(
    "summary",
    [
        Summary("media", {"c": CollectionSummary(refused=True, note="nothing was deleted")}),
        Summary("media", {"c": CollectionSummary(error="503")}),
        Summary("media", {"c": CollectionSummary()}, limit=LimitReachedError("closed until midnight")),
        Summary("media", {"c": CollectionSummary()}, related={"people": RelatedSummary(error="503")}),
        Summary("media", {"c": CollectionSummary()}, related={"people": RelatedSummary(refused=True)}),
    ],
    ids=["refused", "failed", "limited", "related failed", "related refused"],
)
def test_a_run_that_could_not_do_all_of_it_does_not_say_that_all_is_up_to_date(summary: Summary) -> None:
    shown = StringIO()
    summary.destinations["store"] = DestinationSummary()
    show_summary(summary, Console(file=shown))
    assert "store: nothing was written\n" in shown.getvalue()


def test_what_was_set_aside_is_not_up_to_date() -> None:
    shown = StringIO()
    store = DestinationSummary(quarantined=16)
    show_summary(Summary("media", {"c": CollectionSummary()}, destinations={"store": store}), Console(file=shown))
    assert "store: nothing was written\n" in shown.getvalue()
    assert "store: 16 records in quarantine" in shown.getvalue()
