"""The tutorial, typed into a shell: every block that is no output runs, and what it prints is what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
import yaml

from tests.documents.programs import search_path
from tests.documents.reading import Block, blocks
from tests.urls import in_database
from vectorferry import parse_settings

TUTORIAL = "docs/tutorial.md"
OURS = ("DAGSTER_HOME", "MIXPEEK_API_KEY", "PYTHONPATH")


@pytest.mark.long
def test_the_tutorial_prints_what_it_shows(tmp_path: Path, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute("CREATE DATABASE tutorial")
        try:
            typed = [block for block in blocks(TUTORIAL, "sh", "text") if not block.not_run]
            told = outputs(typed, tmp_path, in_database(postgres_url, "tutorial"))
        finally:
            server.execute("DROP DATABASE tutorial WITH (FORCE)")
    for command, shown in pairwise(typed):
        if shown.language == "text":
            assert follows(told[command.line], shown.text), f"{shown}\nprinted:\n{told[command.line]}"


def test_the_file_for_ones_own_media_is_one() -> None:
    (block,) = blocks(TUTORIAL, "yaml")
    assert parse_settings(yaml.safe_load(block.text), "the tutorial").source.type == "mixpeek"


def outputs(typed: list[Block], folder: Path, url: str) -> dict[int, str]:
    """What each command block prints, by its line, when one shell is told all of them."""
    commands = [block for block in typed if block.language == "sh"]
    script = "set -e\n" + "".join(f"{block.text}\necho '== {block.line}'\n" for block in commands)
    environ = {name: value for name, value in os.environ.items() if name not in OURS}
    done = subprocess.run(
        ["bash"],
        input=script,
        cwd=folder,
        env=environ | {"PATH": search_path(), "DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    printed = re.split(r"^== \d+\n", done.stdout, flags=re.MULTILINE)
    return {block.line: text for block, text in zip(commands, printed, strict=False)}


def follows(printed: str, shown: str) -> bool:
    """Whether the shown lines are printed in this order; `…` is any number of lines, or of characters in one.

    Rules of tables, empty lines and runs of spaces do not count.
    """
    pattern = "".join(
        r"(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*?") + r"\n" for line in lines(shown)
    )
    return re.search(f"^{pattern}", "".join(f"{line}\n" for line in lines(printed)), flags=re.MULTILINE) is not None


def lines(text: str) -> list[str]:
    """Without rules, empty lines and runs of spaces."""
    spaced = (" ".join(line.split()) for line in text.splitlines())
    return [line for line in spaced if line.strip("─┼-+ ")]
