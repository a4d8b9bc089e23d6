"""How a plan tells people what becomes of assets that are gone."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from vectorferry import Plan
from vectorferry.connector.cli._plan import show_plan
from vectorferry.connector.plugin import (
    CollectionPlan,
    Counts,
    DeleteGuard,
    DestinationPlan,
    IndexAdvice,
    ReadEstimate,
    RelatedSummary,
    WriteEstimate,
)
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


def test_it_says_of_each_named_vector_what_its_index_takes_and_what_would_be_better() -> None:
    fine = IndexAdvice("video__m", "m", 272, 1_024, "hnsw", 2_200_000, 0.2, fine=True, advice="fine")
    wide = IndexAdvice(
        "video__w", "w", 9_000, 3_072, "none", 0, 0.0, fine=False, advice="no index: quantization: halfvec"
    )
    sparse = IndexAdvice("text__s", "s", 21, None, "hnsw", 200_000, 300.0, fine=True, advice="fine")
    nothing = WriteEstimate(0, 0, 0)
    store = DestinationPlan(0, 0, 2, 0, nothing, index_advice=[fine, wide, sparse])
    console = Console(file=StringIO(), width=200)
    show_plan(Plan("media", {}, {"store": store}, ReadEstimate(1, 0, 0, 1.0)), console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "video__m: 272 × 1,024, hnsw of about 2.2 MB, built in about 1 s: fine" in shown
    assert "video__w: 9,000 × 3,072, no index: no index: quantization: halfvec" in shown
    assert "text__s: 21 sparse, hnsw of about 0.2 MB, built in about 5 min: fine" in shown
