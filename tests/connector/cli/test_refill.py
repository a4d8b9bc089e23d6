"""`vectorferry refill`: which destinations are meant, what is shown, and that no source's key is needed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.connector.cli.conftest import Invoke
from tests.connector.cli.plugins import Box
from tests.connector.worlds import content


def configure(*boxes: str) -> None:
    """A sync into boxes with these settings, whose source's key is not set."""
    written = "".join(f'  - {{type: box, url: "${{BOX_URL}}", {box}}}\n' for box in boxes)
    Path("vectorferry.yaml").write_text(
        f'name: media\nsource: {{type: shelf, api_key: "${{NO_SUCH_KEY}}"}}\ndestinations:\n{written}'
    )


@pytest.fixture
def filled(vectorferry: Invoke, monkeypatch: pytest.MonkeyPatch) -> Box:
    """The box called near, which an earlier sync has filled."""
    monkeypatch.setenv("NO_SUCH_KEY", "for now")
    configure("name: near")
    assert vectorferry("sync").exit_code == 0
    monkeypatch.delenv("NO_SUCH_KEY")
    return Box.of("media", "near")


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_a_new_destination_is_filled_from_the_other_one(vectorferry: Invoke, filled: Box) -> None:
    configure("name: near", "name: far")
    result = vectorferry("refill", "far")
    assert result.exit_code == 0, result.stderr
    assert content(Box.of("media", "far")) == content(filled)
    shown = lines(result.stdout)
    assert "assets 2 0 0 0 0" in shown
    assert "films: 2 assets listed, 0 unchanged, 2 read" in shown
    assert shown[-1].startswith("0.0 MB read, ")
    again = vectorferry("refill", "far")
    assert again.exit_code == 0
    assert "far: nothing was written, everything is up to date" in again.stdout


def test_json_is_the_whole_summary(vectorferry: Invoke, filled: Box) -> None:
    configure("name: near", "name: far")
    told = json.loads(vectorferry("refill", "far", "--from", "near", "--json").stdout)
    assert (told["sync"], told["exit_code"], list(told["destinations"])) == ("media", 0, ["far"])
    assert told["collections"]["films"]["pulled"] == len(filled.assets["films"])


def test_it_is_said_when_there_is_nothing_to_fill_from(vectorferry: Invoke) -> None:
    configure("name: near", "name: far")
    result = vectorferry("refill", "far")
    assert result.exit_code == 0
    assert "far: nothing was written, the other destination has no collection" in result.stdout


@pytest.mark.parametrize(
    ("boxes", "arguments", "told"),
    [
        (["name: near", "name: far"], ["farr"], "no destination is called 'farr'; it has: near, far"),
        (["name: near", "name: far"], ["box"], "2 destinations are called 'box'; give each a `name` of its own"),
        (["name: near", "name: far"], ["far", "--from", "far"], "a destination cannot be refilled from itself"),
        (["name: near"], ["near"], "there is no other destination to refill this one from"),
        (["name: near", "name: mid", "name: far"], ["far"], "from each of near, mid: say which with --from"),
        (["name: near, sealed: true", "name: far"], ["far"], "near: does not keep whole assets"),
        (["name: near", "name: far"], ["far", "--collection", "flims"], "collection flims: not in near, which holds: "),
    ],
)
def test_what_is_not_clear_is_bad_usage_and_touches_nothing(
    vectorferry: Invoke, filled: Box, boxes: list[str], arguments: list[str], told: str
) -> None:
    configure(*boxes)
    result = vectorferry("refill", *arguments)
    assert result.exit_code == 2
    assert told in result.stderr
    assert not Box.of("media", "far").assets
    assert filled.assets


def test_the_only_destination_that_can_be_read_is_found_among_several(vectorferry: Invoke, filled: Box) -> None:
    configure("name: near", "name: mid, sealed: true", "name: far")
    assert vectorferry("refill", "far").exit_code == 0
    assert content(Box.of("media", "far")) == content(filled)


def test_deletes_are_guarded_and_can_be_allowed(vectorferry: Invoke, filled: Box) -> None:
    configure("name: near", "name: far")
    vectorferry("refill", "far")
    filled.remove("films", ["ready-0"])
    refused = vectorferry("refill", "far")
    assert refused.exit_code == 4
    assert "near listed 1 assets" in " ".join(refused.stdout.split())
    assert vectorferry("refill", "far", "--allow-deletes", "1").exit_code == 0
    assert set(Box.of("media", "far").assets["films"]) == {"ready-1"}


def test_a_refill_can_wait_until_queries_see_it(vectorferry: Invoke, filled: Box) -> None:
    configure("name: near", "name: far, hidden: 1")
    result = vectorferry("refill", "far", "--wait-visible", "--visible-timeout", "0.1")
    assert result.exit_code == 1
    assert "index/0 (written 12, visible 9)" in result.stdout
    assert content(Box.of("media", "far")) == content(filled)
