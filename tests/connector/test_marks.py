"""The mark of a collection: the same as long as nothing that is ready has changed."""

from __future__ import annotations

import pytest

from tests.connector.changing import Changing
from tests.connector.worlds import Scripted, asset, assets
from vectorferry.connector._engine._marks import mark
from vectorferry.connector.plugin import AssetState, IncompleteScanError, Source


@pytest.mark.parametrize("kind", [Scripted, Changing])
async def test_a_mark_changes_with_what_is_ready_and_with_nothing_else(kind: type[Scripted]) -> None:
    source = kind({"ads": assets(5)})
    first = await mark(source, "ads", "")
    assert await mark(source, "ads", first) == first
    put(source, "a0001", version=2)
    second = await mark(source, "ads", first)
    assert second != first
    assert await mark(source, "ads", second) == second
    source.states["new"] = AssetState.PENDING
    put(source, "new")
    pending = await mark(source, "ads", second)
    assert pending == second
    source.states.clear()
    put(source, "new")
    ready = await mark(source, "ads", pending)
    assert ready != pending
    assert await mark(source, "ads", ready) == ready


def put(source: Scripted, asset_id: str, version: int = 1) -> None:
    if isinstance(source, Changing):
        source.put("ads", asset(asset_id, version))
    else:
        source.assets["ads"][asset_id] = asset(asset_id, version)


async def test_where_changes_are_listed_nothing_else_is() -> None:
    source = Changing({"ads": assets(5)})
    first = await mark(source, "ads", "")
    source.scans.clear()
    await mark(source, "ads", first)
    assert None not in source.scans
    assert len(source.scans) == 1


async def test_a_change_that_comes_between_is_not_lost() -> None:
    """It begins before the cursor is taken, and is shown behind it."""
    source = Changing({"ads": assets(5)})
    first = await mark(source, "ads", "")
    source.put("ads", asset("a0001", 2))
    source.meanwhile.append(lambda: source.put("ads", asset("a0002", 2), late=1))
    second = await mark(source, "ads", first)
    assert second != first
    assert await mark(source, "ads", second) == second


async def test_a_cursor_that_reaches_back_too_far_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Changing({"ads": assets(5)})
    first = await mark(source, "ads", "")
    scan_changed, refused = Changing.scan_changed, [first.partition("\n")[0]]

    def forgetful(self: Changing, collection: str, since: str) -> object:
        if refused:
            refused.pop()
            raise IncompleteScanError("the feed does not reach back so far")
        return scan_changed(self, collection, since)

    monkeypatch.setattr(Changing, "scan_changed", forgetful)
    source.scans.clear()
    again = await mark(source, "ads", first)
    assert None in source.scans
    assert isinstance(source, Source)
    assert await mark(source, "ads", again) == again


async def test_a_delete_changes_the_mark_where_everything_is_listed() -> None:
    source = Scripted({"ads": assets(3)})
    first = await mark(source, "ads", "")
    del source.assets["ads"]["a0001"]
    assert await mark(source, "ads", first) != first
