"""A file as an object in a bucket, the collection that it is processed for, and the task that comes of it."""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from vectorferry.connector._model._errors import ConfigurationError
from vectorferry.connector._protocols._source import Submission, SubmissionState, SubmitOptions
from vectorferry.connector.http import NotFoundError, one_line, segment
from vectorferry.connector.sources._values import read_object
from vectorferry.connector.sources.mixpeek_documents._api import DocumentsApi
from vectorferry.connector.sources.mixpeek_documents._submit_settings import MixpeekDocumentsSubmitSettings

OBJECT_SETTINGS: Final = ("key_prefix", "skip_duplicates", "canonicalize_source", "force_remirror")
TYPES: Final = {"application/pdf": "pdf", "application/vnd.ms-excel": "excel"}

NEW: Final = frozenset({"", "PENDING", "DRAFT", "QUEUED"})
"""What an object's status is until something has been made of it."""

WORKING: Final = frozenset({"IN_PROGRESS", "PROCESSING"})

DONE: Final = frozenset({"COMPLETED", "COMPLETED_WITH_ERRORS"})
SKIPPED: Final = "SKIPPED"
FAILED: Final = frozenset({"FAILED", "CANCELED", "CANCELLED", "INTERRUPTED", "SUSPENDED", "ARCHIVED", "DEACTIVATED"})

METADATA_STAYS: Final = "it was there already, with the metadata that it has there; what was given now is not kept"

T = TypeVar("T")
LOOKS: Final = 8
"""A task may have ended before its documents can be read: so often they are looked for, less and less often."""


@dataclass(frozen=True, slots=True)
class Task:
    """A task, or the batch that it stands for, as its answer says."""

    task_id: str
    batch_id: str
    status: str
    problem: str


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object in a bucket, and how far it has come before."""

    object_id: str
    status: str

    @property
    def is_processed(self) -> bool:
        """Whether it was there, and something was made of it, before it was submitted now."""
        return self.status not in NEW


class Submitter:
    """Submits over one API. Waits grow from `first_wait` to `longest_wait` seconds between two looks."""

    def __init__(self, api: DocumentsApi, *, first_wait: float = 1.0, longest_wait: float = 30.0) -> None:
        self._api = api
        self._first_wait = first_wait
        self._longest_wait = longest_wait

    async def submit(self, collection: str, url: str, options: SubmitOptions) -> AsyncGenerator[Submission, None]:
        """As `Source.submit` says. The object has a key that its address gives: put in again, it is the same object, so
        that what was left half way is taken up."""
        settings = _settings_of(options)
        bucket = settings.bucket or await self._bucket_of(collection)
        body = await self._body(bucket, url, options)
        item = await self._post(f"/v1/buckets/{_part(bucket)}/objects", body, _read_object_row, once=options.again)
        note = METADATA_STAYS if item.is_processed and (settings.metadata or options.metadata) else ""
        tell = partial(Submission, url, asset_id=item.object_id, known=item.is_processed, note=note)
        if item.is_processed and item.status in DONE and settings.dedup_strategy in (None, "skip"):
            yield tell(SubmissionState.SKIPPED, status=item.status)
            return
        yield tell(SubmissionState.FETCHING, status=item.status)
        chosen = {"dedup_strategy": settings.dedup_strategy} if settings.dedup_strategy else {}
        trigger = {"object_ids": [item.object_id], **chosen}
        task = await self._post(f"/v1/collections/{_part(collection)}/trigger", trigger, _read_task, once=bool(chosen))
        yield tell(SubmissionState.INDEXING, status=task.status)
        wait, told = self._first_wait, task.status
        while (state := _state_of(task.status)) is SubmissionState.INDEXING:
            if task.status != told:
                told = task.status
                yield tell(state, status=told)
            await asyncio.sleep(wait)
            wait = min(1.5 * wait, self._longest_wait)
            task = await self._look(task)
        problem = (task.problem or "the service does not say why") if state is SubmissionState.FAILED else ""
        if state is SubmissionState.READY and not await self._has_documents(collection, bucket, item.object_id):
            state, problem = SubmissionState.FAILED, task.problem or "nothing was made of it that can be read"
        yield tell(state, detail=problem, status=task.status)

    async def _post(self, path: str, body: Mapping[str, Any], decode: Callable[[bytes], T], *, once: bool) -> T:
        """Sent again where need be, unless `once`: an object has its key, and what was processed is skipped."""
        return await self._api.post(path, body, decode, kind="index", once=once)

    async def _look(self, task: Task) -> Task:
        """Tasks are forgotten after a while, batches are not."""
        try:
            return await self._api.get(f"/v1/tasks/{segment(task.task_id)}", partial(_read_task, batch=task.batch_id))
        except NotFoundError:
            if not task.batch_id:
                raise
        decode = partial(_read_batch, task)
        return await self._api.get(f"/v1/batches/{segment(task.batch_id)}", decode)

    async def _has_documents(self, collection: str, bucket: str, object_id: str) -> bool:
        """Whether any can be read in the end; an object that another batch still works at is waited for."""
        wait, looks = self._first_wait, 0
        while True:
            try:
                if await self._api.documents_of(collection, object_id):
                    return True
                path = f"/v1/buckets/{_part(bucket)}/objects/{segment(object_id)}"
                looks += (await self._api.get(path, _read_object_row)).status not in WORKING
            except NotFoundError:
                looks += 1
            if looks >= LOOKS:
                return False
            await asyncio.sleep(wait)
            wait = min(1.5 * wait, self._longest_wait)

    async def _bucket_of(self, collection: str) -> str:
        buckets = await self._api.get(f"/v1/collections/{_part(collection)}", _read_buckets)
        if len(buckets) == 1:
            return buckets[0]
        found = f"{len(buckets)} buckets ({one_line(', '.join(buckets))})" if buckets else "no bucket"
        raise ConfigurationError(f"the collection is fed from {found}: say `bucket: …` in a file for --settings")

    async def _body(self, bucket: str, url: str, options: SubmitOptions) -> dict[str, Any]:
        settings = _settings_of(options)
        kind = settings.type or type_of(url)
        name = settings.property or await self._property_of(bucket, kind)
        metadata = {**settings.metadata, **options.metadata}
        blob = {"property": name, "type": kind, "data": url, **({"metadata": metadata} if metadata else {})}
        own = {key: value for key in OBJECT_SETTINGS if (value := getattr(settings, key)) is not None}
        key = {} if options.again else {"idempotency_key": _key(url)}
        return {"blobs": [blob], **own, **key}

    async def _property_of(self, bucket: str, kind: str) -> str:
        properties = await self._api.get(f"/v1/buckets/{_part(bucket)}", _read_properties)
        names = [name for name, type_ in properties.items() if type_ == kind]
        if len(names) == 1:
            return names[0]
        named = one_line(", ".join(f"{name} ({type_})" for name, type_ in properties.items())) or "none"
        raise ConfigurationError(
            f"{'several' if names else 'no'} fields of the bucket {one_line(bucket, 60)} are of type {kind}: say "
            f"`property: …` in a file for --settings; it has: {named}"
        )


def _part(identifier: str) -> str:
    """A part of an address. Raises `ConfigurationError` for what cannot be one."""
    try:
        return segment(identifier)
    except ValueError:
        raise ConfigurationError(f"{one_line(identifier, 60)} cannot be part of an address") from None


def type_of(url: str) -> str:
    """What the address ends like. Raises `ConfigurationError` where that says nothing."""
    kind = mimetypes.guess_type(urlsplit(url).path)[0] or ""
    main = kind.partition("/")[0]
    if kind in TYPES or main in ("video", "image", "audio", "text"):
        return TYPES.get(kind, main)
    raise ConfigurationError(
        "an address does not end like a file that Mixpeek takes (.mp4, .jpg, …): say `type: video` in a file for "
        "--settings"
    )


def _settings_of(options: SubmitOptions) -> MixpeekDocumentsSubmitSettings:
    settings = options.settings
    return settings if isinstance(settings, MixpeekDocumentsSubmitSettings) else MixpeekDocumentsSubmitSettings()


def _key(url: str) -> str:
    return hashlib.sha256(url.encode(errors="surrogatepass")).hexdigest()[:32]


def _read_object_row(body: bytes) -> StoredObject:
    row = read_object(body)
    return StoredObject(_text(row, "object_id"), _word(row.get("status"), ""))


def _read_task(body: bytes, batch: str = "") -> Task:
    row = read_object(body)
    batch_id = row.get("batch_id")
    error = row.get("error") or row.get("error_message")
    return Task(
        _text(row, "task_id"),
        batch_id if isinstance(batch_id, str) and batch_id else batch,
        _word(row.get("status"), "PENDING"),
        one_line(error) if isinstance(error, str) else "",
    )


def _read_batch(task: Task, body: bytes) -> Task:
    row = read_object(body)
    reason = row.get("failure_reason") or row.get("error")
    return Task(
        task.task_id,
        task.batch_id,
        _word(row.get("status"), "PENDING"),
        one_line(reason) if isinstance(reason, str) else "",
    )


def _read_buckets(body: bytes) -> list[str]:
    source = read_object(body).get("source")
    buckets = source.get("bucket_ids") if isinstance(source, dict) else None
    return [each for each in buckets or () if isinstance(each, str) and each] if isinstance(buckets, list) else []


def _read_properties(body: bytes) -> dict[str, str]:
    """The types of a bucket's fields."""
    schema = read_object(body).get("bucket_schema")
    fields = schema.get("properties") if isinstance(schema, dict) else None
    given = fields.items() if isinstance(fields, dict) else ()
    return {name: str(each.get("type")) for name, each in given if isinstance(each, dict)}


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{key} is missing")
    segment(value)
    return value


def _word(status: Any, absent: str) -> str:
    return one_line(status.upper(), 40) if isinstance(status, str) and status else absent


def _state_of(status: str) -> SubmissionState:
    if status in DONE:
        return SubmissionState.READY
    if status == SKIPPED:
        return SubmissionState.SKIPPED
    return SubmissionState.FAILED if status in FAILED else SubmissionState.INDEXING
