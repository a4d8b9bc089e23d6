"""A source that lists its changes: which scan a run made, why, and how to ask for a full one."""

from __future__ import annotations

import dagster as dg
import pytest

from tests.connector.changing import Changing
from tests.connector.worlds import asset, assets
from tests.dagster_project import plugins
from tests.dagster_project.conftest import Load
from tests.dagster_project.running import materialize, recorded
from vectorferry.connector.testing import MemoryDestination


class Followed(plugins.ShelfSource, Changing):
    """A shelf that lists its changes."""


def test_a_run_says_which_scan_it_made_and_can_ask_for_a_full_one(
    load: Load, box: MemoryDestination, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    defs, source = (
        load({"collections": ["ads"]}, incremental={"full_every": 9}, deletes={"max_share": 1}),
        Followed({"ads": assets(4)}),
    )
    monkeypatch.setitem(plugins.SOURCES, "shelf", source)

    def run(*, full: bool = False, reread: bool = False) -> list[object]:
        assert materialize(defs, instance, "ads", full=full, reread=reread).success
        told = recorded(instance, "media/video")["ads"]
        return [told["scan"], told.get("why_full"), told["assets_pulled"]]

    assert run() == ["full", "no earlier run has left this collection wholly up to date", 4]
    source.put("ads", asset("a0001", 2))
    del source.assets["ads"]["a0002"]
    assert run() == ["incremental", None, 1]
    assert len(box.assets["ads"]) == 4
    assert run(full=True) == ["full", "a full scan was asked for", 0]
    assert len(box.assets["ads"]) == 3
    assert run(reread=True) == ["full", "a full scan was asked for", 3]
