"""Whether collections have changed at their source, found out without reading an asset: a mark for each that is the
same as long as what is ready there is the same."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import environ as process_environ
from typing import Final

from vectorferry.connector._config import resolve_part
from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._engine._opening import run_closing
from vectorferry.connector._iterators import closing
from vectorferry.connector._model._errors import (
    ConfigurationError,
    CredentialsError,
    IncompleteScanError,
    LimitReachedError,
    SourceError,
    VectorferryError,
)
from vectorferry.connector._model._records import AssetState, Listing
from vectorferry.connector._protocols._capabilities import Capability
from vectorferry.connector._protocols._source import Source

_BETWEEN: Final = "\n"


@dataclass(slots=True)
class Marks:
    """By collection id, the mark that was found, or why there was none. Those that there was no time for are in
    neither."""

    found: dict[str, str] = field(default_factory=dict)
    errors: dict[str, VectorferryError] = field(default_factory=dict)


def run_marks(
    settings: SyncSettings,
    collections: Sequence[str],
    before: Mapping[str, str],
    *,
    seconds: float,
    environ: Mapping[str, str] = process_environ,
) -> Marks:
    """The marks of these collections now, of as many as so many seconds suffice for; `before` are those that were found
    last. One that all of the time does not suffice for has an error, so that those behind it are not kept out for good.

    Of a source that lists its changes only these are listed, and deletes are not seen; of any other one everything is
    listed. Raises what would be so of all collections: `ConfigurationError`, `CredentialsError`, `LimitReachedError`.
    """
    source = resolve_part(settings.source, environ, settings.where, ("source",)).open()
    until = time.monotonic() + seconds

    async def mark_all() -> Marks:
        marks = Marks()
        for collection in collections if seconds > 0 else ():
            try:
                async with asyncio.timeout(until - time.monotonic()):
                    marks.found[collection] = await mark(source, collection, before.get(collection, ""))
            except TimeoutError:
                if collection == collections[0]:
                    marks.errors[collection] = SourceError(
                        f"its list takes longer than the {seconds:.0f} s that there are to look for changes; "
                        "give the sync a `schedule`"
                    )
                break
            except (ConfigurationError, CredentialsError, LimitReachedError):
                raise
            except VectorferryError as error:
                marks.errors[collection] = error
        return marks

    return run_closing(source, mark_all)


async def mark(source: Source, collection: str, before: str) -> str:
    """The mark of a collection now: a digest of everything that is ready; or a cursor of the source's, and a digest of
    what has changed since. The cursor of `before` stays as long as that is nothing new."""
    if Capability.CHANGED_SINCE not in source.capabilities:
        return await _digest(source.scan(collection))
    cursor, _, digest = before.rpartition(_BETWEEN)
    if cursor:
        try:
            if await _digest(source.scan_changed(collection, cursor)) == digest:
                return before
        except IncompleteScanError:  # it does not reach back so far any more
            cursor = ""
    everything = "" if cursor else await _digest(source.scan(collection))
    newest = await source.cursor(collection)
    if newest is None:
        return everything or await _digest(source.scan(collection))
    return f"{newest}{_BETWEEN}{await _digest(source.scan_changed(collection, newest))}"


async def _digest(listings: AsyncIterator[Listing]) -> str:
    """The same for the same assets in whatever order, of those that there is something of to sync."""
    total = 0
    async with closing(listings) as scanned:
        async for each in scanned:
            if each.state is AssetState.READY:
                text = f"{len(each.asset_id)}:{each.asset_id}{each.fingerprint}".encode(errors="surrogatepass")
                total += int.from_bytes(hashlib.blake2b(text, digest_size=16).digest())
    return f"{total % 2**128:032x}"
