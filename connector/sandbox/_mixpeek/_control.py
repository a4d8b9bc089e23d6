"""The edits of `MixpeekEditor` over HTTP, under ``/_sandbox/mixpeek``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from connector.sandbox._http import RefusedError, Reply, Request, Route, json_reply
from connector.sandbox._mixpeek._editor import MixpeekEditor

__all__ = ["editor_routes"]

_ASSET = "/_sandbox/mixpeek/assets/{asset_id}"
_FEATURE = "/_sandbox/mixpeek/features/{feature_id}"


def editor_routes(editor: MixpeekEditor) -> list[Route]:
    """One route per edit. Bodies are JSON, but those of vectors and fields are served as they came, valid or not.

    ``?touch=false`` leaves the asset's `updated_at` alone.
    """
    edits: dict[tuple[str, str], Callable[[Request], None]] = {
        ("PATCH", f"{_ASSET}/metadata"): lambda r: editor.edit_metadata(r.params[0], _body(r), touch=_touch(r)),
        ("PUT", _ASSET): lambda r: _put_asset(editor, r),
        ("DELETE", _ASSET): lambda r: editor.remove_asset(*r.params),
        ("PUT", f"{_ASSET}/fields/{{name}}"): lambda r: editor.put_asset_field(*_raw(r), touch=_touch(r)),
        ("PUT", f"{_ASSET}/features/{{feature_id}}"): lambda r: _put_feature(editor, r),
        ("DELETE", _FEATURE): lambda r: editor.remove_feature(*r.params, touch=_touch(r)),
        ("PUT", f"{_FEATURE}/fields/{{name}}"): lambda r: editor.put_feature_field(*_raw(r), touch=_touch(r)),
        ("PUT", f"{_FEATURE}/vectors/{{name}}"): lambda r: editor.put_vector(*_raw(r), touch=_touch(r)),
        ("DELETE", f"{_FEATURE}/vectors/{{name}}"): lambda r: editor.remove_vector(*_pair(r), touch=_touch(r)),
    }
    return [Route("control", method, path, _answering(edit)) for (method, path), edit in edits.items()]


def _answering(edit: Callable[[Request], None]) -> Callable[[Request], Reply]:
    def answer(request: Request, /) -> Reply:
        try:
            edit(request)
        except KeyError as missing:
            raise RefusedError(404, f"There is no {missing.args[0]!r}") from None
        return json_reply({})

    return answer


def _put_asset(editor: MixpeekEditor, request: Request) -> None:
    body = _body(request)
    asset = {**body.get("asset", {}), "asset_id": request.params[0]}
    editor.put_asset(asset, body.get("features", ()))


def _put_feature(editor: MixpeekEditor, request: Request) -> None:
    asset_id, feature_id = _pair(request)
    editor.put_feature(asset_id, {**_body(request), "feature_id": feature_id}, touch=_touch(request))


def _body(request: Request) -> dict[str, Any]:
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise RefusedError(400, f"The body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise RefusedError(400, "The body must be a JSON object")
    return body


def _pair(request: Request) -> tuple[str, str]:
    first, second = request.params
    return first, second


def _raw(request: Request) -> tuple[str, str, bytes]:
    return (*_pair(request), request.body)


def _touch(request: Request) -> bool:
    return request.query.get("touch") != "false"
