"""The source: names collections, lists assets, reads them with features and vectors."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from connector._errors import ConfigurationError, IncompleteScanError, SourceError
from connector._records import Asset, Listing, Rejected
from connector._source import Usage
from connector.http import one_line
from connector.sources._parallel import results_of
from connector.sources.mixpeek._api import MixpeekApi
from connector.sources.mixpeek._listing import Tally
from connector.sources.mixpeek._reader import AssetReader

__all__ = ["MixpeekSource"]

MOST_UNREADABLE: Final = 10
"""More unreadable assets than this in one pull mean that the service is at fault and not the assets."""


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

        Raises `ConfigurationError` for a name that the service does not have, or has twice.
        """
        names = {
            row["collection_id"]: row.get("collection_name")
            async for page in self._api.collections()
            for row in page.rows
            if isinstance(row, dict) and isinstance(row.get("collection_id"), str)
        }
        if not self._wanted:
            return sorted(names)
        return list(dict.fromkeys(_id_of(name, names) for name in self._wanted))

    async def scan(self, collection: str) -> AsyncGenerator[Listing, None]:
        """Every asset of a collection once; raises `IncompleteScanError` at its end unless the unique rows agree with
        a total that stayed the same from the first page to the last."""
        tally = Tally(collection)
        async for page in self._api.assets(collection):
            for listing in tally.listings(page):
                yield listing
        problem = tally.problem()
        if problem:
            name = one_line(collection)
            raise IncompleteScanError(
                f"Collection {name} was not listed completely: {problem}. Nothing is deleted; run again."
            )

    async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncGenerator[Asset | Rejected, None]:
        """These assets with features and vectors. Raises `SourceError` when too many are unreadable."""
        reader = AssetReader(self._api, self._concurrency)
        unreadable = 0
        async with aclosing(results_of(listings, reader.read, self._concurrency)) as results:
            async for result in results:
                unreadable += isinstance(result, Rejected)
                if unreadable > MOST_UNREADABLE:
                    raise SourceError(_too_many(collection, result))
                if result is not None:
                    yield result

    async def aclose(self) -> None:
        """Release connections."""
        await self._api.aclose()


def _id_of(name: str, names: Mapping[str, str | None]) -> str:
    if name in names:
        return name
    ids = [collection for collection, label in names.items() if label == name]
    if len(ids) == 1:
        return ids[0]
    if ids:
        raise ConfigurationError(
            f"source.collections: {len(ids)} collections are named {name}; use one of their ids: "
            + one_line(", ".join(ids))
        )
    there = one_line(", ".join(f"{label} ({found})" if label else found for found, label in names.items()))
    raise ConfigurationError(f"source.collections: there is no collection {name}; there are: {there or 'none'}")


def _too_many(collection: str, last: Asset | Rejected | None) -> str:
    detail = last.detail if isinstance(last, Rejected) else ""
    return f"More than {MOST_UNREADABLE} assets of collection {one_line(collection)} cannot be read; the last: {detail}"
