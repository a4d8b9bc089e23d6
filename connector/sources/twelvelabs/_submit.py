"""Media handed to the service by URL: uploaded once, indexed once, watched until it is ready."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import unquote, urlsplit

import orjson

from vectorferry.connector._model._errors import ConfigurationError
from vectorferry.connector._model._json import parse_json
from vectorferry.connector._protocols._source import Submission, SubmissionState, SubmitOptions
from vectorferry.connector.http import ApiClient, one_line, segment
from vectorferry.connector.sources._pages import Page, identities_by, walk
from vectorferry.connector.sources.twelvelabs._api import index_path, read_page

MARK: Final = "vectorferry_url"
"""The key, in an uploaded asset's own metadata, of the hash of the address that it came from: the service does not keep
the address, and would take the same one twice."""

NOT_MARKED: Final = (
    "the service did not keep our mark on the upload, by which the same address is found again: "
    "submitted once more it would be uploaded, and billed, once more"
)
METADATA_STAYS: Final = (
    "it is in the index already, with the metadata that it has there; what was given now is not sent"
)

LARGEST_NUMBER: Final = 2**53
"""From here on the service wants an integer as text."""

T = TypeVar("T")
Params: TypeAlias = Mapping[str, str | int | Sequence[str]]
PAGE: Final = 50
READY: Final = "ready"
ENDED: Final = frozenset({READY, "failed"})


@dataclass(frozen=True, slots=True)
class _Item:
    """An uploaded or an indexed asset: what is needed of it."""

    item_id: str
    status: str
    problem: str
    mark: str


class Submitter:
    """Submits over one client. Waits grow from `first_wait` to `longest_wait` seconds between two looks."""

    def __init__(self, client: ApiClient, *, first_wait: float = 1.0, longest_wait: float = 15.0) -> None:
        self._client = client
        self._first_wait = first_wait
        self._longest_wait = longest_wait

    async def submit(self, index: str, url: str, options: SubmitOptions) -> AsyncGenerator[Submission, None]:
        """As `Source.submit` says. Raises `UnsureError` where a request may have been received though no answer
        came: submitting the same URL again finds what became of it."""
        before = None if options.again else await self._uploaded(url)
        known = before is not None
        asset = before or await self._upload(url, options.metadata)
        yield Submission(url, SubmissionState.FETCHING, known=known)
        asset = await self._ended(asset, f"/assets/{segment(asset.item_id)}")
        if asset.status != READY:
            yield Submission(url, SubmissionState.FAILED, known=known, detail=asset.problem)
            return
        indexed_id = await self._indexed_in(index, asset.item_id) if known else None
        note = METADATA_STAYS if indexed_id and options.metadata else "" if asset.mark == _hash(url) else NOT_MARKED
        indexed_id = indexed_id or await self._index(index, asset.item_id, options.metadata)
        yield Submission(url, SubmissionState.INDEXING, indexed_id, known, note=note)
        path = f"{index_path(index)}/indexed-assets/{segment(indexed_id)}"
        indexed = await self._ended(_Item(indexed_id, "pending", "", ""), path)
        state = SubmissionState.READY if indexed.status == READY else SubmissionState.FAILED
        yield Submission(url, state, indexed_id, known, indexed.problem, note=note)

    async def _uploaded(self, url: str) -> _Item | None:
        """The newest upload of this address that has not failed."""
        if name := _filename(url):
            async with aclosing(self._rows("/assets", {"filename": name})) as rows:
                async for row in rows:
                    asset = _readable(_item, row)
                    if asset and asset.mark == _hash(url) and asset.status != "failed":
                        return asset
        return None

    async def _indexed_in(self, index: str, asset_id: str) -> str | None:
        async with aclosing(self._rows(f"/assets/{segment(asset_id)}/indexed-assets", {})) as rows:
            async for row in rows:
                place = _readable(_place, row)
                if place and place[1] == index:
                    return place[0]
        return None

    async def _upload(self, url: str, metadata: Mapping[str, Any]) -> _Item:
        marked = orjson.dumps({**metadata, MARK: _hash(url)}).decode()
        form = [("method", "url"), ("url", url), ("user_metadata", marked)]
        if name := _filename(url):
            form.append(("filename", name))
        return await self._client.request(
            "POST", "/assets", form=form, kind="index", once=True, decode=lambda body: _item(parse_json(body))
        )

    async def _index(self, index: str, asset_id: str, metadata: Mapping[str, Any]) -> str:
        """The metadata of an indexed asset, which is what a sync brings, is not that of the upload."""
        path = f"{index_path(index)}/indexed-assets"
        return await self._client.request(
            "POST",
            path,
            json={"asset_id": asset_id, **({"user_metadata": dict(metadata)} if metadata else {})},
            kind="index",
            once=True,
            decode=lambda body: _id(parse_json(body)),
        )

    async def _ended(self, item: _Item, path: str) -> _Item:
        """The item when it is ready or has failed."""
        wait = self._first_wait
        while item.status not in ENDED:
            await asyncio.sleep(wait)
            wait = min(1.5 * wait, self._longest_wait)
            item = await self._client.request("GET", path, kind="read", decode=lambda body: _item(parse_json(body)))
        return item

    async def _rows(self, path: str, params: Mapping[str, str]) -> AsyncGenerator[Any, None]:
        """Every row of a list."""

        async def fetch(number: int) -> Page:
            paged: Params = {**params, "page": number, "page_limit": PAGE}
            return await self._client.request("GET", path, params=paged, kind="list", decode=read_page)

        async for page in walk(fetch, identities_by("_id")):
            for row in page.rows:
                yield row


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Raise `ConfigurationError` for what the service does not take as a user's metadata."""
    for key, value in metadata.items():
        words = isinstance(value, list) and all(isinstance(part, str) for part in value)
        number = isinstance(value, int | float) and abs(value) < LARGEST_NUMBER
        if not (isinstance(value, str | bool) or words or number):
            raise ConfigurationError(
                f"metadata.{key[:80]}: TwelveLabs takes text, numbers below 2^53, true, false, and lists of text"
            )


def _filename(url: str) -> str:
    """The last part of the address's path, by which the upload is found again; at most 200 characters of it."""
    return unquote(urlsplit(url).path).rpartition("/")[2][-200:]


def _hash(url: str) -> str:
    return hashlib.sha256(url.encode(errors="surrogatepass")).hexdigest()[:32]


def _item(row: Any) -> _Item:
    item_id = _id(row)
    metadata, error = row.get("user_metadata"), row.get("error")
    mark = metadata.get(MARK) if isinstance(metadata, dict) else None
    problem = error.get("message") if isinstance(error, dict) else None
    status = _text(row, "status")
    return _Item(item_id, status, _problem(status, problem), mark if isinstance(mark, str) else "")


def _place(row: Any) -> tuple[str, str]:
    """An indexed asset and its index."""
    return _id(row), _text(row.get("index"), "_id")


def _readable(read: Callable[[Any], T], row: Any) -> T | None:
    """A row of a list; one that cannot be read is not the one that is looked for."""
    try:
        return read(row)
    except ValueError:
        return None


def _problem(status: str, message: Any) -> str:
    if status != "failed":
        return ""
    return one_line(message) if isinstance(message, str) and message else "the service does not say why"


def _id(row: Any) -> str:
    """An id that can be part of an address."""
    item_id = _text(row, "_id")
    segment(item_id)
    return item_id


def _text(row: Any, key: str) -> str:
    value = row.get(key) if isinstance(row, dict) else None
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} is missing")
    return value
