"""Putting uploads into indexes, changing their metadata there, taking them out."""

from __future__ import annotations

from vectorferry.connector.sandbox._http import RefusedError, Reply, Request, Route, json_reply
from vectorferry.connector.sandbox._twelvelabs._context import Context
from vectorferry.connector.sandbox._twelvelabs._errors import invalid
from vectorferry.connector.sandbox._twelvelabs._forms import json_body, object_in
from vectorferry.connector.sandbox._twelvelabs._imagined import LENGTH, about, imagined
from vectorferry.connector.sandbox._twelvelabs._states import INDEXING, upcoming
from vectorferry.connector.sandbox._twelvelabs._things import Index, IndexedAsset, Spoken, Upload, object_id
from vectorferry.connector.sandbox._twelvelabs._times import later, now

__all__ = ["SubmittingHandlers"]

_PATH = "/indexes/{index_id}/indexed-assets"
_ASSET = f"{_PATH}/{{indexed_asset_id}}"


class SubmittingHandlers:
    """The writes under ``/indexes/{index_id}/indexed-assets``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def routes(self) -> list[Route]:
        """None, for an account that knows only the legacy videos."""
        if not self._context.dialect.indexed_assets:
            return []
        return [
            Route("twelvelabs.indexed_assets.create", "POST", _PATH, self.create),
            Route("twelvelabs.indexed_assets.update", "PATCH", _ASSET, self.update),
            Route("twelvelabs.indexed_assets.delete", "DELETE", _ASSET, self.delete),
        ]

    def create(self, request: Request) -> Reply:
        """Index an upload that is ready; what is in it is made up from its name."""
        index = self._context.index(request.params[0])
        body = json_body(request)
        if not isinstance(body.get("asset_id"), str):
            raise RefusedError(400, "The asset_id parameter is required.", kind="parameter_not_provided")
        upload = self._context.upload(body["asset_id"])
        if upload.status != "ready":
            raise invalid("asset_id", f"The asset is not ready: its status is {upload.status}.")
        asset = self._indexed(index, upload, streamed=body.get("enable_video_stream", True) is True)
        asset.user_metadata = {**upload.user_metadata, **object_in(body, "user_metadata")}
        self._context.account.add(asset)
        index.updated_at = later(index.updated_at)
        reply = json_reply({"_id": asset.indexed_asset_id, "asset_id": upload.asset_id}, 202)
        reply.headers = {"Location": f"{request.origin}{request.path}/{asset.indexed_asset_id}"}
        return reply

    def update(self, request: Request) -> Reply:
        """Change some of the user's metadata; null deletes a value."""
        asset = self._asset(request)
        asset.edit_metadata(object_in(json_body(request), "user_metadata"))
        if self._context.dialect.edits_move_updated_at:
            asset.updated_at = later(asset.updated_at)
        return Reply(b"", 204)

    def delete(self, request: Request) -> Reply:
        """Take it out of the index; the upload stays."""
        self._context.account.remove(self._asset(request).indexed_asset_id)
        return Reply(b"", 204)

    def _asset(self, request: Request) -> IndexedAsset:
        index_id, indexed_asset_id = request.params
        return self._context.indexed_asset(index_id, indexed_asset_id)

    def _indexed(self, index: Index, upload: Upload, *, streamed: bool) -> IndexedAsset:
        made = now()
        account = self._context.account
        return IndexedAsset(
            object_id("submitted", index.index_id, upload.asset_id, len(account.of_upload(upload.asset_id))),
            index.index_id,
            upload.asset_id,
            made,
            made,
            INDEXING[0],
            system_metadata={
                "filename": upload.filename,
                "duration": upload.duration,
                **({"fps": 25, "width": 1280, "height": 720} if upload.file_type.startswith("video/") else {}),
                "size": upload.size,
            },
            segments=tuple(imagined(upload.filename, _options(index, upload), index.model_name, index.dimension)),
            spoken=upload.spoken or (Spoken(0.5, LENGTH, f"This is {about(upload.filename)}."),),
            stream=f"https://media.example.com/submitted/{upload.asset_id}.m3u8" if streamed else None,
            upcoming=upcoming(INDEXING, self._context.dialect.polls_per_state),
        )


def _options(index: Index, upload: Upload) -> list[str]:
    return [one for one in index.options if one == "audio" or upload.file_type.startswith("video/")]
