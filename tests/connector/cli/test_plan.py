"""`vectorferry plan` tells what needs attention, and ends as the sync would."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.connector.cli.conftest import Invoke
from tests.connector.cli.plugins import Box


def test_what_is_not_ready_is_named_and_nothing_is_written(
    vectorferry: Invoke, configured: Callable[..., None]
) -> None:
    configured(shelf="pending: 1, failed: 1")
    result = vectorferry("plan")
    assert result.exit_code == 0
    assert "films: not ready yet, for a later sync: pending-0" in result.stdout
    assert "films: failed at the source: failed-0" in result.stdout
    assert "1 request to list, 2 assets to read; with how many features, nothing stored tells" in result.stdout
    assert "box: 2 new assets, 0 changed, 0 to delete" in result.stdout
    assert not Box.of("media").assets


def test_what_is_stored_gives_the_measure(vectorferry: Invoke, configured: Callable[..., None]) -> None:
    configured()
    assert vectorferry("sync").exit_code == 0
    configured(shelf="assets: 3")
    shown = vectorferry("plan").stdout
    assert "1 request to list, 1 asset with about 1 feature to read in about 1 request; about " in shown
    assert "box: 1 new asset, 0 changed, 0 to delete; about 1 feature in 2 rows, 0.0 MB" in shown


def test_a_collection_that_cannot_be_listed_is_named_and_the_others_are_planned(
    vectorferry: Invoke, configured: Callable[..., None]
) -> None:
    configured(shelf="collections: [films, ads], broken: films")
    result = vectorferry("plan")
    assert result.exit_code == 1
    assert "films: failed: 503 for an hour" in result.stdout
    told = json.loads(vectorferry("plan", "--json").stdout)
    assert (told["exit_code"], told["collections"]["ads"]["to_pull"]) == (1, 2)
    assert told["collections"]["films"]["error"] == "503 for an hour"


def test_many_collections_are_cut_short(vectorferry: Invoke, configured: Callable[..., None]) -> None:
    names = ", ".join(f"c{number}" for number in range(23))
    configured(shelf=f"collections: [{names}]")
    shown = vectorferry("plan").stdout
    assert "… and 3 more" in shown
    assert "c19" in shown
    assert "c20" not in shown


def test_a_key_that_is_refused_stops_it_as_it_stops_a_sync(
    vectorferry: Invoke, configured: Callable[..., None]
) -> None:
    configured(shelf="mishap: refused")
    result = vectorferry("plan")
    assert result.exit_code == 1
    assert result.stderr == "vectorferry: the shelf refused the key; check SHELF_KEY\n"


def test_at_a_size_each_leg_is_told_and_nothing_is_asked(vectorferry: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    Path("vectorferry.yaml").write_text(
        "name: media\nsource: {type: mixpeek-documents, api_key: '${NONE}', namespace: n, requests_per_minute: 600}\n"
        "destinations: [{type: pgvector, url: 'postgresql://nobody@127.0.0.1:1/nothing'}]\n"
    )
    shown = vectorferry("plan", "--at", "1e9", "--dimension", "64")
    assert shown.exit_code == 0
    assert "read mixpeek-documents" in shown.stdout
    assert "55 h 33 min" in shown.stdout
    assert "a first sync takes about " in shown.stdout
    assert "more than index_memory_mb (1,024)" in shown.stdout
    told = json.loads(vectorferry("plan", "--at", "1e9", "--json").stdout)
    assert [leg["kind"] for leg in told["legs"]] == ["read", "write", "index"]
    assert (told["features"], told["vectors"][0]["dimension"], told["measured"]) == (10**9, 1408, False)
    assert vectorferry("plan", "--dimension", "64").exit_code == 2


def test_a_plug_in_that_works_nothing_out_is_left_out(vectorferry: Invoke, configured: Callable[..., None]) -> None:
    configured()
    told = json.loads(vectorferry("plan", "--at", "1000", "--json").stdout)
    assert (told["legs"], told["seconds"], told["dollars"]) == ([], 0, None)
