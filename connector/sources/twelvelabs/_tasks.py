"""The collections of embedding tasks: what was embedded in the last seven days without an index."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from functools import partial
from typing import Any, Final

from vectorferry.connector._model._errors import IncompleteScanError, QuarantineError
from vectorferry.connector._model._json import is_too_deep
from vectorferry.connector._model._limits import AssetBudget, SourceLimits
from vectorferry.connector._model._records import Asset, AssetState, Listing, Modality, Reason
from vectorferry.connector.http import UnreadableError, one_line
from vectorferry.connector.sources._pages import Tally
from vectorferry.connector.sources._reading import LeftOutError, NotReadyError, asset_from, check_id
from vectorferry.connector.sources._values import fingerprint_of, lasting, moment
from vectorferry.connector.sources._vectors import LiftedVectors, read_lifted
from vectorferry.connector.sources.twelvelabs._api import TaskKind, TwelveLabsApi
from vectorferry.connector.sources.twelvelabs._features import VECTOR_KEYS, Features, Owner, Speech
from vectorferry.connector.sources.twelvelabs._indexed_assets import media_of, segment_rows, state_of

TASKS: Final[Mapping[str, TaskKind]] = {"embed-tasks": "embed", "embed-v2-tasks": "embed-v2"}
"""The collections, with what the API calls them."""

MODALITIES: Final = {
    "audio": Modality.AUDIO,
    "image": Modality.IMAGE,
    "text_image": Modality.IMAGE,
    "text": Modality.TEXT,
    "document": Modality.TEXT,
}
"""Everything else is a video."""


class EmbedTasks:
    """Lists and reads the tasks of one generation. A task's answer comes with all embedding options."""

    def __init__(self, api: TwelveLabsApi, collection: str, limits: SourceLimits) -> None:
        self._api = api
        self._limits = limits
        self._collection = collection
        self._kind = TASKS[collection]
        self._models: dict[str, str] = {}
        self._listed = False
        self._learning = asyncio.Lock()

    async def scan(self) -> AsyncGenerator[Listing, None]:
        """Every task of the last seven days once. Always raises `IncompleteScanError` at its end: a task that is not
        listed any more has not been deleted."""
        tally = Tally("tasks", "_id")
        async for page in self._api.tasks(self._kind):
            for row in tally.fresh(page):
                self._note_model(row)
                yield Listing(row["_id"], _fingerprint(row), state_of(row))
        raise IncompleteScanError(
            "the service lists embedding tasks for seven days only, so nothing is deleted", unknowable=True
        )

    async def read(self, listing: Listing) -> Asset:
        """A task as an asset. Raises `LeftOutError` when its vectors are gone."""
        check_id(listing.asset_id)
        model = await self._model(listing.asset_id) if self._kind == "embed-v2" else None
        decode = partial(self._decoded, listing, model)
        return await self._api.task(self._kind, listing.asset_id, decode)

    async def _model(self, task_id: str) -> str | None:
        """The answers of the second generation do not say which model made the vectors; only its list does."""
        async with self._learning:
            if task_id not in self._models and not self._listed:
                async for page in self._api.tasks(self._kind):
                    for row in Tally("tasks", "_id").fresh(page):
                        self._note_model(row)
                self._listed = True
        return self._models.get(task_id)

    def _note_model(self, row: Mapping[str, Any]) -> None:
        if isinstance(row.get("model_name"), str):
            self._models[row["_id"]] = row["model_name"]

    def _decoded(self, listing: Listing, model: str | None, body: bytes) -> Asset:
        return read_lifted(body, VECTOR_KEYS, partial(self._task, listing, model))

    def _task(self, listing: Listing, model: str | None, answer: Any, vectors: LiftedVectors) -> Asset:
        if not isinstance(answer, dict):
            raise ValueError("not a JSON object")
        _check(self._api.host, listing.asset_id, answer)
        if is_too_deep(answer):
            raise QuarantineError(Reason.MALFORMED, "what the service says of the task is nested too deeply")
        rows = answer.get("data") if self._kind == "embed-v2" else segment_rows(answer)
        if not isinstance(rows, list) or not rows:
            raise LeftOutError("Its vectors are not there, or not any more.")
        AssetBudget(self._limits).spend(len(rows), len(rows))  # one vector each
        model = answer.get("model_name") or model
        if not isinstance(model, str):
            raise UnreadableError(f"{self._api.host} does not say which model made these embeddings.")
        kind, media = _media(answer)
        modality = MODALITIES.get(kind or "", Modality.VIDEO)
        features = Features(Owner(self._collection, listing.asset_id))
        features.add_segments(rows, vectors, model=model, modality=modality, speech=Speech())
        return asset_from(
            listing,
            answer,
            modality=modality.value,
            url=media.get("input_url"),
            metadata=None,
            fields=lasting(_fields(media, model)),
            features=features.good.values(),
            rejected=features.rejected,
        )


def _fields(media: Mapping[str, Any], model: str) -> dict[str, Any]:
    filename = media.get("input_filename")
    named = {"filename": filename} if isinstance(filename, str) else {}
    return {**{key: value for key, value in media.items() if key != "input_url"}, "model_name": model, **named}


def _media(answer: Mapping[str, Any]) -> tuple[str | None, Mapping[str, Any]]:
    metadata = answer.get("metadata")
    if isinstance(metadata, dict):
        return str(metadata.get("input_type")), metadata
    return media_of(answer)


def _check(host: str, task_id: str, answer: Mapping[str, Any]) -> None:
    if answer.get("_id") not in (None, task_id):
        raise UnreadableError(f"{host} answered for another task than the one asked for.")
    if state_of(answer) is not AssetState.READY:
        raise NotReadyError(f"Its status is {one_line(str(answer['status']), 60)} by now.")


def _fingerprint(row: Mapping[str, Any]) -> str:
    times = (moment(row.get("created_at")), moment(row.get("updated_at")))
    return fingerprint_of([row.get("status"), *times, row.get("model_name")])
