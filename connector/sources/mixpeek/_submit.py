"""Media handed to Mixpeek by URL, in the form that its API has at an address, and the task that comes of it."""

from __future__ import annotations

import asyncio
import mimetypes
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import BaseModel

from vectorferry.connector._model._errors import ConfigurationError
from vectorferry.connector._model._records import AssetState
from vectorferry.connector._protocols._source import Submission, SubmissionState, SubmitOptions
from vectorferry.connector.http import NotFoundError, one_line
from vectorferry.connector.sources._values import read_object
from vectorferry.connector.sources.mixpeek._api import MixpeekApi, state_of
from vectorferry.connector.sources.mixpeek._submit_settings import MixpeekSubmitSettings

Media: TypeAlias = Literal["video", "image"]

NOVEMBERS: Final = frozenset({"model_id", "json_format", "contextual_text", "prevent_duplicate", "should_save"})
DECEMBERS: Final = frozenset({"enabled", "embedding_model", "field_name", "type", "value"})

METADATA_STAYS: Final = "it stays as it is there, with the metadata that it has"

DONE: Final = frozenset({"DONE", "COMPLETED"})
SKIPPED: Final = "SKIPPED"
FAILED: Final = frozenset({"FAILED", "ERROR", "CANCELLED", "CANCELED"})

A_UUID: Final = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE)
"""What ids of assets look like, for those that the service only mentions in a sentence."""

ASSET_KEYS: Final = ("asset_id", "existing_asset_id", "duplicate_of")
DEEPEST: Final = 4
"""Levels of a task's answer that are searched for these: what is in its `outputs` was never documented."""


@dataclass(frozen=True, slots=True)
class Form:
    """How one release of the API takes files: the path, by the plural of the media, and the names of fields.

    `lacks` are words of settings that it has no place for, `spelled` those that it spells otherwise.
    """

    release: str
    path: str
    collection: str
    lacks: frozenset[str]
    spelled: Mapping[str, str]

    def body(self, collection: str, url: str, media: Media, options: SubmitOptions) -> dict[str, Any]:
        """What is sent. Only what somebody has set is: the service has defaults of its own."""
        settings = _settings_of(options)
        made = settings.image_settings if media == "image" else settings.video_settings or None
        # November's address for everything tells by the name what the settings are for.
        key = self.spelled.get("feature_extractors", f"{media}_settings")
        sent = {
            "metadata": metadata_of(options) or None,
            key: None if made is None else self._written(made),
            "asset_update": self._written(settings.asset_update) if settings.asset_update else None,
            "percolate": self._written(settings.percolate) if settings.percolate else None,
            "should_save": settings.should_save,
            self.spelled.get("skip_duplicate", "skip_duplicate"): _skips(settings, options),
        }
        return {"url": url, self.collection: collection, **{key: one for key, one in sent.items() if one is not None}}

    def _written(self, value: Any) -> Any:
        if isinstance(value, tuple):
            parts = [self._written(part) for part in value]
            # November has one embedding for a piece, and not in a list.
            return parts[0] if parts and "model_id" in parts[0] else parts
        if not isinstance(value, BaseModel):
            return value
        # In the order in which they are declared: the same settings are the same bytes.
        names = [name for name in type(value).model_fields if name in value.model_fields_set]
        return {self.spelled.get(name, name): self._written(getattr(value, name)) for name in names}


_NOVEMBER: Final = Form(
    "November 2024",
    "/index/url",
    "collection_id",
    DECEMBERS | {"entities", "percolate"},
    {"skip_duplicate": "prevent_duplicate"},
)

FORMS: Final = (
    Form(
        "mid December 2024 and later",
        "/ingest/{}s/url",
        "collection",
        NOVEMBERS | {"percolate"},
        {"feature_extractors": "feature_extractors"},
    ),
    _NOVEMBER,
    Form(
        "early December 2024",
        "/index/{}s/url",
        "collection_id",
        NOVEMBERS | {"entities"},
        {"feature_extractors": "feature_extractors", "embedding_model": "vector_index"},
    ),
    replace(_NOVEMBER, path="/index/{}s/url"),
)
"""In the order in which they are tried: each path is another release's, but the last, which December's keys are for
where any were used. Sources: OpenAPI of SDK 0.15 to 0.19; SDK 0.11 and the quickstart guide; SDK of early December 2024
(the first with `X-Namespace`) and the guide "Index image url"; the guide "Embedding storage"."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a task's answer says. `asset_id` is empty where it names none."""

    task_id: str
    status: str
    asset_id: str
    problem: str


class Submitter:
    """Submits over one API. Waits grow from `first_wait` to `longest_wait` seconds between two looks."""

    def __init__(self, api: MixpeekApi, *, first_wait: float = 0.5, longest_wait: float = 15.0) -> None:
        self._api = api
        self._first_wait = first_wait
        self._longest_wait = longest_wait

    async def submit(self, collection: str, url: str, options: SubmitOptions) -> AsyncGenerator[Submission, None]:
        """As `Source.submit` says. Raises `UnsureError` where the request may have been received though no answer
        came; whether it was, the service's own check for duplicates finds out when it is submitted again."""
        media, forms = _media_of(url, options), _forms_for(options)
        task = await self._send(forms, collection, url, media, options)
        yield _submission(url, SubmissionState.INDEXING, task)
        wait, told, known = self._first_wait, task.status, False
        while True:
            state = _state_of(task.status)
            if state is SubmissionState.SKIPPED and not known and (original := await self._unfinished(task)):
                # The same file is still being processed: it is ready when its own task is done.
                task, known = original, True
                continue
            if state is not SubmissionState.INDEXING:
                break
            if task.status != told:
                told = task.status
                yield _submission(url, state, task, known)
            await asyncio.sleep(wait)
            wait = min(1.5 * wait, self._longest_wait)
            task = await self._api.task(task.task_id, read_task)
        if not task.asset_id and state is SubmissionState.READY:
            task = replace(task, asset_id=await self._asset_of(collection, task.task_id))
        last = _submission(url, state, task, known)
        stays = last.known and metadata_of(options)
        yield replace(last, note=METADATA_STAYS) if stays else last

    async def _unfinished(self, skipped: Task) -> Task | None:
        """The task of the file that was there already, while that is not done; None when it is, or nobody knows."""
        try:
            row = await self._api.asset(skipped.asset_id) if skipped.asset_id else {}
            task_id = row.get("task_id")
            if not isinstance(task_id, str) or state_of(row.get("status")) is not AssetState.PENDING:
                return None
            return await self._api.task(task_id, read_task)
        except NotFoundError:
            return None

    async def _send(self, forms: list[Form], collection: str, url: str, media: Media, options: SubmitOptions) -> Task:
        """Under the first path that the service has: nothing is done where it answers 404."""
        missing: NotFoundError | None = None
        for form in forms:
            body = form.body(collection, url, media, options)
            try:
                return await self._api.post(form.path.format(media), body, read_task, kind="index", once=True)
            except NotFoundError as error:
                missing = missing or error
        releases = ", ".join(dict.fromkeys(form.release for form in forms))
        raise NotFoundError(f"{missing} What is in the settings can only be sent as in {releases}.")

    async def _asset_of(self, collection: str, task_id: str) -> str:
        """The asset that a task made, by the list, for tasks whose answer does not say; empty where none does."""
        async for page in self._api.assets(collection):
            for row in page.rows:
                if isinstance(row, dict) and row.get("task_id") == task_id and isinstance(row.get("asset_id"), str):
                    return str(row["asset_id"])
        return ""


def metadata_of(options: SubmitOptions) -> dict[str, Any]:
    """The metadata of an asset: that of the settings, with what was given beside it."""
    return {**_settings_of(options).metadata, **options.metadata}


def check(urls: Sequence[str], options: SubmitOptions) -> None:
    """Raise `ConfigurationError` for settings that no release of the API takes, for an address that neither it nor they
    call a video or an image, and for an asset that several files would replace."""
    _forms_for(options)
    for url in urls:
        _media_of(url, options)
    update = _settings_of(options).asset_update
    if update and update.mode == "replace" and len(set(urls)) > 1:
        raise ConfigurationError("asset_update: one asset cannot be replaced by several files; submit one URL")


def _forms_for(options: SubmitOptions) -> list[Form]:
    used = _settings_of(options).words
    forms = [form for form in FORMS if not form.lacks & used]
    if not forms:
        words = sorted(used & frozenset().union(*(form.lacks for form in FORMS)))
        raise ConfigurationError(
            f"settings: no release of the API takes all of {', '.join(words)} together; docs/mixpeek.md has what goes "
            "with what"
        )
    return forms


def _settings_of(options: SubmitOptions) -> MixpeekSubmitSettings:
    return options.settings if isinstance(options.settings, MixpeekSubmitSettings) else MixpeekSubmitSettings()


def _skips(settings: MixpeekSubmitSettings, options: SubmitOptions) -> bool | None:
    """Whether what is there already is left alone: it is, unless somebody says otherwise or has it updated."""
    said = settings.prevent_duplicate if settings.skip_duplicate is None else settings.skip_duplicate
    if options.again or said is not None:
        return bool(said) and not options.again
    return None if settings.asset_update else True


def _media_of(url: str, options: SubmitOptions) -> Media:
    """Video or image, as the settings say, or the address."""
    settings = _settings_of(options)
    if settings.modality:
        return settings.modality
    kind = (mimetypes.guess_type(urlsplit(url).path)[0] or "").partition("/")[0]
    if kind in ("video", "image"):
        return "image" if kind == "image" else "video"
    has_video, has_image = bool(settings.video_settings), settings.image_settings is not None
    if has_video != has_image:
        return "video" if has_video else "image"
    raise ConfigurationError(
        "an address does not end like a video or an image (.mp4, .jpg, …): say `modality: video` or `image` in a file "
        "for --settings"
    )


def read_task(body: bytes) -> Task:
    """A task from its own answer or from that of a submission. Raises `ValueError` when there is no id."""
    answer = read_object(body)
    task_id, status = answer.get("task_id"), answer.get("status")
    if not isinstance(task_id, str) or not task_id:
        raise ValueError("no task_id")
    word = status.upper() if isinstance(status, str) and status else "PENDING"
    asset_id = _asset_id_in([answer, answer.get("outputs"), answer.get("error")])
    if not asset_id and word == SKIPPED:
        asset_id = next((one for one in A_UUID.findall(_problem(answer)) if one != task_id), "")
    return Task(task_id, one_line(word, 40), asset_id, _problem(answer))


def _asset_id_in(value: Any, levels: int = DEEPEST) -> str:
    """The first text under a key that says it is an asset's id, in what is nested within lists."""
    if isinstance(value, list) and levels:
        return next((found for each in value if (found := _asset_id_in(each, levels - 1))), "")
    named = (value.get(key) for key in ASSET_KEYS) if isinstance(value, dict) else ()
    return next((each for each in named if isinstance(each, str) and each), "")


def _problem(answer: Mapping[str, Any]) -> str:
    error = answer.get("error") or answer.get("message")
    words = error.get("message") if isinstance(error, dict) else error
    return one_line(words) if isinstance(words, str) else ""


def _state_of(status: str) -> SubmissionState:
    if status in DONE:
        return SubmissionState.READY
    if status == SKIPPED:
        return SubmissionState.SKIPPED
    return SubmissionState.FAILED if status in FAILED else SubmissionState.INDEXING


def _submission(url: str, state: SubmissionState, task: Task, was_there: bool = False) -> Submission:
    problem = (task.problem or "the service does not say why") if state is SubmissionState.FAILED else ""
    known = was_there or state is SubmissionState.SKIPPED
    return Submission(url, state, task.asset_id, known, problem, task.status)
