"""The collection of an index: its assets listed, and read one by one from their own answers."""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import chain
from typing import Any, Final

from vectorferry.connector._model._errors import IncompleteScanError, QuarantineError
from vectorferry.connector._model._json import is_too_deep, parse_json
from vectorferry.connector._model._limits import AssetBudget, SourceLimits
from vectorferry.connector._model._records import Asset, AssetState, Listing, Modality, Reason, record
from vectorferry.connector.http import NotFoundError, RefusedError, UnreadableError, one_line
from vectorferry.connector.sources._pages import Tally
from vectorferry.connector.sources._reading import NotReadyError, asset_from, check_id
from vectorferry.connector.sources._values import fingerprint_of, lasting, moment, read_time
from vectorferry.connector.sources._vectors import LiftedVectors, read_lifted
from vectorferry.connector.sources.twelvelabs._api import TwelveLabsApi
from vectorferry.connector.sources.twelvelabs._features import (
    VECTOR_KEYS,
    Features,
    Owner,
    Speech,
    read_speech,
    speech_length,
)
from vectorferry.connector.sources.twelvelabs._indexes import Index, ReadOptions

LONG: Final = 3_600.0
"""From this many seconds on, an asset's answer has tens of megabytes."""

LONG_AT_ONCE: Final = 2
"""So many of these answers are in memory together; one arrives while the other is read."""

UNSETTLED: Final = "unsettled"
"""Part of the turn of an asset that the next run is to read again, since there was more to come."""

PARAMETERS: Final = frozenset({"parameter_invalid", "parameter_unknown"})
PARTS: Final = {kind: f"{kind}_embedding" for kind in ("video", "audio", "image", "text", "document")}
BULKY: Final = frozenset({"embedding", "transcription"})
NAMED: Final = frozenset(
    {*BULKY, "_id", "asset_id", "index_id", "status", "created_at", "updated_at", "user_metadata"}
    | {"system_metadata", "metadata"}
)


class IndexedAssets:
    """Lists and reads the assets of one index."""

    def __init__(self, api: TwelveLabsApi, index: Index, options: ReadOptions) -> None:
        self._api = api
        self._index = index
        self._options = options
        self._details = DetailReader(api.host, index, options)
        self._long: set[str] = set()
        self._room_for_long = asyncio.Semaphore(LONG_AT_ONCE)

    async def scan(self) -> AsyncGenerator[Listing, None]:
        """Every asset once; raises `IncompleteScanError` at its end unless the rows agree with a total that never fell
        from the first page to the last, and are those of a list that names every asset."""
        tally = Tally("assets", "_id", grows=True)
        # Other settings need another answer, and the index's name is a column of every feature.
        asked_for = [list(self._options.of(self._index)), self._options.transcriptions, self._index.name]
        async with aclosing(self._api.assets(self._index.index_id)) as pages:
            async for page in pages:
                for row in tally.fresh(page):
                    system = system_metadata(row)
                    self._note_length(row, system)
                    # What changes with the asset. The older list gives no status.
                    times = moment(row.get("updated_at")), moment(row.get("indexed_at"))
                    fingerprint = fingerprint_of([row.get("status") or "ready", *times, system, *asked_for])
                    yield Listing(row["_id"], fingerprint, state_of(row))
        tally.check()
        if self._api.is_listed_as_videos(self._index.index_id):
            raise IncompleteScanError(
                "the older list of videos may leave out what is not ready, so nothing is deleted", unknowable=True
            )

    def _note_length(self, row: Mapping[str, Any], system: Any) -> None:
        duration = system.get("duration") if isinstance(system, dict) else None
        if isinstance(duration, int | float) and duration >= LONG:
            self._long.add(row["_id"])

    async def read(self, listing: Listing) -> Asset:
        """An asset with features and vectors. Raises what `DetailReader.read` raises."""
        check_id(listing.asset_id)
        if listing.asset_id in self._long:
            async with self._room_for_long:
                detail = await self._detail(listing.asset_id)
        else:
            detail = await self._detail(listing.asset_id)
        settled = await self._add_speech(detail) and detail.settled
        if not settled and self._options.is_recent(detail.indexed_at):
            listing = replace(listing, turn=UNSETTLED)
        return detail.asset(listing)

    async def _detail(self, asset_id: str) -> Detail:
        try:
            return await self._api.asset(
                self._index.index_id,
                asset_id,
                self._options.of(self._index),
                transcription=self._options.transcription,
                decode=partial(self._details.read, asset_id),
            )
        except RefusedError as error:
            refused = error
        raise self._explained(refused)

    def _explained(self, refused: RefusedError) -> RefusedError:
        if refused.code not in PARAMETERS:
            return refused
        has = ", ".join(self._index.options or ()) or "none that is known"
        return RefusedError(
            f"{refused} The index says that it was made with {has}; leave what it refuses out of source.options: each "
            "index is asked for those of them that it has.",
            status=refused.status,
            code=refused.code,
        )

    async def _add_speech(self, detail: Detail) -> bool:
        """Whether that is all there will be: the asset's own transcription may not be ready yet."""
        parts, finer, settled = self._options.finer, None, True
        if parts and detail.upload_id:
            finer, settled = await self._finer_speech(parts, detail.upload_id)
        if parts and finer is not None:
            detail.features.add_speech(finer, parts)
        elif self._options.entries:
            detail.features.add_speech(detail.speech, "transcription")
        return settled

    async def _finer_speech(self, parts: str, upload_id: str) -> tuple[Speech | None, bool]:
        """None where the service has no such transcription, or not yet; many assets have none."""
        try:
            return await self._api.transcription(upload_id, parts, partial(_own_speech, parts, self._options.limits))
        except NotFoundError:
            return None, True
        except QuarantineError as error:
            if error.reason == Reason.OVER_LIMIT:
                raise
            return None, True


def _own_speech(parts: str, limits: SourceLimits, body: bytes) -> tuple[Speech | None, bool]:
    answer = parse_json(body)
    if not isinstance(answer, dict):
        raise ValueError("not a JSON object")
    status = answer.get("status")
    if status in (None, "ready") and parts in answer:
        AssetBudget(limits).spend(speech_length(answer[parts]))
        return read_speech(answer[parts]), True
    return None, status not in ("pending", "processing")


@record
class Detail:
    """What an answer says: the asset itself, its features so far, and what is spoken in it.

    `upload_id` is the file's id in the account, None when the answer does not say.
    """

    description: Mapping[str, Any]
    modality: Modality
    features: Features
    speech: Speech
    upload_id: str | None
    index_name: str | None

    @property
    def settled(self) -> bool:
        """Whether its stream is there, if it is to have one."""
        stream = self.description.get("hls")
        return not isinstance(stream, dict) or stream.get("status") != "PROCESSING"

    @property
    def indexed_at(self) -> datetime | None:
        """When it was made ready, as far as that is known."""
        return read_time(self.description.get("indexed_at")) or read_time(self.description.get("updated_at"))

    def asset(self, listing: Listing) -> Asset:
        """The record of the asset with these features."""
        stream = self.description.get("hls")
        return asset_from(
            listing,
            self.description,
            modality=self.modality.value,
            url=stream.get("video_url") if isinstance(stream, dict) else None,
            metadata=self.description.get("user_metadata"),
            fields=self._fields(),
            features=self.features.good.values(),
            rejected=self.features.rejected,
        )

    def _fields(self) -> dict[str, Any]:
        fields = {key: value for key, value in self.description.items() if key not in NAMED}
        fields["system_metadata"] = system = system_metadata(self.description)
        fields["filename"] = _text(system.get("filename")) if isinstance(system, dict) else None
        fields["index_name"] = self.index_name
        fields["uploaded_asset_id"] = self.upload_id
        described: dict[str, Any] = lasting({key: value for key, value in fields.items() if value is not None})
        return described


@dataclass(frozen=True, slots=True)
class DetailReader:
    """Reads the answers about one index's assets."""

    host: str
    index: Index
    options: ReadOptions

    def read(self, asset_id: str, body: bytes) -> Detail:
        """The answer about this asset.

        Raises `ValueError` when it is none, `UnreadableError` when it lacks what was asked for or is about another
        asset, `NotReadyError` when the asset is being processed again, and `QuarantineError` when it is nested too
        deeply. An answer that lacks embeddings says nothing about them: it would remove those in a destination.
        """
        return read_lifted(body, VECTOR_KEYS, lambda answer, vectors: self._detail(asset_id, answer, vectors))

    def _detail(self, asset_id: str, answer: Any, vectors: LiftedVectors) -> Detail:
        if not isinstance(answer, dict):
            raise ValueError("not a JSON object")
        description = {key: value for key, value in answer.items() if key not in BULKY}
        self._check(asset_id, description, vectors)
        embedding = answer.get("embedding")
        rows = self._rows(embedding)
        # One vector each.
        AssetBudget(self.options.limits).spend(len(rows) + speech_length(answer.get("transcription")), len(rows))
        speech = read_speech(answer.get("transcription"))
        modality = modality_of(system_metadata(description), rows)
        features = Features(Owner(self.index.index_id, asset_id))
        if rows:
            model = self._model(embedding)
            features.add_segments(rows, vectors, model=model, modality=modality, speech=speech, options_named=True)
            self._check_usable(features)
        return Detail(description, modality, features, speech, _text(description.get("asset_id")), self.index.name)

    def _check(self, asset_id: str, description: Mapping[str, Any], vectors: LiftedVectors) -> None:
        if description.get("_id") not in (None, asset_id):
            raise UnreadableError(f"{self.host} answered for another asset than the one asked for.")
        if not vectors.around_is_shallow and is_too_deep(description):
            raise QuarantineError(Reason.MALFORMED, "what the service says of the asset is nested too deeply")
        if state_of(description) is not AssetState.READY:
            raise NotReadyError(f"Its status is {one_line(str(description['status']), 60)} by now.")

    def _rows(self, embedding: Any) -> list[Any]:
        rows = segment_rows(embedding)
        options = self.options.of(self.index)
        if rows is None and options:
            raise UnreadableError(
                f"{self.host} sent no embeddings though {', '.join(options)} were asked for. "
                "Leave what it does not have out of source.options."
            )
        return rows or []

    def _check_usable(self, features: Features) -> None:
        """One malformed segment is set aside; when no other has a vector, it is the answer that is malformed."""
        if not features.rejected:
            return
        has_vectors = any(feature.vectors for feature in features.good.values())
        if not has_vectors and all(record.reason is Reason.MALFORMED for record in features.rejected):
            raise UnreadableError(
                f"{self.host} sent {len(features.rejected)} segments and none that is usable: "
                f"{features.rejected[0].detail}."
            )

    def _model(self, embedding: Any) -> str:
        model = _text(embedding.get("model_name")) or self.index.model_name
        if not model:
            raise UnreadableError(f"{self.host} does not say which model made these embeddings.")
        return model


def state_of(row: Mapping[str, Any]) -> AssetState:
    """Whether TwelveLabs has finished with it: pending, queued, indexing, validating and what nobody knows yet are
    waited for. The older list of videos has no status at all."""
    status = row.get("status")
    if status in (None, "ready"):
        return AssetState.READY
    return AssetState.FAILED if status == "failed" else AssetState.PENDING


def system_metadata(row: Mapping[str, Any]) -> Any:
    """What the service found out about a file; `metadata` is what this was called before."""
    return row["system_metadata"] if "system_metadata" in row else row.get("metadata")


def segment_rows(answer: Any) -> list[Any] | None:
    """The segments under ``video_embedding`` and its like; None when there is no list of them at all."""
    lists = [part["segments"] for _, part in _parts(answer) if isinstance(part.get("segments"), list)]
    return list(chain.from_iterable(lists)) if lists else None


def media_of(answer: Any) -> tuple[str | None, Mapping[str, Any]]:
    """What kind of media an embedding task is of (``video``, ``audio``, …), and what it says of them."""
    for kind, part in _parts(answer):
        metadata = part.get("metadata")
        return kind, metadata if isinstance(metadata, dict) else {}
    return None, {}


def modality_of(system: Any, rows: list[Any]) -> Modality:
    """Audio when nothing about a file can be seen. Everything else is a video: an index takes nothing but these."""
    described: Mapping[str, Any] = system if isinstance(system, dict) else {}
    if any(isinstance(row, dict) and row.get("embedding_option") == "visual" for row in rows):
        return Modality.VIDEO
    if described.get("width") or described.get("height") or described.get("fps"):
        return Modality.VIDEO
    file_type, _ = mimetypes.guess_type(str(described.get("filename")))
    return Modality.AUDIO if (file_type or ("audio" if rows else "video")).startswith("audio") else Modality.VIDEO


def _parts(answer: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for kind, key in PARTS.items() if isinstance(answer, dict) else ():
        if key in answer and isinstance(part := answer[key], dict):
            yield kind, part


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
