"""How far a run is, on stderr: a bar where somebody watches, else a line every ten seconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

from vectorferry.connector._reports._progress import Pace, ProgressCallback, in_words
from vectorferry.connector._reports._progress import Progress as Moment
from vectorferry.connector.cli._console import for_people, plain
from vectorferry.connector.cli._logging import PROGRESS, shows_bar

SECONDS_BETWEEN_LINES: Final = 10.0
WIDE: Final = 110
NAME_WIDTH: Final = {True: 30, False: 12}
BAR_WIDTH: Final = {True: 20, False: 5}
"""By whether the terminal has so many columns; the narrow ones are for one of 80."""

log = logging.getLogger(PROGRESS)


@contextmanager
def progress_bar() -> Iterator[ProgressCallback]:
    """Yields what a run is to call. A bar is gone at the end; lines stay."""
    console = for_people()
    if not (console.is_terminal and shows_bar()):
        yield ProgressLines()
        return
    wide = console.width >= WIDE
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=BAR_WIDTH[wide]),
        MofNCompleteColumn(),
        TextColumn("{task.fields[written]}", markup=False),
        Clock(),
        TextColumn("{task.fields[left]}", markup=False),
        console=console,
        transient=True,
    ) as bar:
        yield _visible_in(bar, wide=wide)


class Clock(ProgressColumn):
    """How long the run has taken. Rich's own stops with the first collection that is done."""

    def render(self, task: Task) -> Text:
        """``0:01:30``."""
        return Text(str(timedelta(seconds=int(task.elapsed or 0))))


class ProgressLines:
    """Logs a line once a run has taken ten seconds, and every ten seconds from then on: a short one says nothing."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pace = Pace(clock)
        self._due: float | None = None

    def __call__(self, moment: Moment) -> None:
        """Take a moment of the run, and perhaps log it."""
        self._pace.take(moment)
        now = self._clock()
        if self._due is not None and now >= self._due:
            log.info("%s", plain(self._pace.line(moment)))
        if self._due is None or now >= self._due:
            self._due = now + SECONDS_BETWEEN_LINES


def _visible_in(bar: Progress, *, wide: bool) -> ProgressCallback:
    task, pace = bar.add_task("listing", total=None, written="", left=""), Pace()

    def show(moment: Moment) -> None:
        pace.take(moment)
        rate, left = pace.rate(moment), pace.seconds_left(moment)
        bar.tasks[task].total = moment.total  # update() takes None for "as it was", which is another collection's
        bar.update(
            task,
            description=" ".join(filter(None, (plain(moment.collection, NAME_WIDTH[wide]), moment.place))),
            completed=moment.done,
            written=f"{moment.written:,} features" + (f" ({rate:,.0f}/s)" if rate and wide else ""),
            left=f"{in_words(left)} left" if left else "",
        )

    return show
