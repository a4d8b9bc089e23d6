"""`vectorferry submit`: what is handed to the source, what is told of it, and where it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.connector.cli.conftest import Invoke
from tests.connector.cli.plugins import Shop

FILM = "https://media.example/films/harbour.mp4"


@pytest.fixture(autouse=True)
def _shop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shop, "taken", [])
    monkeypatch.setattr(Shop, "closed", 0)
    configure()


def configure(source: str = "shop", more: str = "") -> None:
    Path("vectorferry.yaml").write_text(
        f'name: media\nsource: {{type: {source}, api_key: "${{SHELF_KEY}}", {more}}}\n'
        'destinations: [{type: box, url: "${NO_SUCH_BOX}"}]\n'
    )


def test_a_url_is_handed_over_and_no_destination_is_needed(vectorferry: Invoke) -> None:
    result = vectorferry("submit", FILM)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{FILM}: indexing; asset new-1\n"
    assert result.stderr == f"{FILM}: fetching\n{FILM}: indexing\n"
    assert Shop.taken == [("films", FILM, False)]
    assert Shop.closed == 1


def test_waiting_watches_until_it_is_ready(vectorferry: Invoke) -> None:
    result = vectorferry("submit", FILM, "--wait", "--again")
    assert result.stdout == f"{FILM}: ready; asset new-1\n"
    assert Shop.taken == [("films", FILM, True)]


def test_json_is_one_object_in_the_order_of_the_command(vectorferry: Invoke) -> None:
    old, broken = "https://media.example/old.mp4", "https://media.example/broken.mp4"
    result = vectorferry("submit", FILM, old, broken, old, "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert (told["collection"], told["exit_code"]) == ("films", 1)
    assert told["submitted"] == [
        {"url": FILM, "state": "indexing", "asset_id": "new-1", "known": False, "error": None},
        {"url": old, "state": "indexing", "asset_id": "new-1", "known": True, "error": None},
        {"url": broken, "state": "failed", "asset_id": None, "known": False, "error": "no video in it"},
    ]


def test_what_was_submitted_before_is_said_to_be(vectorferry: Invoke) -> None:
    assert "; submitted before, not uploaded again\n" in vectorferry("submit", "https://media.example/old.mp4").stdout


def test_what_takes_too_long_is_told_and_can_be_taken_up(vectorferry: Invoke) -> None:
    result = vectorferry("submit", "https://media.example/stuck.mp4", FILM, "--wait", "--timeout", "0.2")
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
    assert vectorferry("submit", closed, stuck, "--wait", "--timeout", "0.2").exit_code == 1


def test_the_signature_of_an_address_is_never_shown(vectorferry: Invoke) -> None:
    for wrong in ("", "ftp"):
        result = vectorferry("submit", f"{FILM.replace('https', wrong or 'https')}?X-Amz-Signature=c4f3", "--wait")
        assert "c4f3" not in result.output
    assert Shop.taken == [("films", f"{FILM}?X-Amz-Signature=c4f3", False)]


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
    assert Shop.taken == [("clips", FILM, False)]


def test_a_source_that_takes_nothing_in_says_so(vectorferry: Invoke) -> None:
    configure("shelf")
    result = vectorferry("submit", FILM)
    assert result.exit_code == 2
    assert "this source cannot submit" in result.stderr
