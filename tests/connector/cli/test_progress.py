"""How far a run is: a bar where somebody watches, lines where nobody does, and neither stops its clock."""

from __future__ import annotations

import logging
from io import StringIO

import pytest
from rich.console import Console
from rich.progress import Task, TaskID

from vectorferry.connector._engine import Progress
from vectorferry.connector._reports._progress import Pace
from vectorferry.connector.cli import _progress
from vectorferry.connector.cli._progress import Clock, ProgressLines


class Seconds:
    """A clock that somebody sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    written = StringIO()
    console = Console(file=written, force_terminal=True, width=80, highlight=False, color_system=None)
    monkeypatch.setattr(_progress, "for_people", lambda: console)
    return written


def test_a_collection_that_is_still_being_listed_has_no_total(terminal: StringIO) -> None:
    with _progress.progress_bar() as show:
        show(Progress("films", listed=2, total=2, to_pull=0))
        show(Progress("clips", listed=7, to_pull=4))
    shown = [line for line in terminal.getvalue().splitlines() if "clips" in line]
    assert "3/?" in shown[-1]


def test_everything_fits_a_terminal_of_eighty_columns(terminal: StringIO) -> None:
    with _progress.progress_bar() as show:
        show(Progress("a collection with a long name", 20_000, 20_000, 15_000, 9_000, 810_000, 3, 12))
    last = [line for line in terminal.getvalue().splitlines() if "810,000 features" in line][-1]
    assert "3 of 12" in last
    assert "0:00:0" in last


def test_the_clock_goes_on_when_a_collection_is_done() -> None:
    seconds = Seconds()
    task = Task(TaskID(0), "films", total=2, completed=2, _get_time=seconds)
    task.start_time, task.finished_time = 0.0, 1.0  # as Rich notes when all is completed, and never forgets
    seconds.now = 75.0
    assert Clock().render(task).plain == "0:01:15"


def test_without_a_terminal_a_long_run_says_how_far_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """The first ten seconds say nothing: a short run in cron sends no mail."""
    seconds = Seconds()
    with caplog.at_level(logging.INFO, "vectorferry.progress"):
        lines = ProgressLines(seconds)
        for seconds.now, pulled in ((0.0, 0), (9.0, 40), (11.0, 50), (12.0, 55), (22.0, 100)):
            lines(Progress("films", 400, 400, 200, pulled, pulled * 90, number=2, collections=12))
    assert caplog.messages == [
        "films (2 of 12): 250 of 400 assets done, 4,500 features written, 409 a second, about 33 s left",
        "films (2 of 12): 300 of 400 assets done, 9,000 features written, 409 a second, about 22 s left",
    ]


def test_time_left_is_told_of_the_collection_that_is_read_and_only_once_it_is_known() -> None:
    seconds = Seconds()
    pace = Pace(seconds)
    pace.take(Progress("films"))
    seconds.now = 100.0
    pace.take(Progress("clips"))
    seconds.now = 110.0
    assert pace.seconds_left(Progress("clips", 60, None, 60, 20)) is None
    assert pace.seconds_left(Progress("clips", 60, 60, 60, 20)) == 20.0
    assert pace.line(Progress("clips", 60, None, 60, 20)) == ("clips: 20 of 60 listed so far done, 0 features written")
