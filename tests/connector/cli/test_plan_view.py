"""How a plan tells people what becomes of assets that are gone."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from connector import DeleteGuard, MemoryDestination, plan, sync
from connector.cli._plan_view import show_plan

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
