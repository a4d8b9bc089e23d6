"""`vectorferry submit`: what is handed to the source, what is told of it, and where it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.connector.cli.conftest import Invoke
from tests.connector.cli.plugins import Box, Retry, Shop, Wrapping
from vectorferry.connector.plugin import SubmitOptions

FILM = "https://media.example/films/harbour.mp4"


@pytest.fixture(autouse=True)
def _shop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shop, "taken", [])
    monkeypatch.setattr(Shop, "closed", 0)
    configure()


def configure(source: str = "shop", more: str = "", box: str = 'url: "${NO_SUCH_BOX}"') -> None:
    Path("vectorferry.yaml").write_text(
        f'name: media\nsource: {{type: {source}, api_key: "${{SHELF_KEY}}", {more}}}\n'
        f"destinations: [{{type: box, {box}}}]\n"
    )


def test_a_url_is_handed_over_and_no_destination_is_needed(vectorferry: Invoke) -> None:
    result = vectorferry("submit", FILM)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{FILM}: indexing; asset new-1\n"
    assert result.stderr == f"{FILM}: fetching\n{FILM}: indexing\n"
    assert Shop.taken == [("films", FILM, SubmitOptions())]
    assert Shop.closed == 1


def test_waiting_watches_until_it_is_ready(vectorferry: Invoke) -> None:
    result = vectorferry("submit", FILM, "--wait", "--no-sync", "--again")
    assert result.stdout == f"{FILM}: ready (DONE); asset new-1\n"
    assert Shop.taken == [("films", FILM, SubmitOptions(again=True))]


def test_what_is_ready_is_synced_and_nothing_else(vectorferry: Invoke) -> None:
    configure(more="assets: 3", box="")
    told = json.loads(vectorferry("submit", "https://media.example/ready-1.mp4", "--wait", "--json").stdout)
    assert told["sync"]["collections"]["films"]["pulled"] == 1
    assert set(Box.of("media").assets["films"]) == {"ready-1"}
    # One that the service had already is synced as well, and what is stored of others stays.
    again = vectorferry("submit", "https://media.example/twice.mp4", "--wait")
    assert again.stdout.startswith(
        "https://media.example/twice.mp4: skipped (SKIPPED); asset ready-0; the same file is there already\n"
    )
    assert set(Box.of("media").assets["films"]) == {"ready-0", "ready-1"}
    # A whole sync afterwards finds these two as they are.
    assert json.loads(vectorferry("sync", "--json").stdout)["collections"]["films"]["unchanged"] == 2


def test_what_cannot_be_synced_was_submitted_all_the_same(vectorferry: Invoke) -> None:
    configure(box="reachable: false")
    result = vectorferry("submit", FILM, "--wait")
    assert result.exit_code == 1
    assert f"{FILM}: ready (DONE); asset new-1\nnot synced: the box of media cannot be reached" in result.stdout


def test_a_variable_that_is_missing_is_told_before_anything_is_submitted(vectorferry: Invoke) -> None:
    result = vectorferry("submit", FILM, "--wait")
    assert result.exit_code == 2
    assert "NO_SUCH_BOX" in result.stderr
    assert Shop.taken == []


def test_metadata_and_settings_go_along(vectorferry: Invoke) -> None:
    Path("own.yaml").write_text("colours: [red]\nribbon: {attempts: 2}\n")
    given = ("--settings", "own.yaml", "--metadata", "hello=world", "--metadata", '{"take": 3}')
    assert vectorferry("submit", FILM, *given).exit_code == 0
    ((_, _, options),) = Shop.taken
    assert options.metadata == {"hello": "world", "take": 3}
    assert options.settings == Wrapping(colours=("red",), ribbon=Retry(attempts=2))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("color: [red]", "own.yaml: color: unknown key; did you mean colours?"),
        ("ribbon: {atempts: 2}", "own.yaml: ribbon.atempts: unknown key; did you mean attempts?"),
        ("ribbon: {attempts: two}", "own.yaml: ribbon.attempts: should be a whole number"),
        ("- colours", "own.yaml: should be one mapping"),
        ("", "own.yaml: should be one mapping"),
    ],
)
def test_settings_are_checked_before_anything_is_sent(vectorferry: Invoke, content: str, told: str) -> None:
    Path("own.yaml").write_text(content)
    result = vectorferry("submit", FILM, "--settings", "own.yaml")
    assert result.exit_code == 2
    assert told in result.stderr
    assert Shop.taken == []
    assert Shop.closed == 0


def test_settings_need_a_source_that_has_some(vectorferry: Invoke) -> None:
    configure("shelf")
    result = vectorferry("submit", FILM, "--settings", "own.yaml")
    assert result.exit_code == 2
    assert "a source of type shelf has no settings" in result.stderr


def test_a_note_of_the_source_is_told(vectorferry: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shop, "note", "the shop keeps no marks")
    assert "; the shop keeps no marks\n" in vectorferry("submit", FILM, "--wait", "--no-sync").stdout


def test_a_collection_that_no_other_run_looks_at_is_told(vectorferry: Invoke) -> None:
    configure(more="collections: [films]")
    assert "source.collections" not in vectorferry("submit", FILM, "--collection", "films").stderr
    told = "series is not in source.collections: no run but"
    assert told in vectorferry("submit", FILM, "--collection", "series").stderr
    assert told in json.loads(vectorferry("submit", FILM, "--collection", "series", "--json").stdout)["note"]


def test_json_is_one_object_in_the_order_of_the_command(vectorferry: Invoke) -> None:
    old, broken = "https://media.example/old.mp4", "https://media.example/broken.mp4"
    result = vectorferry("submit", FILM, old, broken, old, "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert (told["collection"], told["exit_code"]) == ("films", 1)
    quiet = {"status": None, "asset_id": None, "known": False, "error": None, "note": None}
    assert told["submitted"] == [
        {"url": FILM, **quiet, "state": "indexing", "asset_id": "new-1"},
        {"url": old, **quiet, "state": "indexing", "asset_id": "new-1", "known": True},
        {"url": broken, **quiet, "state": "failed", "error": "no video in it"},
    ]
    assert (told["sync"], told["sync_error"]) == (None, None)


def test_what_was_submitted_before_is_said_to_be(vectorferry: Invoke) -> None:
    assert "; submitted before, not uploaded again\n" in vectorferry("submit", "https://media.example/old.mp4").stdout


def test_what_takes_too_long_is_told_and_can_be_taken_up(vectorferry: Invoke) -> None:
    result = vectorferry("submit", "https://media.example/stuck.mp4", FILM, "--wait", "--no-sync", "--timeout", "0.2")
    assert result.exit_code == 1
    assert "stuck.mp4: indexing; asset new-1; still indexing after 0.2 s; the same command takes it up" in result.stdout
    assert f"{FILM}: ready" in result.stdout


def test_a_limit_exits_with_5_and_the_others_are_told(vectorferry: Invoke) -> None:
    result = vectorferry("submit", FILM, "https://media.example/closed.mp4")
    assert result.exit_code == 5
    assert f"{FILM}: indexing" in result.stdout
    assert "closed.mp4: not submitted; the shop is closed until 2026-11-22 00:02:50 UTC" in result.stdout


def test_what_failed_is_not_hidden_behind_a_limit(vectorferry: Invoke) -> None:
    closed, stuck = "https://media.example/closed.mp4", "https://media.example/stuck.mp4"
    assert vectorferry("submit", closed, stuck, "--wait", "--no-sync", "--timeout", "0.2").exit_code == 1


def test_the_signature_of_an_address_is_never_shown(vectorferry: Invoke) -> None:
    for wrong in ("", "ftp"):
        result = vectorferry(
            "submit", f"{FILM.replace('https', wrong or 'https')}?X-Amz-Signature=c4f3", "--wait", "--no-sync"
        )
        assert "c4f3" not in result.output
    assert Shop.taken == [("films", f"{FILM}?X-Amz-Signature=c4f3", SubmitOptions())]


@pytest.mark.parametrize("url", ["harbour.mp4", "ftp://media.example/a.mp4", "https://", "https://a b/c", "http://[x/"])
def test_what_no_service_could_fetch_is_bad_usage(vectorferry: Invoke, url: str) -> None:
    assert vectorferry("submit", url).exit_code == 2
    assert Shop.taken == []


def test_one_of_several_collections_has_to_be_named(vectorferry: Invoke) -> None:
    configure(more="collections: [films, clips]")
    result = vectorferry("submit", FILM)
    assert result.exit_code == 2
    assert (
        "say which collection with --collection, by id or by name; this sync's source has: films, clips"
        in result.stderr
    )
    assert vectorferry("submit", FILM, "--collection", "clips").exit_code == 0
    assert Shop.taken == [("clips", FILM, SubmitOptions())]


def test_a_source_that_takes_nothing_in_says_so(vectorferry: Invoke) -> None:
    configure("shelf")
    result = vectorferry("submit", FILM)
    assert result.exit_code == 2
    assert "this source cannot submit" in result.stderr
