"""The demo as a newcomer runs it: twice in an empty folder, then on with what it stored."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg.rows import dict_row

from tests.connector.cli.executable import EXECUTABLE, run
from vectorferry.connector.cli._console import program
from vectorferry.destinations import EmbeddedPostgres


def written(summary: dict[str, Any], destination: str = "pgvector") -> int:
    applied = summary["destinations"][destination]["assets"]
    return int(applied["inserted"] + applied["updated"] + applied["deleted"])


def left_behind(folder: Path) -> list[str]:
    commands = (process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
    return [" ".join(command) for command in commands if any(str(folder) in part for part in command)]


@pytest.mark.long
def test_the_demo_syncs_asks_and_leaves_no_process(passable_path: Path) -> None:
    first = run("demo", "-q")  # on a slow machine it would say how far it is
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""
    assert "pgvector: nothing was written, everything is up to date" in first.stdout
    assert sum(line.startswith("SELECT ") for line in first.stdout.splitlines()) == 3
    assert "leaping" in first.stdout
    assert f"\n  {EXECUTABLE} init\n" in first.stdout
    assert left_behind(passable_path) == []

    again = json.loads(run("demo", "--json").stdout)
    assert (written(again["first_sync"]), written(again["second_sync"]), again["exit_code"]) == (0, 0, 0)
    with (
        EmbeddedPostgres(passable_path / ".vectorferry" / "postgres") as server,
        psycopg.connect(server.url) as connection,
    ):
        for question in again["questions"]:
            found = connection.cursor(row_factory=dict_row).execute(question["statement"]).fetchall()
            assert [row["feature_id"] for row in found] == [row["feature_id"] for row in question["rows"]]
            assert len(found) == 3

    best = again["questions"][0]["rows"][0]["feature_id"]
    advice = first.stdout.replace("\\\n", "")
    commands = re.findall(rf"^  {re.escape(EXECUTABLE)} ((?:status|search) .*)$", advice, flags=re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        followed = run(*shlex.split(command), "--json")
        assert followed.returncode == 0, followed.stderr
        assert best in command or "status" in command
        assert json.loads(followed.stdout).keys() & {"rows", "destinations"}

    fresh = json.loads(run("demo", "--json", "--fresh").stdout)
    assert written(fresh["first_sync"]) > 100
    assert written(fresh["second_sync"]) == 0
    assert left_behind(passable_path) == []


def called(monkeypatch: pytest.MonkeyPatch, *how: str) -> str:
    monkeypatch.setattr(sys, "argv", [how[-1], "demo"])
    monkeypatch.setattr(sys, "orig_argv", [*how, "demo"])
    return program()


def test_what_is_printed_to_be_copied_begins_as_the_shell_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "bin" / "vectorferry"
    installed.parent.mkdir()
    installed.touch(mode=0o755)
    monkeypatch.setenv("PATH", "/usr/bin")
    assert called(monkeypatch, ".venv/bin/python", ".venv/bin/vectorferry") == ".venv/bin/vectorferry"
    assert called(monkeypatch, "python", "/a b/vectorferry") == "'/a b/vectorferry'"
    assert called(monkeypatch, "python3", "/lib/vectorferry/__main__.py") == "python3 -m vectorferry"
    monkeypatch.setenv("PATH", str(installed.parent))
    assert called(monkeypatch, "python", str(installed)) == "vectorferry"


@pytest.mark.long
def test_the_demo_writes_to_both_stores_and_they_agree(passable_path: Path) -> None:
    for time in ("first", "second"):
        told = run("demo", "-q", "--destination", "both", "--json")
        assert (told.returncode, told.stderr) == (0, ""), time
    demo = json.loads(told.stdout)
    assert written(demo["first_sync"], "pinecone") > 100, "its local stand-in is empty every time"
    assert written(demo["second_sync"], "pinecone") == written(demo["second_sync"]) == 0
    assert demo["second_sync"]["destinations"]["pinecone"]["delivery"]["requests"] == 0
    assert max(len(question["question"]) for question in demo["questions"]) <= 77, "a heading in 80 columns"
    rows = [[row["feature_id"] for row in question["rows"]] for question in demo["questions"]]
    assert rows[:3] == rows[3:], "the same three questions, asked of pgvector and of Pinecone"
    assert left_behind(passable_path) == []


@pytest.mark.long
def test_the_demo_needs_no_vector_table_for_pinecone_alone(passable_path: Path) -> None:
    told = run("demo", "-q", "--destination", "pinecone")
    assert (told.returncode, told.stderr) == (0, "")
    assert "pinecone: nothing was written, everything is up to date" in told.stdout
    assert told.stdout.count("query_namespaces(") == 3
    assert "status -c" not in told.stdout
    assert left_behind(passable_path) == []


@pytest.mark.long
def test_the_demo_of_twelvelabs_writes_to_both_stores_and_they_agree(passable_path: Path) -> None:
    demo = json.loads(run("demo", "--source", "twelvelabs", "--destination", "both", "--json").stdout)
    assert (demo["exit_code"], written(demo["second_sync"]), written(demo["second_sync"], "pinecone")) == (0, 0, 0)
    assert {name: table["destinations"] for name, table in demo["second_sync"]["related"].items()} == {
        "entities": {"pgvector": unchanged(8)},
        "entity_collections": {"pgvector": unchanged(3)},
        "indexes": {"pgvector": unchanged(3)},
    }
    rows = [[row["feature_id"] for row in question["rows"]] for question in demo["questions"]]
    assert rows[:3] == rows[3:], "the same three questions, asked of pgvector and of Pinecone"
    status = json.loads(run("status", "-c", ".vectorferry/demo-twelvelabs.yaml", "--json").stdout)
    assert status["destinations"][0]["related"] == {"entities": 8, "entity_collections": 3, "indexes": 3}
    assert left_behind(passable_path) == []


@pytest.mark.long
def test_the_demo_of_mixpeek_documents_asks_about_its_videos(passable_path: Path) -> None:
    demo = json.loads(run("demo", "--source", "mixpeek-documents", "--json").stdout)
    assert (demo["exit_code"], written(demo["second_sync"])) == (0, 0)
    assert written(demo["first_sync"]) > 100
    assert [len(question["rows"]) for question in demo["questions"]] == [3, 3, 3]
    assert "leap" in json.dumps(demo["questions"][0]["rows"])
    assert left_behind(passable_path) == []


def unchanged(rows: int) -> dict[str, int]:
    return {"inserted": 0, "updated": 0, "unchanged": rows, "deleted": 0, "quarantined": 0}
