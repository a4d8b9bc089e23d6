"""The change feed: whether anything has happened in the namespace since a cursor. What happened is not looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from vectorferry.connector._model._errors import IncompleteScanError
from vectorferry.connector._model._json import canonical_json, parse_json
from vectorferry.connector.http import ForbiddenError, NotFoundError, RefusedError, UnreadableError
from vectorferry.connector.sources._values import read_time
from vectorferry.connector.sources.mixpeek_documents._api import DocumentsApi, EventPage, FeedEvent

EVENTS_PER_PAGE: Final = 1_000
MOST_PAGES: Final = 100
"""So much of the feed is walked over in one run. What is left is the next one's, which lists until then."""

KEPT: Final = timedelta(days=89)
"""The feed keeps events for 90 days, and says nothing of those that have gone: as if nothing had happened."""

WEEK: Final = 7 * 86_400
"""When the feed was read is kept in whole weeks, so that a mark stays as it is while nothing happens."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the feed, and the week in which a walk over it was there: its beginning in seconds since 1970, by the
    service's own clock."""

    cursor: str
    at: int


@dataclass(frozen=True, slots=True)
class Mark:
    """What is kept of a collection from one run to the next: where the feed was, and the collection's name."""

    position: Position
    name: str | None

    def text(self) -> str:
        """As it is kept."""
        return canonical_json([self.position.cursor, self.position.at, self.name]).decode()

    @classmethod
    def read(cls, text: str) -> Mark | None:
        """From what was kept; None for anything else, as what a version kept that told no time."""
        try:
            cursor, at, name = parse_json(text.encode())
        except (ValueError, TypeError):
            return None
        if not isinstance(cursor, str) or type(at) is not int or not isinstance(name, str | None):
            return None
        return cls(Position(cursor, at), name)


@dataclass(frozen=True, slots=True)
class Happened:
    """Whether there was any event, and from where the next run has to look; None where there is no such place."""

    anything: bool
    reached: Position | None


class ChangeFeed:
    """Follows the feed of one namespace; asked once in a run for each cursor, however many collections have it.

    The newest place that was reached is a good one for every scan that begins later: an earlier place passes over
    nothing. Only where none is known is the feed walked over from its beginning, which is 90 days ago.

    `delay_minutes`: events younger than that are looked at again, since a document may show late what its event told.
    """

    def __init__(self, api: DocumentsApi, delay_minutes: float) -> None:
        self._api = api
        self._delay = timedelta(minutes=delay_minutes)
        self._answers: dict[str, Happened] = {}
        self._asked: set[tuple[str, str]] = set()
        self._reached: Position | None = None

    async def position(self) -> Position | None:
        """How far the feed has come, or not quite; None where nothing has ever happened. Raises `IncompleteScanError`
        when it does not say."""
        if self._reached is None:
            self._reached = (await self._walk(None)).reached
        return self._reached

    async def since(self, collection: str, position: Position) -> Happened:
        """What has happened since. The second time that a collection asks, a new run has begun.

        Raises `IncompleteScanError` when the feed does not say: it is not there, or the cursor has expired.
        """
        cursor = position.cursor
        if (collection, cursor) in self._asked:
            self._answers.clear()
            self._asked.clear()
        self._asked.add((collection, cursor))
        if cursor not in self._answers:
            self._answers[cursor] = await self._walk(cursor)
            self._reached = self._answers[cursor].reached
        if self._api.service_time - position.at > (KEPT - self._delay).total_seconds():
            raise IncompleteScanError("the change feed was last looked at twelve weeks ago or earlier")
        return self._answers[cursor]

    async def _walk(self, since: str | None) -> Happened:
        anything, reached = await self._walked(since)
        week = int(self._api.service_time) // WEEK * WEEK
        return Happened(anything, None if reached is None else Position(reached, week))

    async def _walked(self, since: str | None) -> tuple[bool, str | None]:
        """Whether there was any event, and the cursor that was reached."""
        reached, cursor, settled = since, since, True
        for number in range(MOST_PAGES):
            page = await self._page(cursor)
            if not page.events:
                if page.has_more or page.next_cursor not in (cursor, None):
                    raise IncompleteScanError("the change feed has lost its place")
                return number > 0, reached
            # Behind the first event that is too young, nothing is passed over.
            settled, reached = self._settled(page, reached) if settled else (False, reached)
            if not page.has_more or page.next_cursor is None or page.next_cursor == cursor:
                break
            cursor = page.next_cursor
        return True, reached

    async def _page(self, cursor: str | None) -> EventPage:
        try:
            return await self._api.events(cursor, EVENTS_PER_PAGE)
        except (NotFoundError, RefusedError, ForbiddenError, UnreadableError) as error:
            problem = str(error)
        raise IncompleteScanError(f"the change feed does not tell what has changed: {problem}")

    def _settled(self, page: EventPage, reached: str | None) -> tuple[bool, str | None]:
        """Whether all events of a page are old enough, and the cursor behind the last one that is."""
        now = self._api.service_time + 1  # it is told in whole seconds
        old = _how_many_old(page.events, now - self._delay.total_seconds())
        if old == len(page.events):
            return True, page.next_cursor or page.events[-1].cursor or reached
        cursors = [event.cursor for event in page.events[:old] if event.cursor]
        return False, cursors[-1] if cursors else reached


def _how_many_old(events: Sequence[FeedEvent], before: float) -> int:
    """How many of the first are older; one without a time is taken as old, since nothing would ever make it so."""
    times = (read_time(event.created_at) for event in events)
    return next((place for place, time in enumerate(times) if time and time.timestamp() > before), len(events))
