"""What every source over a service's API does alike: which collections there are, and reading their assets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from vectorferry.connector._model._errors import ConfigurationError, NoSuchCollectionError, SourceError
from vectorferry.connector._model._near import closest
from vectorferry.connector._model._records import Asset, Listing, Rejected
from vectorferry.connector._protocols._allowance import Allowance
from vectorferry.connector._protocols._source import Source, Usage
from vectorferry.connector.http import ApiClient, one_line
from vectorferry.connector.sources._reading import ReadAsset, read_assets


class ServiceApi(ABC):
    """Owns the client that a service is asked through, whatever its paths are."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    @property
    def host(self) -> str:
        """The service's host, for messages."""
        return self._client.host

    @property
    def service_time(self) -> float:
        """Seconds since 1970 by the service's own clock, at its last answer."""
        return self._client.service_time

    @property
    def usage(self) -> Usage:
        """What the requests have cost so far."""
        return self._client.usage

    @abstractmethod
    async def check(self) -> None:
        """Ask a small question. Raises `SourceError` when the service does not answer even that."""

    def identity(self, service: str) -> dict[str, str]:
        """Who asks, as far as it is known without asking."""
        return self._client.identity(service)

    def share(self, allowance: Allowance) -> None:
        """Keep to the service's limits together with all who borrow from this allowance."""
        self._client.share(allowance)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()


@dataclass(frozen=True, slots=True)
class CollectionList:
    """One walk over the list of collections: their ids, each with its name if it has one, and what shows that these
    were not all; None when nothing does."""

    names: Mapping[str, str | None]
    problem: str | None


class ServiceSource(Source):
    """The part of a source that is the same for every service. `collections` are ids or names of those to
    read; none: all."""

    _nothing_listed: ClassVar[str]
    """What `collections` says, after the host's name, where the service lists none."""

    def __init__(self, api: ServiceApi, collections: Sequence[str], concurrency: int) -> None:
        self._api = api
        self._configured = collections
        self._concurrency = concurrency
        self._not_found: Mapping[str, str] = {}

    @property
    def usage(self) -> Usage:
        """Requests, retries and answer bytes so far."""
        return self._api.usage

    async def collections(self) -> Sequence[str]:
        """Ids in the configured order, or of all collections, sorted, when none was configured.

        Raises `NoSuchCollectionError` when the service has none of those configured (`ConfigurationError` when several
        have the name), and `SourceError` when the list does not come completely, or holds nothing while none was
        configured.
        """
        names = await self._complete_names()
        ids, self._not_found = resolved(self._configured, names)
        ids = [*ids, *self._unlisted_collections()]
        if ids:
            return ids
        for name, why in self._not_found.items():
            raise (ConfigurationError if name in names.values() else NoSuchCollectionError)(why)
        raise SourceError(f"{self._api.host} {self._nothing_listed}")

    @property
    def not_found(self) -> Mapping[str, str]:
        """Configured collections that `collections` has not found, each with why."""
        return self._not_found

    def is_gone(self, collection: str) -> bool:
        """Whether all collections are wanted, and so were named, or this one is configured and was not found."""
        return not self._configured or collection in self._not_found

    def share(self, allowance: Allowance) -> None:
        """Keep to the service's limits together with all processes that borrow from this allowance."""
        self._api.share(allowance)

    @abstractmethod
    def scan(self, collection: str) -> AsyncGenerator[Listing, None]:
        """Every asset of a collection once; raises `IncompleteScanError` at its end unless it is known to be whole."""

    async def pull(self, collection: str, listings: AsyncIterable[Listing]) -> AsyncGenerator[Asset | Rejected, None]:
        """These assets with features and vectors. Raises `SourceError` when too many are unreadable."""
        assets = read_assets(
            listings,
            await self._reader(collection),
            width=self._concurrency,
            collection=collection,
            scan=partial(self.scan, collection),
            check=self._api.check,
        )
        async with aclosing(assets) as results:
            async for result in results:
                yield result

    async def aclose(self) -> None:
        """Release connections."""
        await self._api.aclose()

    @abstractmethod
    async def _listed_collections(self) -> CollectionList:
        """Walk over the service's list."""

    @abstractmethod
    async def _reader(self, collection: str) -> ReadAsset:
        """What reads the assets of a collection."""

    def _unlisted_collections(self) -> Sequence[str]:
        """Those that are read too, though no list names them."""
        return ()

    async def _complete_names(self) -> Mapping[str, str | None]:
        """Asked for once more when the list is not complete: a collection may have come or gone."""
        problem: str | None = None
        for _ in range(2):
            listed = await self._listed_collections()
            problem = listed.problem
            if problem is None or (self._configured and listed.names.keys() >= set(self._configured)):
                return listed.names
        raise SourceError(
            f"{self._api.host} did not list its collections completely: {problem}. "
            "Run again, or set source.collections to the ids of those to sync."
        )


def resolved(configured: Sequence[str], names: Mapping[str, str | None]) -> tuple[list[str], dict[str, str]]:
    """The ids of what is configured by id or name; and of those that are not there, the names, each with why."""
    if not configured:
        return sorted(names), {}
    ids = {name: [name] if name in names else [key for key in names if names[key] == name] for name in configured}
    unique = dict.fromkeys(matches[0] for matches in ids.values() if len(matches) == 1)
    return list(unique), {name: _why_not(name, some, names) for name, some in ids.items() if len(some) != 1}


def _why_not(name: str, ids: Sequence[str], names: Mapping[str, str | None]) -> str:
    if ids:
        shown = one_line(", ".join(ids))
        return f"source.collections: {len(ids)} collections are named {name}; use one of their ids: {shown}"
    labels = (f"{label} ({key})" if label and label != key else key for key, label in names.items())
    shown = one_line(", ".join(labels))
    near = one_line(closest(name, [*filter(None, names.values()), *names]))
    return f"source.collections: there is no collection {name}; there are: {shown or 'none'}{near}"
