"""``/assets``: the files of the account, wherever they are indexed."""

from __future__ import annotations

import mimetypes
from posixpath import basename
from typing import Any
from urllib.parse import urlsplit

from vectorferry.connector.sandbox._http import Handlers, RefusedError, Reply, Request, json_reply
from vectorferry.connector.sandbox._twelvelabs._account import Upload, now, object_id
from vectorferry.connector.sandbox._twelvelabs._indexes import entries_of, words_of
from vectorferry.connector.sandbox._twelvelabs._requests import (
    UPLOADING,
    Context,
    flag,
    json_field,
    listed,
    looked_at,
    read_form,
    required,
    values,
)
from vectorferry.connector.sandbox._twelvelabs._sample import LENGTH, SCENES

uploads: Handlers[Context] = Handlers()
_ASSET = "/assets/{asset_id}"
_TRANSCRIPTIONS = ("words", "sentences", "utterances")
_PLAYABLE = ("video/", "audio/")


@uploads("twelvelabs.assets.list", "GET", "/assets")
def _page(context: Context, request: Request) -> Reply:
    # Newest first: there is no other order.
    name = request.query.get("filename", "").lower()
    named = (one for one in context.account.uploads.values() if name in one.filename.lower())
    return listed(context, request, sorted(named, key=lambda one: one.created_at, reverse=True), _show)


@uploads("twelvelabs.assets.get", "GET", _ASSET)
def _get(context: Context, request: Request) -> Reply:
    # One that was just uploaded moves on after each look.
    upload = context.upload(request.params[0])
    reply = json_reply(_show(context, upload))
    looked_at(upload)
    return reply


@uploads("twelvelabs.assets.create", "POST", "/assets")
def _create(context: Context, request: Request) -> Reply:
    # From an address, or directly; nothing is ever fetched.
    form = read_form(request)
    method = required(form, "method")
    source = required(form, {"url": "url", "direct": "file"}.get(method, "method"))
    filename = form.get("filename", [basename(urlsplit(source).path) or "unnamed"])[0]
    upload = Upload(
        object_id("uploaded", len(context.account.uploads), source),
        filename,
        mimetypes.guess_type(filename)[0] or "video/mp4",
        now(),
        url=source,
        status=UPLOADING[0],
        size=1_000_000,
        duration=SCENES * LENGTH,
        user_metadata=json_field(form, "user_metadata") if context.dialect.upload_metadata else {},
        method=method,
        upcoming=UPLOADING[1:],
    )
    context.account.uploads[upload.asset_id] = upload
    return json_reply(_show(context, upload), 201)


@uploads("twelvelabs.assets.delete", "DELETE", _ASSET)
def _delete(context: Context, request: Request) -> Reply:
    # One that is indexed only with ``force=true``, and then it stays in its indexes.
    upload = context.upload(request.params[0])
    if context.account.of_upload(upload.asset_id) and not flag(request, "force"):
        raise RefusedError(409, f"Asset {upload.asset_id} is used by indexed assets.", kind="resource_in_use")
    del context.account.uploads[upload.asset_id]
    return Reply(b"", 204)


@uploads("twelvelabs.assets.transcription", "GET", f"{_ASSET}/transcription")
def _transcription(context: Context, request: Request) -> Reply:
    # In words unless sentences or utterances are asked for.
    upload = context.upload(request.params[0])
    if not upload.file_type.startswith(_PLAYABLE):
        return context.require(None, "transcriptions", upload.asset_id)
    if upload.status != "ready":
        return json_reply({"status": "processing"})
    kinds = [kind for kind in values(request, "include") if kind in _TRANSCRIPTIONS] or ["words"]
    sentences, words = entries_of(upload.utterances), entries_of(words_of(upload.utterances))
    return json_reply({"status": "ready", **{kind: words if kind == "words" else sentences for kind in kinds}})


def _show(context: Context, upload: Upload) -> dict[str, Any]:
    shown = {
        "_id": upload.asset_id,
        "method": upload.method,
        "status": upload.status,
        "filename": upload.filename,
        "file_type": upload.file_type,
        "created_at": context.time(upload.created_at),
    }
    optional = {"user_metadata": upload.user_metadata, "size": upload.size, "duration": upload.duration}
    error = {"error": {"message": "The file could not be read."}} if upload.status == "failed" else {}
    return {**shown, **{name: value for name, value in optional.items() if value}, **error}
