"""What a run reports while it goes on: exact counts, and in words how fast it goes and how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias


@dataclass(frozen=True, slots=True)
class Progress:
    """A moment of one collection's sync.

    `total` is known once the scan has ended; `to_pull` of the `listed` assets were lacking somewhere so far, of
    which `pulled` have been read; `written` counts features in batches that destinations have taken, over all of them.
    The collection is the `number`-th of so many `collections`, counted from 1; 0 where that is not known.
    """

    collection: str
    listed: int = 0
    total: int | None = None
    to_pull: int = 0
    pulled: int = 0
    written: int = 0
    number: int = 0
    collections: int = 0

    @property
    def done(self) -> int:
        """How many of the listed assets need nothing any more: they were up to date, or have been read."""
        return self.listed - self.to_pull + self.pulled

    @property
    def place(self) -> str:
        """``2 of 12``, where there are several collections; else nothing."""
        return f"{self.number:,} of {self.collections:,}" if self.collections > 1 else ""


ProgressCallback: TypeAlias = Callable[[Progress], None]


def numbered(report: ProgressCallback | None, number: int, collections: int) -> ProgressCallback | None:
    """The callback for the collection that is the `number`-th of so many."""
    if report is None:
        return None
    return lambda moment: report(replace(moment, number=number, collections=collections))


MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
FEW: Final = 10
"""Assets that have to be read before their pace says anything of the others."""


class Pace:
    """How fast a run has been so far, and how long the collection it is at will take. Take in each of its moments.

    A collection's time left is told once it is known how many assets it has, from those that were read; features are
    counted from the first moment on.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started: float | None = None
        self._collection: tuple[str, float] | None = None

    def take(self, moment: Progress) -> None:
        """Note the time of a first moment, and of a collection's first."""
        now = self._clock()
        if self._started is None:
            self._started = now
        if self._collection is None or self._collection[0] != moment.collection:
            self._collection = (moment.collection, now)

    def rate(self, moment: Progress) -> float | None:
        """Features a second, or None as long as there are none, or no second has gone by."""
        seconds = 0.0 if self._started is None else self._clock() - self._started
        return moment.written / seconds if seconds >= 1 and moment.written else None

    def seconds_left(self, moment: Progress) -> float | None:
        """For the assets of the collection that are yet to be read, or None where nothing tells."""
        if moment.total is None or self._collection is None or moment.pulled < FEW:
            return None
        return (moment.to_pull - moment.pulled) * (self._clock() - self._collection[1]) / moment.pulled

    def line(self, moment: Progress) -> str:
        """``films (2 of 12): 320 of 1,000 assets done, 29,000 features written, 310 a second, about 2 min left``."""
        place = f" ({moment.place})" if moment.place else ""
        total = f"{moment.total:,}" if moment.total is not None else f"{moment.listed:,} listed so far"
        rate, left = self.rate(moment), self.seconds_left(moment)
        parts = [
            f"{moment.done:,} of {total} {'assets done' if moment.total is not None else 'done'}",
            f"{moment.written:,} features written",
            f"{rate:,.0f} a second" if rate else "",
            f"about {in_words(left)} left" if left else "",
        ]
        return f"{moment.collection}{place}: {', '.join(filter(None, parts))}"


def in_words(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < MINUTE:
        return f"{max(1, round(seconds))} s"
    if seconds < HOUR:
        return f"{round(seconds / MINUTE)} min"
    hours, rest = divmod(round(seconds / MINUTE), MINUTE)
    return f"{hours} h {rest} min" if rest else f"{hours} h"
