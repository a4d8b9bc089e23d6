"""What a command says beside its results: how much, in which form, and where to."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from vectorferry.connector._reports._run_id import run_named
from vectorferry.connector.cli._console import complain
from vectorferry.connector.cli._logging import DEBUG, NORMAL, PROGRESS, QUIET, VERBOSE, LogFormat, set_up

LOG = logging.getLogger("vectorferry")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    set_up()
    for handler in list(LOG.handlers):
        LOG.removeHandler(handler)
    LOG.setLevel(logging.NOTSET)


def say_all() -> None:
    logging.getLogger("httpx").info("HTTP Request: GET http://127.0.0.1/v1")
    LOG.debug("a batch")
    LOG.info("a collection")
    LOG.warning("waiting for\nsomebody \x1b[31m")
    complain("it failed")
    logging.getLogger(PROGRESS).info("half done")


@pytest.mark.parametrize(
    ("verbosity", "messages"),
    [
        (QUIET, ["it failed"]),
        (NORMAL, ["waiting for", "somebody �[31m", "it failed", "half done"]),
        (VERBOSE, ["a collection", "waiting for", "somebody �[31m", "it failed", "half done"]),
        (DEBUG, ["HTTP Request", "a batch", "a collection", "waiting for", "somebody", "it failed", "half done"]),
    ],
)
def test_so_much_is_said(verbosity: int, messages: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    set_up(verbosity)
    say_all()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(messages)
    assert all(message in line for message, line in zip(messages, lines, strict=True))
    assert all(line.startswith("vectorferry: ") for line in lines) == (verbosity <= NORMAL)


def test_every_line_is_an_object_where_a_machine_reads(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(VERBOSE, LogFormat.JSON)
    with run_named("a run"):
        say_all()
    records = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [record["message"] for record in records][:2] == ["a collection", "waiting for\nsomebody \x1b[31m"]
    assert {"time", "level", "logger", "message", "run_id"} == records[0].keys()
    assert records[0]["run_id"] == "a run"
    assert records[-1]["logger"] == PROGRESS


def test_a_traceback_is_for_those_who_ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up(NORMAL, file=tmp_path / "sync.log")
    try:
        raise ValueError("inside")
    except ValueError:
        LOG.exception("unexpected")
    assert capsys.readouterr().err == "vectorferry: unexpected\n"
    assert "ValueError: inside" in (tmp_path / "sync.log").read_text(encoding="utf-8")


def test_a_quiet_command_still_fills_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):  # two runs, one file
        set_up(QUIET, file=tmp_path / "sync.log")
        say_all()
    assert capsys.readouterr().err == "vectorferry: it failed\n" * 2
    lines = (tmp_path / "sync.log").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if "INFO a collection" in line]) == 2
    assert not any("HTTP Request" in line for line in lines)
