"""The source: names collections, lists assets, reads them with features and vectors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing
from typing import Final

from connector._errors import IncompleteScanError, SourceError
from connector._records import Asset, Listing, Reason, Rejected
from connector._source import Usage
from connector.http import one_line
from connector.sources._parallel import results_of
from connector.sources.mixpeek._api import MixpeekApi
from connector.sources.mixpeek._collections import collection_ids
from connector.sources.mixpeek._listing import AssetTally
from connector.sources.mixpeek._reader import AssetReader

__all__ = ["MixpeekSource"]

MOST_IN_A_ROW: Final = 10
"""After so many unreadable assets without a readable one between, the service itself may be at fault: it is asked."""

ENOUGH_TO_JUDGE: Final = 50
"""From this many assets on, more unreadable than readable ones mean that it is."""


class MixpeekSource:
    """Implements the `Source` protocol over Mixpeek's assets and features API."""

    def __init__(self, api: MixpeekApi, collections: Sequence[str], concurrency: int) -> None:
        self._api = api
        self._wanted = collections
        self._concurrency = concurrency

    @property
    def usage(self) -> Usage:
        """Requests, retries and answer bytes so far."""
        return self._api.usage

    async def collections(self) -> Sequence[str]:
        """Ids in the configured order, or of all collections, sorted, when none was configured.

        Raises `ConfigurationError` for a name that the service does not have, or has twice, and `SourceError` when
        the list does not come completely, or holds nothing while none was configured.
        """
        return await collection_ids(self._api, self._wanted)

    async def scan(self, collection: str) -> AsyncGenerator[Listing, None]:
        """Every asset of a collection once; raises `IncompleteScanError` at its end unless the unique rows agree with
        a total that stayed the same from the first page to the last."""
        tally = AssetTally(collection)
        async for page in self._api.assets(collection):
            for listing in tally.listings(page):
                yield listing
        if problem := tally.problem():
            raise IncompleteScanError(f"the listing was not complete, so nothing is deleted: {problem}")
        if not tally.knows_total:
            raise IncompleteScanError(
                "the service never says how many assets there are, so nothing is deleted", unknowable=True
            )

    async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncGenerator[Asset | Rejected, None]:
        """These assets with features and vectors. Raises `SourceError` when too many are unreadable."""
        reader = AssetReader(self._api, self._concurrency)
        failures = _Failures(self._api, collection)
        async with aclosing(results_of(listings, reader.read, self._concurrency)) as results:
            async for result in results:
                if result is not None:
                    await failures.note(result)
                    yield result

    def requests_to_read(self, assets: int, features: int) -> int:
        """One for each asset, and one for each feature with its vectors."""
        return assets + features

    async def aclose(self) -> None:
        """Release connections."""
        await self._api.aclose()


class _Failures:
    """Tells a service that has failed from assets that are unreadable one by one."""

    def __init__(self, api: MixpeekApi, collection: str) -> None:
        self._api = api
        self._collection = collection
        self._read = 0
        self._unreadable = 0
        self._in_a_row = 0

    async def note(self, result: Asset | Rejected) -> None:
        """Count a result. Raises `SourceError` when it is the service that has failed."""
        if not isinstance(result, Rejected) or result.reason is not Reason.UNREADABLE:
            self._read += 1
            self._in_a_row = 0
            return
        self._unreadable += 1
        self._in_a_row += 1
        if self._unreadable > self._read and self._unreadable + self._read >= ENOUGH_TO_JUDGE:
            raise SourceError(self._message(f"{self._unreadable} of {self._unreadable + self._read} assets", result))
        if self._in_a_row > MOST_IN_A_ROW:
            await self._check_service(result)

    async def _check_service(self, last: Rejected) -> None:
        """The few assets that no run can read are all that is asked for when nothing else changes, one after the other;
        stopping there would keep the collection from being synced for ever."""
        try:
            await self._api.check()
        except SourceError:
            message = self._message(f"More than {MOST_IN_A_ROW} assets in a row", last)
        else:
            self._in_a_row = 0
            return
        raise SourceError(message)

    def _message(self, many: str, last: Rejected) -> str:
        return f"{many} of collection {one_line(self._collection)} cannot be read; the last: {last.detail}"
