"""An indexed asset's own answer, and where it keeps its segments. Pure."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from vectorferry.connector._model._errors import QuarantineError
from vectorferry.connector._model._json import is_too_deep
from vectorferry.connector._model._records import Asset, AssetState, Listing, Modality, Reason
from vectorferry.connector.http import UnreadableError, one_line
from vectorferry.connector.sources._lifted import LiftedVectors, read_lifted
from vectorferry.connector.sources._pages import is_signed, lasting, read_time
from vectorferry.connector.sources._reading import NotReadyError
from vectorferry.connector.sources.twelvelabs._asked import Asked
from vectorferry.connector.sources.twelvelabs._features import Features, Owner, Speech, read_speech
from vectorferry.connector.sources.twelvelabs._listing import Index, state_of, system_metadata

__all__ = ["Detail", "DetailReader", "media_of", "segment_rows"]


def segment_rows(answer: Any) -> list[Any] | None:
    """The segments under ``video_embedding`` and its like; None when there is no list of them at all."""
    found = [part["segments"] for _, part in _parts(answer) if isinstance(part.get("segments"), list)]
    return [row for rows in found for row in rows] if found else None


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
    for kind in ("video", "audio", "image", "text", "document"):
        part = answer.get(f"{kind}_embedding") if isinstance(answer, dict) else None
        if isinstance(part, dict):
            yield kind, part


# An indexed asset's own answer. Pure.


BULKY: Final = frozenset({"embedding", "transcription"})


NAMED: Final = frozenset(
    {*BULKY, "_id", "asset_id", "index_id", "status", "created_at", "updated_at", "user_metadata"}
    | {"system_metadata", "metadata"}
)


@dataclass(frozen=True, slots=True)
class Detail:
    """What an answer says: the asset itself, its features so far, and what is spoken in it.

    `upload_id` is the file's id in the account, None when the answer does not say.
    """

    description: Mapping[str, Any]
    modality: Modality
    features: Features
    speech: Speech
    upload_id: str | None

    @property
    def settled(self) -> bool:
        """Whether its stream is there, if it is to have one."""
        stream = self.description.get("hls")
        return not isinstance(stream, dict) or stream.get("status") != "PROCESSING"

    @property
    def indexed_at(self) -> datetime | None:
        """When it was made ready, as far as that is known."""
        told = self.description
        return read_time(told.get("indexed_at")) or read_time(told.get("updated_at"))

    def asset(self, listing: Listing) -> Asset:
        """The record of the asset with these features."""
        told = self.description
        metadata, stream = told.get("user_metadata"), told.get("hls")
        url = stream.get("video_url") if isinstance(stream, dict) else None
        return Asset(
            asset_id=listing.asset_id,
            fingerprint=listing.fingerprint,
            modality=self.modality.value,
            url=url if isinstance(url, str) and not is_signed(url) else None,
            status=_text(told.get("status")),
            metadata=metadata if isinstance(metadata, dict) else {},
            created_at=read_time(told.get("created_at")),
            updated_at=read_time(told.get("updated_at")),
            fields=self._fields(),
            features=tuple(self.features.good.values()),
            rejected=tuple(self.features.rejected),
            turn=listing.turn,
        )

    def _fields(self) -> dict[str, Any]:
        told = {key: value for key, value in self.description.items() if key not in NAMED}
        told["system_metadata"] = system_metadata(self.description)
        told["uploaded_asset_id"] = self.upload_id
        return {key: lasting(value) for key, value in told.items() if value is not None and not is_signed(value)}


@dataclass(frozen=True, slots=True)
class DetailReader:
    """Reads the answers about one index's assets."""

    host: str
    index: Index
    asked: Asked

    def read(self, asset_id: str, body: bytes) -> Detail:
        """The answer about this asset.

        Raises `ValueError` when it is none, `UnreadableError` when it lacks what was asked for or is about another
        asset, `NotReadyError` when the asset is being processed again, and `QuarantineError` when it is nested too
        deeply. An answer that lacks embeddings says nothing about them: it would remove those in a destination.
        """
        return read_lifted(body, lambda answer, vectors: self._detail(asset_id, answer, vectors))

    def _detail(self, asset_id: str, answer: Any, vectors: LiftedVectors) -> Detail:
        if not isinstance(answer, dict):
            raise ValueError("not a JSON object")
        description = {key: value for key, value in answer.items() if key not in BULKY}
        self._check(asset_id, description)
        speech = read_speech(answer.get("transcription"))
        embedding = answer.get("embedding")
        rows = self._rows(embedding)
        modality = modality_of(system_metadata(description), rows)
        features = Features(Owner(self.index.index_id, asset_id))
        if rows:
            model = self._model(embedding)
            features.add_segments(rows, vectors, model=model, modality=modality, speech=speech, options_named=True)
            self._check_usable(features)
        return Detail(description, modality, features, speech, _text(description.get("asset_id")))

    def _check(self, asset_id: str, description: Mapping[str, Any]) -> None:
        if description.get("_id") not in (None, asset_id):
            raise UnreadableError(f"{self.host} answered for another asset than the one asked for.")
        if is_too_deep(description):
            raise QuarantineError(Reason.MALFORMED, "what the service says of the asset is nested too deeply")
        if state_of(description) is not AssetState.READY:
            raise NotReadyError(f"Its status is {one_line(str(description['status']), 60)} by now.")

    def _rows(self, embedding: Any) -> list[Any]:
        rows = segment_rows(embedding)
        options = self.asked.options_of(self.index)
        if rows is None and options:
            raise UnreadableError(
                f"{self.host} sent no embeddings though {', '.join(options)} were asked for. "
                "Leave what it does not have out of source.options."
            )
        return rows or []

    def _check_usable(self, features: Features) -> None:
        """One malformed segment is set aside; when no other has a vector, it is the answer that is malformed."""
        has_vectors = any(feature.vectors for feature in features.good.values())
        if not has_vectors and all(one.reason is Reason.MALFORMED for one in features.rejected):
            raise UnreadableError(
                f"{self.host} sent {len(features.rejected)} segments and none that is usable: "
                f"{features.rejected[0].detail}."
            )

    def _model(self, embedding: Any) -> str:
        model = _text(embedding.get("model_name")) or self.index.model_name
        if not model:
            raise UnreadableError(f"{self.host} does not say which model made these embeddings.")
        return model


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
