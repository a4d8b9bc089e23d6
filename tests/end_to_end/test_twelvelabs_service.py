"""What else TwelveLabs does for its users: it caps a day's requests, takes media in, and searches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import psycopg
import pytest

from vectorferry.connector.sandbox import GeneratedIndexes, Sandbox, SandboxSettings, TwelveLabsDialect, running_sandbox
from vectorferry.connector.sources.twelvelabs import _settings
from vectorferry.connector.sources.twelvelabs._submit import Submitter

from .command import KEY, Command

ASSETS, CAP = 120, 50
LISTING = 1 + ceil(ASSETS / 50)
"""The indexes, and the pages of the only one."""

FILM = "https://media.example/films/harbour-at-dawn.mp4"


def settings(sandbox: Sandbox, postgres_url: str, schema: str) -> dict[str, Any]:
    return {
        "name": "films",
        "source": {
            "type": "twelvelabs",
            "base_url": sandbox.twelvelabs_url,
            "api_key": KEY,
            "reread_days": None,
            "requests_per_minute_by_kind": {},
        },
        "destinations": [{"type": "pgvector", "url": postgres_url, "schema": schema}],
    }


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


@pytest.mark.long
def test_syncs_under_a_daily_cap_end_cleanly_until_all_is_there_and_read_nothing_twice(
    command: Command, postgres_url: str, schema: str
) -> None:
    generated = GeneratedIndexes(assets=ASSETS, segments_per_asset=2, options=("visual",))
    served = SandboxSettings(
        api_key=KEY, generate_twelvelabs=generated, twelvelabs=TwelveLabsDialect(requests_per_day=CAP)
    )
    codes: list[int] = []
    pulled = 0
    while 0 not in codes:
        with running_sandbox(served) as sandbox:  # another day, the same assets
            command.configure(settings(sandbox, postgres_url, schema))
            result = command.run("sync", "--json")
            told = json.loads(result.stdout)
            codes.append(result.exit_code)
            pulled += sum(collection["pulled"] for collection in told["collections"].values())
            if result.exit_code:
                assert told["source"]["limited_until"] > datetime.now(UTC).isoformat()
                assert "takes no more requests until 20" in told["notes"][0]
                assert "takes no more requests until 20" in command.told("plan", exit_code=5)["error"]
                assert "takes no more requests until 20" in command.complaint("verify", exit_code=5)
    assert codes == [5] * (ceil(ASSETS / (CAP - LISTING)) - 1) + [0]
    assert pulled == ASSETS
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute(f"SELECT count(*), count(DISTINCT asset_id) FROM {schema}.video").fetchone()
    assert row == (2 * ASSETS, ASSETS)


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    monkeypatch.setattr(_settings, "Submitter", partial(Submitter, first_wait=0.01, longest_wait=0.01))
    with running_sandbox(SandboxSettings(api_key=KEY)) as sandbox:
        yield sandbox


def test_what_is_submitted_is_synced_and_found_by_the_source_s_own_search(
    command: Command, sandbox: Sandbox, postgres_url: str, schema: str
) -> None:
    command.configure(settings(sandbox, postgres_url, schema))
    submitted = command.told("submit", FILM, "--collection", "lectures", "--metadata", "hello=world", "--wait")
    (one,) = submitted["submitted"]
    assert (one["state"], one["known"], one["error"]) == ("ready", False, None)
    assert submitted["sync"]["collections"][submitted["collection"]]["pulled"] == 1
    search = ("search", "--text", "harbour at dawn", "--collection", "lectures", "--option", "visual", "--limit", "3")
    found = command.told(*search)
    assert (found["collection"], found["destination"]) == (submitted["collection"], "pgvector")
    best = found["hits"][0]
    assert best["asset_id"] == one["asset_id"]
    assert best["asset"]["metadata"]["hello"] == "world"
    row = best["rows"][0]
    assert row["modality"] == "video"
    assert row["model_name"] == "marengo3.0"
    assert row["start_time"] < best["end"]
    assert row["end_time"] > best["start"]
    assert one["asset_id"][:8] in command.run(*search).stdout


@pytest.mark.long
def test_every_command_takes_an_index_by_its_name(
    command: Command, sandbox: Sandbox, postgres_url: str, schema: str
) -> None:
    """Some took its id only, and told so in different words."""
    command.configure(settings(sandbox, postgres_url, schema))
    lectures = sandbox.twelvelabs.index_id("lectures")
    for one in ("plan", "sync", "verify"):
        assert list(command.told(one, "--collection", "lectures", "--collection", lectures)["collections"]) == [
            lectures
        ]
        assert "--collection lecture: there is no" in command.complaint(one, "--collection", "lecture", exit_code=2)
    command.configure(settings(sandbox, postgres_url, schema) | {"name": "other"})
    sandbox.twelvelabs.put_index("lectures", "a" * 24)
    assert "--collection lectures: 2 collections are named" in command.complaint(
        "sync", "--collection", "lectures", exit_code=2
    )


def test_search_goes_on_through_pages_and_ends_with_them(command: Command, postgres_url: str, schema: str) -> None:
    few_dimensions = GeneratedIndexes(assets=60, segments_per_asset=4, options=("visual",), dimension=4)
    with running_sandbox(SandboxSettings(api_key=KEY, generate_twelvelabs=few_dimensions)) as sandbox:
        command.configure(settings(sandbox, postgres_url, schema))
        hits = command.told("search", "--text", "a dog runs", "--limit", "70")["hits"]
        assert [hit["rank"] for hit in hits] == list(range(1, 71))
        assert len({(hit["asset_id"], hit["start"]) for hit in hits}) == 70
        assert all(hit["asset"] is None and hit["rows"] == [] for hit in hits)
        assert sandbox.requests.counts()["twelvelabs.search.get"] == 1
        whole = command.told("search", "--text", "a dog runs", "--limit", "1000")["hits"]
        assert 70 < len(whole) < 240
        assert whole[:70] == hits


def test_an_option_that_the_service_does_not_know_is_told_in_its_words(
    command: Command, sandbox: Sandbox, postgres_url: str, schema: str
) -> None:
    command.configure(settings(sandbox, postgres_url, schema))
    said = command.complaint("search", "--text", "a", "--collection", "films", "--option", "smell")
    assert "refused POST /search" in said
    assert "search_options" in said


@pytest.mark.parametrize("asking", [("sync",), ("plan",), ("verify",), ("search", "--text", "a")])
def test_a_collection_that_is_not_there_is_told_with_the_names_of_those_that_are(
    command: Command, sandbox: Sandbox, postgres_url: str, schema: str, asking: tuple[str, ...]
) -> None:
    command.configure(settings(sandbox, postgres_url, schema))
    said = command.complaint(*asking, "--collection", "flims", exit_code=2)
    assert "--collection flims: there is no collection flims; there are: archive (" in said
    assert "source.collections" not in said
