"""How a plan tells people what becomes of assets that are gone."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from vectorferry import Plan
from vectorferry.connector.cli._plan import show_plan
from vectorferry.connector.plugin import CollectionPlan, Counts, DeleteGuard, ReadEstimate, RelatedSummary
from vectorferry.connector.testing import MemoryDestination, plan, sync

from ..worlds import Scripted, assets


@pytest.mark.parametrize(
    ("guard", "told"),
    [
        (DeleteGuard(), ["1 to delete"]),
        (DeleteGuard(mode="tombstone"), ["1, hidden", "1 to hide"]),
        (DeleteGuard(mode="keep"), ["1, kept", "1 asset that the source does not list stayed"]),
        (DeleteGuard(max_share=0), ["1, refused", "a sync would delete nothing"]),
    ],
)
async def test_it_says_whether_they_are_deleted_hidden_or_kept(guard: DeleteGuard, told: list[str]) -> None:
    source, store = Scripted({"c": assets(10)}), MemoryDestination()
    await sync(source, [store], name="media")
    del source.assets["c"]["a0000"]
    console = Console(file=StringIO(), width=200)
    show_plan(await plan(source, [store], name="media", deletes=guard), console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for words in told:
        assert words in shown


def test_it_says_what_would_become_of_tables_of_metadata_and_what_is_only_due() -> None:
    seen = CollectionPlan(listed=9, to_pull=4, changed=4, reread=3)
    people = RelatedSummary(4, complete=True, destinations={"store": Counts(1, 0, 2, 1)})
    console = Console(file=StringIO(), width=200)
    show_plan(Plan("media", {"c": seen}, {}, ReadEstimate(1, 4, 40, 1.0), {"people": people}), console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "store: people: 1 to insert, 1 to delete" in shown
    assert "c: 3 of the changed ones seem unchanged, but are due to be read again" in shown
