"""``/assets``: the files of the account, wherever they are indexed."""

from __future__ import annotations

import mimetypes
from posixpath import basename
from typing import Any
from urllib.parse import urlsplit

from vectorferry.connector.sandbox._http import RefusedError, Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._twelvelabs._account import Upload, object_id
from vectorferry.connector.sandbox._twelvelabs._dialect import now
from vectorferry.connector.sandbox._twelvelabs._indexes import entries_of, words_of
from vectorferry.connector.sandbox._twelvelabs._media import LENGTH, SCENES
from vectorferry.connector.sandbox._twelvelabs._requests import (
    UPLOADING,
    Context,
    Form,
    flag,
    json_field,
    listed,
    looked_at,
    read_form,
    required,
    upcoming,
    values,
)

__all__ = ["UploadHandlers"]

_ASSET = "/assets/{asset_id}"
_TRANSCRIPTIONS = ("words", "sentences", "utterances")
_PLAYABLE = ("video/", "audio/")


class UploadHandlers:
    """Uploaded files."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """Every route."""
        return [
            Route("twelvelabs.assets.list", "GET", "/assets", self.page),
            Route("twelvelabs.assets.create", "POST", "/assets", self.create),
            Route("twelvelabs.assets.get", "GET", _ASSET, self.get),
            Route("twelvelabs.assets.delete", "DELETE", _ASSET, self.delete),
            Route("twelvelabs.assets.transcription", "GET", f"{_ASSET}/transcription", self.transcription),
        ]

    def page(self, request: Request) -> Reply:
        """One page of files, newest first: there is no other order."""
        found = [one for one in self._context.account.uploads.values() if _wanted(request, one)]
        rows = sorted(found, key=lambda one: one.created_at, reverse=True)
        return listed(request, self._context.dialect, rows, self._shown)

    def get(self, request: Request) -> Reply:
        """One file; one that was just uploaded moves on after each look."""
        upload = self._context.upload(request.params[0])
        reply = json_reply(self._shown(upload))
        looked_at(upload)
        return reply

    def create(self, request: Request) -> Reply:
        """Upload a file from an address, or directly; nothing is ever fetched."""
        form = read_form(request)
        method = required(form, "method")
        source = required(form, {"url": "url", "direct": "file"}.get(method, "method"))
        upload = self._uploaded(form, method, source)
        self._context.account.uploads[upload.asset_id] = upload
        return json_reply(self._shown(upload), 201)

    def delete(self, request: Request) -> Reply:
        """Delete a file; one that is indexed only with ``force=true``, and then it stays in its indexes."""
        upload = self._context.upload(request.params[0])
        if self._context.account.of_upload(upload.asset_id) and not flag(request, "force"):
            raise RefusedError(409, f"Asset {upload.asset_id} is used by indexed assets.", kind="resource_in_use")
        del self._context.account.uploads[upload.asset_id]
        return Reply(b"", 204)

    def transcription(self, request: Request) -> Reply:
        """What is said in a file, in words unless sentences or utterances are asked for."""
        upload = self._context.upload(request.params[0])
        if not upload.file_type.startswith(_PLAYABLE):
            return self._context.found(None, "transcriptions", upload.asset_id)
        if upload.status != "ready":
            return json_reply({"status": "processing"})
        asked = [kind for kind in values(request, "include") if kind in _TRANSCRIPTIONS] or ["words"]
        entries = {kind: entries_of(words_of(upload.spoken) if kind == "words" else upload.spoken) for kind in asked}
        return json_reply({"status": "ready", **entries})

    def _uploaded(self, form: Form, method: str, source: str) -> Upload:
        filename = form.get("filename", [basename(urlsplit(source).path) or "unnamed"])[0]
        dialect = self._context.dialect
        return Upload(
            object_id("uploaded", len(self._context.account.uploads), source),
            filename,
            mimetypes.guess_type(filename)[0] or "video/mp4",
            now(),
            url=source,
            status=UPLOADING[0],
            size=1_000_000,
            duration=SCENES * LENGTH,
            user_metadata=json_field(form, "user_metadata"),
            method=method,
            upcoming=upcoming(UPLOADING, dialect.polls_per_state),
        )

    def _shown(self, upload: Upload) -> dict[str, Any]:
        known = {
            "_id": upload.asset_id,
            "method": upload.method,
            "status": upload.status,
            "filename": upload.filename,
            "file_type": upload.file_type,
            "created_at": self._context.time(upload.created_at),
        }
        optional = {"user_metadata": upload.user_metadata, "size": upload.size, "duration": upload.duration}
        return {**known, **{name: value for name, value in optional.items() if value}, **self._error(upload)}

    def _error(self, upload: Upload) -> dict[str, Any]:
        return {"error": {"message": "The file could not be read."}} if upload.status == "failed" else {}


def _wanted(request: Request, upload: Upload) -> bool:
    ids, kinds = values(request, "asset_ids"), values(request, "asset_types")
    return (
        (not ids or upload.asset_id in ids)
        and (not kinds or upload.file_type.split("/")[0] in kinds)
        and request.query.get("filename", "").lower() in upload.filename.lower()
    )
