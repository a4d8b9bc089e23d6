"""Reading the listed assets, a bounded number side by side: what becomes of each, and when it is the service that has
failed and not an asset."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Final, Generic, TypeAlias, TypeVar

from vectorferry.connector._iterators import closing
from vectorferry.connector._model._errors import (
    IncompleteScanError,
    LimitReachedError,
    QuarantineError,
    SourceError,
    VectorferryError,
)
from vectorferry.connector._model._records import Asset, AssetState, Feature, Listing, Reason, Rejected
from vectorferry.connector.http import ForbiddenError, NotFoundError, RefusedError, UnreadableError, one_line, segment
from vectorferry.connector.sources._values import is_signed, read_time

T = TypeVar("T")
R = TypeVar("R")
log = logging.getLogger(__name__)

MOST_IN_A_ROW: Final = 10
"""After so many assets without an answer and none with one between, the service itself may be at fault: it is asked."""

ENOUGH_TO_JUDGE: Final = 50
"""From this many assets on, more without an answer than with one mean that it is."""


class LeftOutError(VectorferryError):
    """This run leaves the asset as it is, and the next one looks at it again."""


class NotReadyError(VectorferryError):
    """The service has begun to work on the asset again since it was listed, or so it says."""


class ShortAnswerError(VectorferryError):
    """The service gives less of the asset than it has listed: the rest went meanwhile, or is withheld."""


@dataclass(frozen=True, slots=True)
class NotThere:
    """An asset that was listed as ready, and that the service does not give by now; `detail` is how it says so.

    With a `fingerprint`, that of its listing, it is the asset as it was listed that is not there.
    """

    asset_id: str
    detail: str
    fingerprint: str | None = None

    def is_in(self, listing: Listing) -> bool:
        """Whether the service still lists, as ready, what it does not give."""
        return listing.state is AssetState.READY and self.fingerprint in (None, listing.fingerprint)


ReadAsset: TypeAlias = Callable[[Listing], Awaitable[Asset]]
"""Reads one asset, or raises what `outcome_of` knows what to make of."""

Outcome: TypeAlias = Asset | Rejected | NotThere | None
"""What reading an asset came to; None when it is left out."""


def read_assets(
    listings: AsyncIterable[Listing],
    read: ReadAsset,
    *,
    width: int,
    collection: str,
    scan: Callable[[], AsyncIterator[Listing]],
    check: Callable[[], Awaitable[None]],
) -> AsyncGenerator[Asset | Rejected, None]:
    """What `read` makes of each (see `outcome_of`), `width` at a time, as it comes; else as `read_chunks`."""
    outcomes = results_of(listings, partial(outcome_of, read), width)
    return _settled(outcomes, collection, scan, check)


def read_chunks(
    chunks: AsyncIterable[T],
    read: Callable[[T], Awaitable[Sequence[Outcome]]],
    *,
    width: int,
    collection: str,
    scan: Callable[[], AsyncIterator[Listing]],
    check: Callable[[], Awaitable[None]],
) -> AsyncGenerator[Asset | Rejected, None]:
    """What `read` makes of each chunk of listings, or what stands for one, `width` chunks at a time, as it comes.

    Those that are not there are looked for in a second listing at the end: what is not in it, or not ready there
    either, is left out, and so is what came with less than was listed and is listed otherwise by now. What is still
    listed as ready counts as unreadable. Raises `SourceError` when too many are
    unreadable for it to be the assets' fault; `check` asks the service a small question.
    """

    async def each() -> AsyncGenerator[Outcome, None]:
        async with aclosing(results_of(chunks, read, width, waiting=1)) as outcomes:
            async for results in outcomes:
                for result in results:
                    yield result

    return _settled(each(), collection, scan, check)


async def _settled(
    outcomes: AsyncGenerator[Outcome, None],
    collection: str,
    scan: Callable[[], AsyncIterator[Listing]],
    check: Callable[[], Awaitable[None]],
) -> AsyncGenerator[Asset | Rejected, None]:
    failures = _Failures(check, collection)
    lost: dict[str, NotThere] = {}
    async with aclosing(outcomes):
        async for result in outcomes:
            if isinstance(result, Asset):
                failures.note_success()
                yield result
            elif isinstance(result, NotThere):
                await failures.note_failure(result.detail)
                lost[result.asset_id] = result
            elif result is not None:
                if result.reason is Reason.UNREADABLE:
                    await failures.note_failure(result.detail)
                else:
                    failures.note_success()
                yield result
    if lost:
        for asset_id, why in (await _still_listed(lost, scan)).items():
            yield Rejected(asset_id, Reason.UNREADABLE, why)


async def outcome_of(read: ReadAsset, listing: Listing) -> Outcome:
    """The asset; None when it is left out; a `Rejected` when it cannot be read as it is, or (`Reason.UNREADABLE`) when
    no usable answer came for it."""
    try:
        return await read(listing)
    except LeftOutError as why:
        _log_left_out(listing.asset_id, str(why))
        return None
    except QuarantineError as error:
        return Rejected(listing.asset_id, Reason(error.reason), str(error))
    except (NotFoundError, NotReadyError) as error:
        return NotThere(listing.asset_id, str(error))
    except ShortAnswerError as error:
        return NotThere(listing.asset_id, str(error), listing.fingerprint)
    except (UnreadableError, RefusedError, ForbiddenError) as error:
        return Rejected(listing.asset_id, Reason.UNREADABLE, str(error))


def asset_from(
    listing: Listing,
    answer: Mapping[str, Any],
    *,
    modality: str | None,
    url: Any,
    metadata: Any,
    fields: Mapping[str, Any],
    features: Iterable[Feature],
    rejected: Iterable[Rejected],
) -> Asset:
    """The record of an asset, with status and times as its own answer says. An address that stops working after a while
    is left out."""
    status = answer.get("status")
    return Asset(
        asset_id=listing.asset_id,
        fingerprint=listing.fingerprint,
        modality=modality,
        url=url if isinstance(url, str) and not is_signed(url) else None,
        status=status if isinstance(status, str) else None,
        metadata=metadata if isinstance(metadata, dict) else {},
        created_at=read_time(answer.get("created_at")),
        updated_at=read_time(answer.get("updated_at")),
        fields=fields,
        features=tuple(features),
        rejected=tuple(rejected),
        turn=listing.turn,
    )


def check_id(asset_id: str) -> None:
    """Raises `QuarantineError` for an id that cannot be part of an address."""
    try:
        segment(asset_id)
    except ValueError:
        raise QuarantineError(
            Reason.BAD_ID, "the asset id cannot be part of an address (. and .. mean folders there)"
        ) from None


async def _still_listed(lost: Mapping[str, NotThere], scan: Callable[[], AsyncIterator[Listing]]) -> dict[str, str]:
    """Those of the lost assets that cannot be taken for gone, for not ready, or for others by now, each with why."""
    still_listed: dict[str, str] = {}
    gone = dict(lost)
    try:
        async with closing(scan()) as listings:
            async for listing in listings:
                if listing.asset_id in gone and gone[listing.asset_id].is_in(listing):
                    why = gone.pop(listing.asset_id).detail
                    still_listed[listing.asset_id] = f"{why} It is still listed as ready, though."
    except IncompleteScanError as error:
        if not error.unknowable:
            unknown = "Whether it is still listed is not known."
            return {**still_listed, **{asset_id: f"{each.detail} {unknown}" for asset_id, each in gone.items()}}
    for asset_id, each in gone.items():
        _log_left_out(asset_id, each.detail)
    return still_listed


def _log_left_out(asset_id: str, why: str) -> None:
    log.warning("Asset %s is left out, the next run looks again: %s", one_line(asset_id), why)


class _Failures:
    """Tells a service that has failed from assets that are unreadable one by one.

    `check` raises `SourceError` when the service does not answer even a small question.
    """

    def __init__(self, check: Callable[[], Awaitable[None]], collection: str) -> None:
        self._check = check
        self._collection = collection
        self._read = 0
        self._unreadable = 0
        self._in_a_row = 0

    def note_success(self) -> None:
        """Count an asset that came, if only to be set aside."""
        self._read += 1
        self._in_a_row = 0

    async def note_failure(self, detail: str) -> None:
        """Count one that did not. Raises `SourceError` when it is the service that has failed."""
        self._unreadable += 1
        self._in_a_row += 1
        if self._unreadable > self._read and self._unreadable + self._read >= ENOUGH_TO_JUDGE:
            many = f"{self._unreadable} of {self._unreadable + self._read} assets"
            raise SourceError(self._message(many, detail))
        if self._in_a_row > MOST_IN_A_ROW:
            await self._check_service(detail)

    async def _check_service(self, last: str) -> None:
        """The few assets that no run can read are all that is asked for when nothing else changes, one after the other;
        stopping there would keep the collection from being synced for ever."""
        try:
            await self._check()
        except SourceError:
            message = self._message(f"More than {MOST_IN_A_ROW} assets in a row", last)
        else:
            self._in_a_row = 0
            return
        raise SourceError(message)

    def _message(self, many: str, last: str) -> str:
        return f"{many} of collection {one_line(self._collection)} cannot be read; the last: {last}"


class _Mark(Enum):
    END = 0


END: Final = _Mark.END


async def results_of(
    items: AsyncIterable[T], work: Callable[[T], Awaitable[R]], width: int, waiting: int | None = None
) -> AsyncGenerator[R, None]:
    """What `work` makes of each item, in the order of completion.

    At most `width` items are in work, and `waiting` results (None: as many) wait to be taken. An exception of `items`
    is raised after the results of everything before it; one of `work` cancels the rest and is raised after the results
    so far, but for `LimitReachedError`: it begins nothing more, and what is in work ends, since its requests have been
    counted.
    Closing the generator cancels everything that is under way.
    """
    results = _Results[R](waiting or width)
    running = asyncio.create_task(_run(_Items(items), work, results, width))
    try:
        while True:
            while results.waiting:
                yield results.take()
            if results.ended:
                break
            await results.arrival()
        await running
    finally:
        await _stopped(running)


async def cancellable(work: Coroutine[Any, Any, T]) -> T:
    """What `work` comes to; cancelled as soon as this is, whatever `work` raises then.

    A task group raises only its tasks' failures when one of them fails while the group is being cancelled, and whoever
    awaits it would go on as if nobody had cancelled anything.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait([task])
    finally:
        await _stopped(task)
    return task.result()


async def _run(items: _Items[T], work: Callable[[T], Awaitable[R]], results: _Results[R], width: int) -> None:
    """All the work. The results end with it unless this is cancelled: nobody takes any then."""

    async def worker() -> None:
        while (item := await items.next()) is not END:
            try:
                result = await work(item)
            except LimitReachedError as error:
                items.stop(error)
                return
            await results.put(result)

    async def workers() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(width):
                group.create_task(worker())

    try:
        await cancellable(workers())
    except BaseExceptionGroup as failures:
        items.failure = failures.exceptions[0]
    results.end()
    if items.failure is not None:
        raise items.failure


class _Results(Generic[R]):
    """Results that wait to be taken, at most so many: then those who bring more wait, and go in turn.

    An `asyncio.Queue` for one taker, at a fifth of its calls: there is one result for each asset.
    """

    def __init__(self, most: int) -> None:
        self.waiting: deque[R] = deque()
        self.ended = False
        self._most = most
        self._bringers: deque[asyncio.Future[None]] = deque()
        self._taker: asyncio.Future[None] | None = None

    async def put(self, result: R) -> None:
        """Add a result as soon as there is room for it."""
        while len(self.waiting) >= self._most:
            self._bringers.append(room := asyncio.get_running_loop().create_future())
            await room
        self.waiting.append(result)
        self._tell_taker()

    def end(self) -> None:
        """No result comes any more."""
        self.ended = True
        self._tell_taker()

    def take(self) -> R:
        """The result that has waited longest."""
        result = self.waiting.popleft()
        while self._bringers:
            room = self._bringers.popleft()
            if not room.done():
                room.set_result(None)
                break
        return result

    async def arrival(self) -> None:
        """Return when there is a result, or their end."""
        self._taker = asyncio.get_running_loop().create_future()
        await self._taker

    def _tell_taker(self) -> None:
        if self._taker is not None and not self._taker.done():
            self._taker.set_result(None)


class _Items(Generic[T]):
    """Hands out items one by one: an async generator takes one caller at a time."""

    def __init__(self, items: AsyncIterable[T]) -> None:
        self._items = aiter(items)
        self._lock = asyncio.Lock()
        self._ended = False
        self.failure: BaseException | None = None

    def stop(self, failure: BaseException) -> None:
        """Hand out no more."""
        self.failure = self.failure or failure
        self._ended = True

    async def next(self) -> T | _Mark:
        async with self._lock:
            if self._ended:
                return END
            try:
                item = await anext(self._items, END)
            except Exception as error:
                self.failure = self.failure or error
                item = END
            self._ended = self._ended or item is END
            return END if self._ended else item


async def _stopped(task: asyncio.Task[Any]) -> None:
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    elif not task.cancelled():
        task.exception()  # which counts as looked at from now on
