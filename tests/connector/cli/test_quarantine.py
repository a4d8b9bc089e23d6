"""`vectorferry quarantine`: what is shown, what is dropped, and that only what was meant is read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.builders import asset, batch, dense, feature
from tests.connector.cli.conftest import Invoke
from tests.connector.cli.plugins import Box
from vectorferry.connector.plugin import DestinationError, Reason, Rejected


def configure(*boxes: str, shelf: str = "", key: str = "${SHELF_KEY}") -> None:
    """A sync into boxes with these settings."""
    written = "".join(f'  - {{type: box, url: "${{BOX_URL}}", {box}}}\n' for box in boxes or ("name: box",))
    Path("vectorferry.yaml").write_text(
        f'name: media\nsource: {{type: shelf, api_key: "{key}", {shelf}}}\ndestinations:\n{written}'
    )


def set_aside(box: Box, *records: tuple[str, str, Reason], collection: str = "films") -> None:
    """Put records (asset, feature, reason) into a box's quarantine, beside what it holds of these assets."""
    for name in {name for name, _, _ in records}:
        rejected = [Rejected(name, why, f"odd {which}", which, "video") for at, which, why in records if at == name]
        box.apply(batch(asset(name, rejected=rejected), collection=collection))


@pytest.fixture
def box() -> Box:
    """Three records of two assets in one collection, and one in another; no source's key is set."""
    configure(key="${NO_SUCH_KEY}")
    box = Box.of("media")
    set_aside(box, ("a", "f1", Reason.DIMENSION), ("a", "f2", Reason.REFUSED), ("b", "f1", Reason.REFUSED))
    set_aside(box, ("c", "f1", Reason.NOT_FINITE), collection="clips")
    return box


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def told(vectorferry: Invoke, *arguments: str) -> dict[str, Any]:
    result = vectorferry("quarantine", *arguments, "--json")
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def test_the_list_counts_by_reason_and_shows_the_first(vectorferry: Invoke, box: Box) -> None:
    assert box.quarantined("films") == 3
    result = vectorferry("quarantine", "list", "--limit", "3")
    assert result.exit_code == 0, result.output
    shown = lines(result.stdout)
    assert shown[0] == "box: 4 records in quarantine"
    assert {"refused 2", "dimension 1", "not_finite 1"} <= set(shown)
    at = shown.index("a refused odd f2")
    assert shown[at + 1] == "films f2 (video)"
    assert shown[-1] == "… and 1 more; see them with --limit, one in full with: quarantine show ASSET_ID"
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.usefixtures("box")
def test_the_list_can_be_narrowed(vectorferry: Invoke) -> None:
    (everything,) = told(vectorferry, "list")["destinations"]
    assert (everything["records"], everything["reasons"]) == (4, {"refused": 2, "dimension": 1, "not_finite": 1})
    first = everything["first"][0]
    assert first.pop("seen_at").endswith("+00:00")
    assert first == {
        "collection": "clips",
        "asset_id": "c",
        "feature_id": "f1",
        "modality": "video",
        "reason": "not_finite",
        "detail": "odd f1",
        "vector_name": "",
        "column": "",
        "kept": False,
    }
    narrow = ("--collection", "films", "--reason", "refused")
    assert told(vectorferry, "list", *narrow)["destinations"][0]["records"] == 2
    both = told(vectorferry, "list", "--collection", "films", "--collection", "clips", "--limit", "0")
    assert (both["destinations"][0]["records"], both["destinations"][0]["first"]) == (4, [])
    assert vectorferry("quarantine", "list", "--reason", "boredom").exit_code == 2


def test_an_empty_quarantine_is_said_to_be_one(vectorferry: Invoke) -> None:
    configure()
    result = vectorferry("quarantine", "list")
    assert (result.exit_code, result.stdout) == (0, "box: nothing in quarantine\n")


@pytest.mark.usefixtures("box")
def test_one_asset_is_shown_in_full(vectorferry: Invoke) -> None:
    shown = lines(vectorferry("quarantine", "show", "a").stdout)
    assert shown[0].startswith("box, collection films, 2")
    assert shown[1:3] == ["asset a, video feature f1", "dimension: odd f1"]
    assert shown[4:] == ["asset a, video feature f2", "refused: odd f2"]
    records = told(vectorferry, "show", "a")["records"]
    assert [(each["destination"], each["feature_id"]) for each in records] == [("box", "f1"), ("box", "f2")]


@pytest.mark.usefixtures("box")
@pytest.mark.parametrize("arguments", [("z",), ("a", "--collection", "clips")])
def test_an_asset_without_a_record_is_said_to_have_none(vectorferry: Invoke, arguments: tuple[str, ...]) -> None:
    result = vectorferry("quarantine", "show", *arguments)
    assert result.exit_code == 2
    assert "no record of this asset is in quarantine" in result.stderr


def test_it_says_what_part_was_set_aside_and_that_an_earlier_version_is_shown(vectorferry: Invoke) -> None:
    configure()
    box, good = Box.of("media"), feature("f1", {"left": dense(1), "right": dense(1)}, text="old")
    box.apply(batch(asset("a", good), collection="films"))
    bad = [
        Rejected("a", Reason.NOT_FINITE, "infinity", "f1", "video", "left"),
        Rejected("a", Reason.BAD_VALUE, "soon", "f1", "video", column="start_time"),
    ]
    box.apply(batch(asset("a", feature("f1", {"right": dense(1)}, text="old"), rejected=bad), collection="films"))
    shown = lines(vectorferry("quarantine", "show", "a").stdout)
    assert shown[1] == "asset a, video feature f1, column start_time"
    assert shown[4:] == [
        "asset a, video feature f1, vector left",
        "not_finite: infinity",
        "an earlier version is still stored and shown, until a good one comes",
    ]
    listed = lines(vectorferry("quarantine", "list").stdout)
    assert "films f1 (video), vector left" in listed
    assert "films f1 (video), column start_time" in listed
    assert listed.count("an earlier version is shown") == 1


def test_what_comes_from_outside_cannot_take_over_the_terminal(vectorferry: Invoke) -> None:
    configure()
    evil = Rejected("a", Reason.REFUSED, "odd\x1b[31m\n[bold]text", "f\x1b[2J", "video")
    Box.of("media").apply(batch(asset("a", rejected=[evil]), collection="films"))
    assert "[bold]text" in vectorferry("quarantine", "show", "a").stdout
    assert "odd" in vectorferry("quarantine", "list").stdout


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        (["a"], [("clips", "c"), ("films", "b")]),
        (["a", "c"], [("films", "b")]),
        (["--collection", "films"], [("clips", "c")]),
        (["--reason", "refused"], [("clips", "c"), ("films", "a")]),
        (["a", "--reason", "refused"], [("clips", "c"), ("films", "a"), ("films", "b")]),
        (["--all"], []),
    ],
)
def test_dropping_drops_what_was_meant_and_nothing_else(
    vectorferry: Invoke, box: Box, arguments: list[str], left: list[tuple[str, str]]
) -> None:
    before = {collection: dict(ledger) for collection, ledger in box.ledger.items()}
    dropped = told(vectorferry, "drop", *arguments)["dropped"]
    kept = [(collection, record.asset_id) for collection, record, _ in box.rejected()]
    assert dropped == {"box": 4 - len(kept)}
    assert kept == left
    assert box.ledger == before


def test_dropping_all_has_to_be_said(vectorferry: Invoke, box: Box) -> None:
    for arguments in ([], ["--all", "a"], ["--all", "--reason", "refused"]):
        result = vectorferry("quarantine", "drop", *arguments)
        assert result.exit_code == 2
        assert "say which records" in " ".join(result.stderr.split())
    assert len(list(box.rejected())) == 4
    assert vectorferry("quarantine", "drop", "--all").stdout == "box: 4 records dropped\n"


def test_a_replay_empties_the_quarantine_when_the_source_is_good(vectorferry: Invoke) -> None:
    configure(shelf="assets: 20, spoilt: 3")
    assert vectorferry("sync").exit_code == 3
    configure(shelf="assets: 20")
    result = vectorferry("quarantine", "replay")
    assert result.exit_code == 0, result.output
    assert "films: 20 assets listed, 17 unchanged, 3 read" in lines(result.stdout)
    assert not list(Box.of("media").rejected())
    again = vectorferry("quarantine", "replay")
    assert (again.exit_code, again.stdout) == (0, "nothing to replay: no such record is in quarantine\n")


def test_a_replay_of_what_is_still_wrong_leaves_it_where_it_is(vectorferry: Invoke) -> None:
    configure(shelf="assets: 5, spoilt: 2")
    vectorferry("sync")
    before = list(Box.of("media").rejected())
    result = vectorferry("quarantine", "replay", "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["collections"]["films"]["pulled"] == 2
    assert list(Box.of("media").rejected()) == before


def test_a_replay_in_an_outage_fails_and_leaves_them_where_they_are(vectorferry: Invoke) -> None:
    configure(shelf="assets: 5, spoilt: 2")
    vectorferry("sync")
    before = list(Box.of("media").rejected())
    configure(shelf="assets: 5, unreadable: 2")
    assert vectorferry("quarantine", "replay").exit_code == 1
    assert list(Box.of("media").rejected()) == before


def test_a_replay_reads_the_assets_that_were_meant_and_no_other_collection(vectorferry: Invoke) -> None:
    configure(shelf="assets: 6, collections: [films, clips]")
    vectorferry("sync")
    box = Box.of("media")
    for name, reason in (("ready-0", Reason.REFUSED), ("ready-1", Reason.DIMENSION)):
        held = box.assets["films"][name]
        record = Rejected(name, reason, "odd", "other", "video")
        box.apply(batch(type(held)(**{**fields(held), "rejected": (record,)}), collection="films"))
    read = json.loads(vectorferry("quarantine", "replay", "--reason", "refused", "--json").stdout)
    assert {name: seen["pulled"] for name, seen in read["collections"].items()} == {"films": 1}
    assert [record.asset_id for _, record, _ in box.rejected()] == ["ready-1"]
    assert vectorferry("quarantine", "replay", "ready-0").stdout.startswith("nothing to replay")


def fields(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in type(one).__dataclass_fields__}


def test_a_replay_that_cannot_reach_the_source_loses_nothing(vectorferry: Invoke) -> None:
    configure(shelf="assets: 5, spoilt: 2")
    vectorferry("sync")
    before = list(Box.of("media").rejected())
    configure(shelf="assets: 5, mishap: refused")
    assert vectorferry("quarantine", "replay").exit_code == 1
    assert list(Box.of("media").rejected()) == before
    configure(shelf="assets: 5")
    assert vectorferry("sync").exit_code == 0
    assert not list(Box.of("media").rejected())


def test_one_of_several_destinations_can_be_meant(vectorferry: Invoke) -> None:
    configure("name: near", "name: far", key="${NO_SUCH_KEY}")
    for name in ("near", "far"):
        set_aside(Box.of("media", name), ("a", "f1", Reason.REFUSED))
    assert [each["destination"] for each in told(vectorferry, "list")["destinations"]] == ["near", "far"]
    assert told(vectorferry, "drop", "--all", "--destination", "far")["dropped"] == {"far": 1}
    assert len(list(Box.of("media", "near").rejected())) == 1
    assert vectorferry("quarantine", "list", "--destination", "farr").exit_code == 2


def test_a_destination_that_shows_no_quarantine_is_told_apart(vectorferry: Invoke) -> None:
    configure("name: near, sealed: true", "name: far", key="${NO_SUCH_KEY}")
    assert [each["destination"] for each in told(vectorferry, "list")["destinations"]] == ["far"]
    for command in (["list"], ["show", "a"], ["drop", "--all"], ["replay"]):
        result = vectorferry("quarantine", *command, "--destination", "near")
        assert result.exit_code == 2
        assert "near: does not show what it has in quarantine" in result.stderr


def test_the_command_alone_says_what_it_can_do(vectorferry: Invoke) -> None:
    result = vectorferry("quarantine")
    assert result.exit_code == 2
    for command in ("list", "show", "replay", "drop"):
        assert command in result.output


def test_a_destination_that_cannot_be_asked_does_not_hide_the_others(
    vectorferry: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure("name: near", "name: far", key="${NO_SUCH_KEY}")
    set_aside(Box.of("media", "far"), ("a", "f1", Reason.REFUSED))
    monkeypatch.setattr(Box.of("media", "near"), "rejected", unreachable)
    result = vectorferry("quarantine", "list")
    assert (result.exit_code, result.stderr) == (1, "vectorferry: near: the box cannot be reached; is it up?\n")
    assert "far: 1 record in quarantine" in result.stdout
    narrowed = vectorferry("quarantine", "list", "--collection", "flims").stdout
    assert narrowed == "far: no such record in quarantine\n"
    answer = json.loads(vectorferry("quarantine", "list", "--json").stdout)
    assert answer["destinations"][0] == {"destination": "near", "error": "the box cannot be reached; is it up?"}
    assert (answer["destinations"][1]["records"], answer["exit_code"]) == (1, 1)


def unreachable(_collection: str | None = None) -> NoReturn:
    raise DestinationError("the box cannot be reached; is it up?")
