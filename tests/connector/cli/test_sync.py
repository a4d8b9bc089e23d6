from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.connector.cli.conftest import Invoke
from tests.connector.cli.plugins import Box

Configure = Callable[..., None]


def cells(line: str) -> list[str]:
    return line.split()


def test_a_sync_shows_what_was_written_and_what_it_cost(vectorferry: Invoke, configured: Configure) -> None:
    configured("assets: 3")
    result = vectorferry("sync")
    assert result.exit_code == 0, result.stderr
    lines = [cells(line) for line in result.stdout.splitlines()]
    assert ["box", "inserted", "updated", "unchanged", "deleted", "quarantined"] in lines
    for label in ("assets", "video", "multimodal-v1"):
        assert [label, "3", "0", "0", "0", "0"] in lines
    assert "films: 3 assets listed, 0 unchanged, 3 read" in result.stdout
    assert "4 requests, 3.0 MB read" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert result.stderr == ""


def test_a_second_sync_says_that_nothing_was_written(vectorferry: Invoke, configured: Configure) -> None:
    configured()
    vectorferry("sync")
    result = vectorferry("sync")
    assert result.exit_code == 0
    assert ["assets", "0", "0", "2", "0", "0"] in [cells(line) for line in result.stdout.splitlines()]
    assert "box: nothing was written, everything is up to date" in result.stdout
    assert "films: 2 assets listed, 2 unchanged, 0 read" in result.stdout


def test_a_source_without_a_collection_is_said_to_have_none(vectorferry: Invoke, configured: Configure) -> None:
    configured("collections: []")
    result = vectorferry("sync")
    assert result.exit_code == 0
    assert "box: nothing was written, the source has no collection\n" in result.stdout


def test_a_collection_that_fails_is_named_and_the_others_are_synced(vectorferry: Invoke, configured: Configure) -> None:
    configured("collections: [films, clips], broken: films")
    vectorferry("sync")
    result = vectorferry("sync")
    assert result.exit_code == 1
    assert "films: failed: 503 for an hour" in result.stdout
    assert "clips: 2 assets listed, 2 unchanged, 0 read" in result.stdout
    assert "box: nothing was written\n" in result.stdout


def test_a_limit_of_the_source_is_one_clear_line_and_exit_code_5(vectorferry: Invoke, configured: Configure) -> None:
    configured("collections: [films, clips], mishap: limited")
    result = vectorferry("sync")
    assert result.exit_code == 5
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("stopped: "))
    assert line == (
        "stopped: the shelf is closed until 2026-11-22 00:02:50 UTC. What was read is written; "
        "run `vectorferry sync` again after that."
    )
    assert "box: nothing was written\n" in result.stdout
    told = json.loads(vectorferry("sync", "--json").stdout)
    assert told["source"]["limited_until"] == "2026-11-22T00:02:50+00:00"


@pytest.mark.parametrize("command", [("plan",), ("verify",), ("quarantine", "replay")])
def test_every_command_that_lists_the_source_meets_the_limit_alike(
    vectorferry: Invoke, configured: Configure, command: tuple[str, ...]
) -> None:
    configured("spoilt: 1")
    vectorferry("sync")
    configured("spoilt: 1, mishap: limited")
    result = vectorferry(*command)
    assert result.exit_code == 5
    assert "the shelf is closed until 2026-11-22 00:02:50 UTC" in result.output
    told = json.loads(vectorferry(*command, "--json").stdout)
    assert told.get("limited_until", told.get("source", {}).get("limited_until")) == "2026-11-22T00:02:50+00:00"


def test_json_is_the_whole_summary_and_nothing_else(vectorferry: Invoke, configured: Configure) -> None:
    configured()
    result = vectorferry("sync", "--json")
    summary = json.loads(result.stdout)
    assert summary["sync"] == "media"
    assert summary["exit_code"] == 0
    assert summary["collections"]["films"]["pulled"] == 2


def test_what_writing_cost_and_whether_queries_see_it_is_one_line(vectorferry: Invoke, configured: Configure) -> None:
    configured(box="hidden: 0")
    cost = "box: 214 requests, 3 of them retries, 41.2 MB sent, about 5,300 write units; "
    assert f"{cost}visible to queries" in " ".join(vectorferry("sync").stdout.split())
    configured(box="hidden: 2")
    result = vectorferry("sync")
    assert result.exit_code == 0
    assert f"{cost}not yet visible to queries in 2 of 3 namespaces" in " ".join(result.stdout.split())


def test_what_was_sent_is_not_called_nothing(vectorferry: Invoke, configured: Configure) -> None:
    """Features that move to another index are unchanged, and cost a write each."""
    configured(box="hidden: 0")
    vectorferry("sync")
    again = vectorferry("sync")
    assert ["assets", "0", "0", "2", "0", "0"] in [cells(line) for line in again.stdout.splitlines()]
    assert "box: 214 requests" in again.stdout
    assert "nothing was written" not in again.stdout


def test_waiting_for_queries_to_see_it_fails_when_they_do_not(vectorferry: Invoke, configured: Configure) -> None:
    configured(box="hidden: 0")
    assert vectorferry("sync", "--wait-visible").exit_code == 0
    configured(box="hidden: 1")
    result = vectorferry("sync", "--wait-visible", "--visible-timeout", "0.1")
    assert result.exit_code == 1
    told = "box: failed: everything is written, but after 0.1 s queries do not see all of it yet in 1 of 3 places: "
    assert f"{told}index/0 (written 12, visible 9). Nothing is lost" in result.stdout


def test_records_in_quarantine_are_counted_and_exit_with_3(vectorferry: Invoke, configured: Configure) -> None:
    configured("assets: 3, spoilt: 1")
    result = vectorferry("sync")
    assert result.exit_code == 3
    assert "box: 1 record in quarantine, each with its reason" in result.stdout
    assert "box: set aside: asset " in result.stdout
    assert "(malformed)" in result.stdout


def test_the_deletes_of_one_collection_can_be_allowed(vectorferry: Invoke, configured: Configure) -> None:
    configured("assets: 9, collections: [films, clips]")
    vectorferry("sync")
    configured("assets: 0, collections: [films, clips]")
    assert vectorferry("plan", "--allow-deletes-of", "films").exit_code == 4
    assert vectorferry("sync", "--allow-deletes-of", "films").exit_code == 4
    assert {name: len(held) for name, held in Box.of("media").assets.items()} == {"films": 0, "clips": 9}
    assert vectorferry("sync", "--allow-deletes-of", "clips").exit_code == 0


def test_assets_that_cannot_be_read_are_a_failure_and_no_records_in_quarantine(
    vectorferry: Invoke, configured: Configure
) -> None:
    configured("assets: 9, unreadable: 7, collections: [films]")
    result = vectorferry("sync")
    assert result.exit_code == 1
    text = " ".join(result.stdout.split())
    assert "films: 9 assets listed, 0 unchanged, 2 read, 7 could not be read" in text
    assert (
        "films: failed: 7 assets could not be read and stay as they are until a run can: "
        "ready-0, ready-1, ready-2, ready-3, ready-4 and 2 more. The first: 503 for an hour"
    ) in text
    assert "in quarantine" not in text
    told = json.loads(vectorferry("sync", "--json").stdout)
    named = [f"ready-{number}" for number in range(7)]
    assert told["collections"]["films"]["unread"] == {"count": 7, "first": named, "why": "503 for an hour"}


def test_assets_that_are_not_ready_or_failed_are_named(vectorferry: Invoke, configured: Configure) -> None:
    configured("pending: 1, failed: 25")
    result = vectorferry("sync")
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert "films: not ready yet, for a later sync: pending-0" in text
    assert "films: failed at the source: failed-0, failed-1," in text
    assert "failed-4 and 20 more" in text


def test_a_refused_delete_exits_with_4_and_a_larger_share_allows_it(vectorferry: Invoke, configured: Configure) -> None:
    configured("assets: 10")
    vectorferry("sync")
    configured("assets: 1")
    refused = vectorferry("sync")
    assert refused.exit_code == 4
    assert len(Box.of("media").assets["films"]) == 10
    allowed = vectorferry("sync", "--allow-deletes", "1")
    assert allowed.exit_code == 0, allowed.output
    assert len(Box.of("media").assets["films"]) == 1


def test_only_the_collections_asked_for_are_synced(vectorferry: Invoke, configured: Configure) -> None:
    configured("collections: [films, clips, ads]")
    assert vectorferry("sync", "--collection", "clips", "--collection", "ads").exit_code == 0
    assert set(Box.of("media").assets) == {"clips", "ads"}


def test_an_unknown_collection_is_bad_usage_and_names_the_known(vectorferry: Invoke, configured: Configure) -> None:
    configured("collections: [films, clips]")
    result = vectorferry("sync", "--collection", "flims")
    assert result.exit_code == 2
    assert "--collection flims: not in this sync's source, which has: films, clips" in result.stderr
    assert not Box.boxes


def test_only_the_modalities_asked_for_are_synced(vectorferry: Invoke, configured: Configure) -> None:
    configured()
    assert vectorferry("sync", "--modality", "image").exit_code == 0
    assert not any(asset.features for asset in Box.of("media").assets["films"].values())
    assert vectorferry("sync", "--modality", "smell").exit_code == 2


def test_one_of_several_syncs_is_chosen_by_name(vectorferry: Invoke, configured: Configure) -> None:
    configured(name="media")
    first = Path("vectorferry.yaml").read_text()
    configured(name="archive")
    Path("both.yaml").write_text(f"{first}---\n{Path('vectorferry.yaml').read_text()}")
    assert vectorferry("sync", "-c", "both.yaml").exit_code == 2
    result = vectorferry("sync", "-c", "both.yaml", "--name", "archive", "--json")
    assert json.loads(result.stdout)["sync"] == "archive"


@pytest.mark.parametrize(
    ("mishap", "exit_code", "line"),
    [
        ("refused", 1, "vectorferry: the shelf refused the key; check SHELF_KEY"),
        ("crash", 1, "vectorferry: unexpected ZeroDivisionError; set VECTORFERRY_DEBUG=1 for the traceback"),
        ("disk full", 1, "vectorferry: shelf.db: No space left on device"),
        ("interrupt", 130, "vectorferry: interrupted; what was committed stays, run again to go on"),
    ],
)
def test_a_failure_is_one_line_and_one_json_object(
    vectorferry: Invoke, configured: Configure, mishap: str, exit_code: int, line: str
) -> None:
    configured(f"mishap: {mishap}")
    result = vectorferry("sync")
    assert (result.exit_code, result.stderr, result.stdout) == (exit_code, f"{line}\n", "")
    told = vectorferry("sync", "--json")
    assert told.exit_code == exit_code
    assert json.loads(told.stdout) == {"error": line.removeprefix("vectorferry: "), "exit_code": exit_code}


def test_a_variable_that_is_not_set_names_file_key_and_fix(
    vectorferry: Invoke, configured: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured()
    monkeypatch.delenv("SHELF_KEY")
    result = vectorferry("sync")
    assert result.exit_code == 2
    assert result.stderr == (
        "vectorferry: vectorferry.yaml: source.api_key: environment variable SHELF_KEY is not set; "
        "run `export SHELF_KEY=…` first\n"
    )


def test_a_missing_file_leads_to_init(vectorferry: Invoke) -> None:
    result = vectorferry("sync")
    assert result.exit_code == 2
    assert "run `vectorferry init`" in result.stderr
    assert "-c FILE" in result.stderr


@pytest.mark.parametrize(
    "arguments", [("sync", "--no-such-option"), ("synk",), ("sync", "--allow-deletes", "7"), ("--bogus",)]
)
def test_bad_usage_exits_with_2_in_json_as_well(vectorferry: Invoke, arguments: tuple[str, ...]) -> None:
    assert vectorferry(*arguments).exit_code == 2
    told = vectorferry(*arguments, "--json")
    assert told.exit_code == 2
    assert json.loads(told.stdout)["exit_code"] == 2


def test_a_sync_of_a_source_that_lists_its_changes_says_which_scan_it_made(
    vectorferry: Invoke, configured: Configure
) -> None:
    told = "films: 3 assets listed, 0 unchanged, 3 read (in full: no earlier run"
    configured("diary: true, assets: 3")
    assert told in vectorferry("sync").stdout
    configured("diary: true, assets: 4")
    assert "films: a sync lists only what has changed\n" in vectorferry("plan").stdout
    assert "films: 1 asset listed, 0 unchanged, 1 read (only what has changed)\n" in vectorferry("sync").stdout
    configured("diary: true, assets: 3")
    assert "films: a sync lists in full: a full scan was asked for\n" in vectorferry("plan", "--full").stdout
    result = vectorferry("sync", "--full", "--allow-deletes", "1", "--json")
    told_of = json.loads(result.stdout)["collections"]["films"]
    assert (told_of["scan"], told_of["why_full"]) == ("full", "a full scan was asked for")
    assert len(Box.of("media").assets["films"]) == 3


def test_a_source_that_knows_one_scan_only_is_not_told_of_it(vectorferry: Invoke, configured: Configure) -> None:
    configured()
    assert "films: 2 assets listed, 0 unchanged, 2 read\n" in vectorferry("sync").stdout
    (collection,) = json.loads(vectorferry("plan", "--json").stdout)["collections"].values()
    assert collection["scan"] == "full"
    assert collection["why_full"] == "the source has no changed-since cursor that can be trusted"


def test_assets_are_read_again_on_request_all_or_some(vectorferry: Invoke, configured: Configure) -> None:
    configured("assets: 3")
    vectorferry("sync")
    everything = vectorferry("sync", "--reread")
    assert "films: 3 assets listed, 0 unchanged, 3 read, 3 of them again" in everything.stdout
    assert "box: nothing was written, everything is up to date" in everything.stdout
    name = min(Box.of("media").assets["films"])
    some = json.loads(vectorferry("sync", "--reread", name, "nobody", "--json").stdout)
    told = some["collections"]["films"]
    assert (told["pulled"], told["reread"], told["unchanged"]) == (1, 1, 2)
    assert told["note"] == "not listed anywhere, so not read again: nobody"


def test_assets_are_not_named_without_saying_what_to_do_with_them(vectorferry: Invoke, configured: Configure) -> None:
    configured()
    result = vectorferry("sync", "films-1")
    assert result.exit_code == 2
    assert "vectorferry sync --reread ASSET_ID" in result.stderr


def test_a_destination_that_cannot_be_shared_is_named(vectorferry: Invoke, configured: Callable[..., None]) -> None:
    configured("assets: 3")
    for option in (("--workers", "2"), ("--join",)):
        result = vectorferry("sync", *option)
        assert result.exit_code == 2
        assert "box: cannot be written by several workers at once" in result.stderr
