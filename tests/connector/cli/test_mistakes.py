"""What a person gets wrong, and what they are told: in `mistakes/` are command, file, exit code and message of each.

UPDATE_MISTAKES=1 pytest tests/connector/cli/test_mistakes.py      writes down what is said now: read the difference
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.connector.cli.conftest import Invoke
from tests.urls import in_database

FOLDER: Final = Path(__file__).with_name("mistakes")
TOPICS: Final = sorted(path.stem for path in FOLDER.glob("*.txt"))
KEY: Final = "mxp_canary_4711"
MOST_LINES: Final = 3
EXPRESSION: Final = re.compile(r"\^\[|\[a-z|\\d|\(\?|\{\d+,\d*\}")
_ENTRY: Final = re.compile(
    r"=== (?P<title>[^\n]+)\n\$ vectorferry (?P<command>[^\n]+)\n"
    r"(?:--- vectorferry\.yaml\n(?P<file>.*?))?--- exit (?P<exit>\S+)\n(?P<said>.*)",
    flags=re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Mistake:
    """A command with its file, and what it answers. `file` is None where there is none."""

    title: str
    command: str
    file: str | None
    exit_code: str
    said: str

    def __str__(self) -> str:
        file = "" if self.file is None else f"--- vectorferry.yaml\n{self.file}"
        return f"=== {self.title}\n$ vectorferry {self.command}\n{file}--- exit {self.exit_code}\n{self.said}"


def mistakes(topic: str) -> Iterator[Mistake]:
    """Those of one file."""
    text = (FOLDER / f"{topic}.txt").read_text(encoding="utf-8")
    for entry in re.split(r"\n(?==== )", text):
        match = _ENTRY.fullmatch(entry)
        assert match, entry
        yield Mistake(match["title"], match["command"], match["file"], match["exit"], match["said"])


EVERY: Final = [mistake for topic in TOPICS for mistake in mistakes(topic)]

IN_THE_FILE: Final = [mistake for topic in ("keys", "values", "variables") for mistake in mistakes(topic)]
"""Whose answers name the file, and then the key."""


@pytest.fixture
def stores(postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What stands for addresses in the files."""
    monkeypatch.setenv("DATABASE_URL", postgres_url)
    monkeypatch.setenv("MIXPEEK_API_KEY", KEY)
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("COLUMNS", "80")
    return {"{elsewhere}": in_database(postgres_url, schema)}


@pytest.mark.parametrize("topic", TOPICS)
def test_a_mistake_is_answered_in_so_many_words(vectorferry: Invoke, stores: dict[str, str], topic: str) -> None:
    answered = [answer(mistake, vectorferry, stores) for mistake in mistakes(topic)]
    if os.environ.get("UPDATE_MISTAKES"):
        (FOLDER / f"{topic}.txt").write_text("\n".join(map(str, answered)), encoding="utf-8")
    for now, then in zip(answered, mistakes(topic), strict=True):
        assert str(now) == str(then)


def answer(mistake: Mistake, vectorferry: Invoke, stores: dict[str, str]) -> Mistake:
    """The same with what is said now. Addresses that differ from run to run become their names again."""
    Path("vectorferry.yaml").unlink(missing_ok=True)
    if mistake.file is not None:
        text = mistake.file
        for name, address in stores.items():
            text = text.replace(name, address)
        Path("vectorferry.yaml").write_text(text, encoding="utf-8")
    result = vectorferry(*shlex.split(mistake.command))
    said = result.output
    assert KEY not in said
    return Mistake(mistake.title, mistake.command, mistake.file, str(result.exit_code), steady(said))


def steady(said: str) -> str:
    """Without what differs from run to run, and without libpq's double spaces."""
    said = re.sub(r"(?<=\S)  +", " ", said)
    said = re.sub(r"at /\S+/data, port \d+", "at {postgres}", said)
    said = re.sub(r"/\S*/data/data", "{postgres}", said)
    return re.sub(r"t_[0-9a-f]{12}", "{elsewhere}", said)


def test_every_answer_is_short_and_says_where() -> None:
    for mistake in EVERY:
        lines = mistake.said.splitlines()
        assert 1 <= len(lines) <= MOST_LINES, mistake.title
        place = "vectorferry: vectorferry.yaml: " if mistake in IN_THE_FILE else "vectorferry: "
        assert lines[0].startswith(place), mistake.title
        assert "Traceback" not in mistake.said, mistake.title
        assert not EXPRESSION.search(mistake.said), f"{mistake.title}: a regular expression is for programs"
        assert mistake.exit_code in ("1", "2"), mistake.title


def test_they_are_enough() -> None:
    assert len(EVERY) >= 60
    assert len({mistake.title for mistake in EVERY}) == len(EVERY)
