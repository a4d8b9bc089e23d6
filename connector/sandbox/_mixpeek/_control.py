"""The edits of `MixpeekEditor` over HTTP, under ``/_sandbox/mixpeek``."""

from __future__ import annotations

from vectorferry.connector.sandbox._edit_routes import Edit, edit_routes, json_object, pair, raw_field, touches
from vectorferry.connector.sandbox._http import Request, Route
from vectorferry.connector.sandbox._mixpeek._editor import MixpeekEditor

__all__ = ["editor_routes"]

_ASSET = "/_sandbox/mixpeek/assets/{asset_id}"
_FEATURE = "/_sandbox/mixpeek/features/{feature_id}"


def editor_routes(editor: MixpeekEditor) -> list[Route]:
    """One route per edit. Bodies are JSON, but those of vectors and fields are served as they came, valid or not.

    ``?touch=false`` leaves the asset's `updated_at` alone.
    """
    edits: dict[tuple[str, str], Edit] = {
        ("PATCH", f"{_ASSET}/metadata"): lambda r: editor.edit_metadata(r.params[0], json_object(r), touch=touches(r)),
        ("PUT", _ASSET): lambda r: _put_asset(editor, r),
        ("DELETE", _ASSET): lambda r: editor.remove_asset(*r.params),
        ("PUT", f"{_ASSET}/fields/{{name}}"): lambda r: editor.put_asset_field(*raw_field(r), touch=touches(r)),
        ("PUT", f"{_ASSET}/features/{{feature_id}}"): lambda r: _put_feature(editor, r),
        ("DELETE", _FEATURE): lambda r: editor.remove_feature(*r.params, touch=touches(r)),
        ("PUT", f"{_FEATURE}/fields/{{name}}"): lambda r: editor.put_feature_field(*raw_field(r), touch=touches(r)),
        ("PUT", f"{_FEATURE}/vectors/{{name}}"): lambda r: editor.put_vector(*raw_field(r), touch=touches(r)),
        ("DELETE", f"{_FEATURE}/vectors/{{name}}"): lambda r: editor.remove_vector(*pair(r), touch=touches(r)),
    }
    return edit_routes(edits)


def _put_asset(editor: MixpeekEditor, request: Request) -> None:
    body = json_object(request)
    asset = {**body.get("asset", {}), "asset_id": request.params[0]}
    editor.put_asset(asset, body.get("features", ()))


def _put_feature(editor: MixpeekEditor, request: Request) -> None:
    asset_id, feature_id = pair(request)
    editor.put_feature(asset_id, {**json_object(request), "feature_id": feature_id}, touch=touches(request))
