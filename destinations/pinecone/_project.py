"""One Pinecone project as a sync uses it: the control plane, and a writer and a reader per index."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Container, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from ssl import SSLContext
from threading import Lock
from typing import Final, TypeAlias, TypedDict, TypeVar
from urllib.parse import quote, unquote

import httpx
from pinecone import Index, IndexModel, Pinecone, ServerlessSpec
from pinecone.errors import ConflictError, NotFoundError
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_exponential

from vectorferry.connector.http import environment_proxy, hashed_key
from vectorferry.connector.plugin import (
    Account,
    Allowance,
    ConfigurationError,
    DestinationError,
    begin_abandonable,
    pause,
)
from vectorferry.destinations.pinecone._deletes import SharedDeletes
from vectorferry.destinations.pinecone._errors import checked_address, index_address, translated
from vectorferry.destinations.pinecone._ids import IndexSpec, index_name
from vectorferry.destinations.pinecone._manifest_tables import IndexRow
from vectorferry.destinations.pinecone._reader import IndexReader
from vectorferry.destinations.pinecone._requests import WriterLimits, check_key
from vectorferry.destinations.pinecone._writer import IndexWriter, WriteUsage

_SOURCE_TAG: Final = "vectorferry"
_PREFIX_TAG: Final = "vectorferry-sync"
_VECTOR_TAG: Final = "vectorferry-vector"
_LONGEST_TAG: Final = 120
_SECONDS_TO_READY: Final = 300.0

T = TypeVar("T")
IndexList: TypeAlias = Callable[[], list[IndexModel]]
"""Waits for a list of indexes that was asked for."""


@dataclass(frozen=True, slots=True)
class ProjectSettings:
    """Where the project is, and what its indexes are made with and called."""

    api_key: str = field(repr=False)
    host: str
    prefix: str
    cloud: str
    region: str
    limits: WriterLimits


class _ProxySettings(TypedDict, total=False):
    """As the SDK takes them, which does not ask the environment, and shows the URL."""

    proxy_url: str
    proxy_headers: Mapping[str, str]


def _proxy_settings(url: str) -> _ProxySettings:
    """For requests to this address."""
    proxy = environment_proxy(url)
    if proxy is None:
        return {}
    if proxy.raw_auth is None:
        return {"proxy_url": str(proxy.url)}
    user_and_password = b64encode(b":".join(proxy.raw_auth)).decode()
    return {"proxy_url": str(proxy.url), "proxy_headers": {"Proxy-Authorization": f"Basic {user_and_password}"}}


class Project:
    """Connections to a project, and the indexes of one sync in it, which its prefix and a tag tell apart from everybody
    else's. Nothing is sent before a method is called. From the `allowance`, if there is one, processes borrow what they
    may do together.

    Every method may raise `RetryableError`, `CredentialsError` or `DestinationError`.
    """

    def __init__(self, settings: ProjectSettings, allowance: Allowance | None = None) -> None:
        self.usage = WriteUsage()
        self._settings = settings
        self._allowance = allowance
        self._hashed_key = cache(partial(hashed_key, settings.api_key, "allowance"))
        check_key(settings.api_key)
        with translated("opening the project", settings.api_key):
            self._sdk = Pinecone(
                api_key=settings.api_key,
                host=settings.host,
                source_tag=_SOURCE_TAG,
                **_proxy_settings(settings.host),
            )
        self._sdk_users, self._lock = 1, Lock()
        self._pool = ThreadPoolExecutor(settings.limits.concurrency, thread_name_prefix="pinecone-write")
        self._writers: dict[str, IndexWriter] = {}
        self._readers: dict[str, IndexReader] = {}
        self._tls: SSLContext | None = None

    def begin_listing(self) -> IndexList:
        """Ask for a list of the indexes; what waits for it. It may have changed by then."""
        return self._begin(lambda: list(self._sdk.indexes.list()))

    def indexes(self, known: Container[str], listing: IndexList | None = None) -> Mapping[str, IndexRow]:
        """By name, the project's indexes for vectors that are `known`, or that this sync has made, as their tags
        say: now, or in a list that was asked for before."""
        listing = listing or self.begin_listing()
        with translated("listing the indexes", self._settings.api_key):
            models = listing()
        return {row.name: row for model in models for row in self._own(model, known)}

    def find(self, name: str) -> IndexRow | None:
        """An index for vectors of this name, if there is one: a list passes over what the SDK cannot read."""
        try:
            model = self._ready(name)
        except _MissingError:
            return None
        return _as_row(model, _vector_name(model)) if _holds_vectors(model) else None

    def ensure(self, spec: IndexSpec) -> tuple[IndexRow, bool]:
        """The index for these vectors, ready to be written, and whether it was made just now.

        Raises `ConfigurationError` for an index of that name which holds other vectors.
        """
        name = index_name(self._settings.prefix, spec)
        with translated(f"making the index {name}", self._settings.api_key):
            creating = self._begin(partial(self._create, name, spec))
            self._read_authorities()  # the first write would wait for that
            created = creating()
        model = self._ready(name)
        _check(model, spec)
        return _as_row(model, spec.vector_name), created

    def writer(self, row: IndexRow) -> IndexWriter:
        """What writes to this index; the same one each time, as long as it stays where it is."""
        if row.host not in self._writers:
            settings = self._settings
            address = index_address(row.host, settings.host)
            self._writers[row.host] = IndexWriter(
                address,
                settings.api_key,
                pool=self._pool,
                usage=self.usage,
                limits=settings.limits,
                deletes=self._shared_deletes(address),
                tls=self._read_authorities(),
            )
        return self._writers[row.host]

    def reader(self, row: IndexRow) -> IndexReader:
        """What reads from this index; the same one each time, as long as it stays where it is."""
        if row.host not in self._readers:
            address, key = index_address(row.host, self._settings.host), self._settings.api_key
            with translated(f"opening the index {row.name}", key):
                # Not by `Pinecone.index`, which takes the control plane's proxy along: NO_PROXY may name either alone.
                sdk = Index(host=address, api_key=key, source_tag=_SOURCE_TAG, **_proxy_settings(address))
            self._readers[row.host] = IndexReader(row, sdk, key)
        return self._readers[row.host]

    def _read_authorities(self) -> SSLContext:
        """Whose certificates every writer trusts, read once: that takes 20 ms."""
        if self._tls is None:
            with translated("opening the connection", self._settings.api_key):
                self._tls = httpx.create_ssl_context()
        return self._tls

    def _shared_deletes(self, address: str) -> SharedDeletes | None:
        limits, allowance = self._settings.limits, self._allowance
        if limits.rates is None or allowance is None:
            return None

        def account() -> Account:
            return Account(address, self._hashed_key())

        return SharedDeletes(allowance, account, limits.rates.deleted_records, limits.longest_retry_after)

    def close(self) -> None:
        """Release every connection and thread."""
        self._pool.shutdown()
        for writer in self._writers.values():
            writer.close()
        for reader in self._readers.values():
            reader.close()
        self._leave_sdk()

    def _begin(self, ask: Callable[[], T]) -> Callable[[], T]:
        """Begin a request of the SDK's; what waits for its answer. Where nobody does, it may outlast this project, and
        would leave its connection open."""
        with self._lock:
            self._sdk_users += 1

        def request() -> T:
            try:
                return ask()
            finally:
                self._leave_sdk()

        return begin_abandonable(request)

    def _leave_sdk(self) -> None:
        """Whoever is the last one closes it."""
        with self._lock:
            self._sdk_users -= 1
            is_last = not self._sdk_users
        if is_last:
            self._sdk.close()

    def _own(self, model: IndexModel, known: Container[str]) -> Iterator[IndexRow]:
        tags = model.tags or {}
        if (model.name in known or tags.get(_PREFIX_TAG) == self._settings.prefix) and _holds_vectors(model):
            yield _as_row(model, _vector_name(model))

    def _create(self, name: str, spec: IndexSpec) -> bool:
        try:
            self._sdk.create_index(  # what is left to a default would change with it
                name=name,
                spec=ServerlessSpec(
                    cloud=self._settings.cloud, region=self._settings.region, read_capacity={"mode": "OnDemand"}
                ),
                dimension=spec.dimension,
                metric=spec.metric,
                vector_type="sparse" if spec.dimension is None else "dense",
                deletion_protection="disabled",
                tags={_PREFIX_TAG: self._settings.prefix, _VECTOR_TAG: _tag(spec.vector_name)},
                timeout=-1,  # the SDK would look every five seconds only
            )
        except ConflictError:
            return False
        return True

    def _ready(self, name: str) -> IndexModel:
        def described() -> IndexModel:
            with translated(f"looking at the index {name}", self._settings.api_key):
                try:
                    return self._begin(partial(self._sdk.indexes.describe, name))()
                except NotFoundError:
                    raise _MissingError(f"the index {name} is gone: somebody has deleted it. Run again.") from None

        looking = Retrying(
            retry=retry_if_result(lambda model: not model.status.ready or not model.host),
            stop=stop_after_delay(_SECONDS_TO_READY),
            wait=wait_exponential(multiplier=0.1, max=5),
            sleep=pause,
        )
        try:
            model: IndexModel = looking(described)
        except RetryError:
            raise DestinationError(
                f"the index {name} was made but is not ready after {_SECONDS_TO_READY:.0f} s. "
                "Look at it in Pinecone's console and run again."
            ) from None
        return model


def check_fits(row: IndexRow, spec: IndexSpec) -> None:
    """Raise `ConfigurationError` for an index that holds other vectors than these."""
    if (row.dimension, row.metric) != (spec.dimension, spec.metric):
        is_for = f"{row.dimension} dimensions and {row.metric}" if row.dimension else "sparse vectors"
        raise ConfigurationError(_taken(row.name, f"is for {is_for}"))


class _MissingError(DestinationError):
    """There is no such index."""


def _check(model: IndexModel, spec: IndexSpec) -> None:
    if not _holds_vectors(model):
        raise ConfigurationError(_taken(model.name, "is for documents, not for vectors"))
    check_fits(_as_row(model, spec.vector_name), spec)


def _taken(name: str, problem: str) -> str:
    return f"the Pinecone index {name} exists and {problem}. Delete it, or set another `index_prefix`."


def _holds_vectors(model: IndexModel) -> bool:
    """Not made for documents, whose API is another one."""
    return bool(model.host) and set(model.schema.fields) <= {"_values", "_sparse_values"}


def _vector_name(model: IndexModel) -> str:
    return unquote((model.tags or {}).get(_VECTOR_TAG, model.name))


def _tag(vector_name: str) -> str:
    """In printable ASCII. One that had to be cut is corrected when the first vector of the name arrives."""
    return quote(vector_name, safe=" !#$&'()*+,/:;=?@[]")[:_LONGEST_TAG]


def _as_row(model: IndexModel, vector_name: str) -> IndexRow:
    dense = model.vector_type == "dense"
    return IndexRow(model.name, vector_name, model.dimension if dense else None, str(model.metric), _address(model))


def _address(model: IndexModel) -> str:
    try:
        return checked_address(model.host or "")
    except DestinationError as error:
        raise DestinationError(f"{error} Pinecone gives it for the index {model.name}.") from None
