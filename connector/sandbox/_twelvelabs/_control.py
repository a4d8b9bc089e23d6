"""The edits of `TwelveLabsEditor` over HTTP, under ``/_sandbox/twelvelabs``."""

from __future__ import annotations

from typing import Any

from vectorferry.connector.sandbox._edit_routes import Edit, edit_routes, json_object, raw_field, touches
from vectorferry.connector.sandbox._http import Request, Route
from vectorferry.connector.sandbox._twelvelabs._editor import TwelveLabsEditor

__all__ = ["editor_routes"]

_BASE = "/_sandbox/twelvelabs"
_INDEX = f"{_BASE}/indexes/{{index_id}}"
_ASSET = f"{_BASE}/assets/{{asset_id}}"


def editor_routes(editor: TwelveLabsEditor) -> list[Route]:
    """One route per edit. Bodies are JSON, but those of vectors and fields are served as they came, valid or not.

    ``?touch=false`` leaves the asset's `updated_at` alone.
    """
    edits: dict[tuple[str, str], Edit] = {
        ("GET", _BASE): lambda _: {"indexes": {one: editor.asset_ids(one) for one in editor.index_ids()}},
        ("PUT", _INDEX): lambda r: _put_index(editor, r),
        ("DELETE", _INDEX): lambda r: editor.remove_index(*r.params),
        ("POST", f"{_INDEX}/reembed"): lambda r: _reembed(editor, r),
        ("POST", f"{_INDEX}/assets"): lambda r: _id(editor.put_asset(r.params[0], json_object(r))),
        ("DELETE", _ASSET): lambda r: editor.remove_asset(*r.params),
        ("PATCH", f"{_ASSET}/metadata"): lambda r: editor.edit_metadata(r.params[0], json_object(r), touch=touches(r)),
        ("PUT", f"{_ASSET}/status"): lambda r: editor.set_status(r.params[0], str(json_object(r)["status"])),
        ("POST", f"{_ASSET}/reembed"): lambda r: _reembed(editor, r),
        ("PUT", f"{_ASSET}/fields/{{name}}"): lambda r: editor.put_field(*raw_field(r), touch=touches(r)),
        ("PUT", f"{_ASSET}/vectors/{{place}}"): lambda r: _put_vector(editor, r),
        ("PUT", f"{_BASE}/uploads/{{upload_id}}/status"): lambda r: editor.set_upload_status(
            r.params[0], str(json_object(r)["status"])
        ),
        ("PUT", f"{_BASE}/entity-collections/{{name}}"): lambda r: _id(editor.put_entity_collection(*r.params)),
        ("DELETE", f"{_BASE}/entity-collections/{{id}}"): lambda r: editor.remove_entity_collection(*r.params),
        ("POST", f"{_BASE}/entity-collections/{{id}}/entities"): lambda r: _put_entity(editor, r),
        ("DELETE", f"{_BASE}/entities/{{id}}"): lambda r: editor.remove_entity(*r.params),
        ("DELETE", f"{_BASE}/embed-tasks/{{id}}"): lambda r: editor.remove_embed_task(*r.params),
    }
    return edit_routes(edits)


def _put_index(editor: TwelveLabsEditor, request: Request) -> dict[str, Any]:
    body = json_object(request)
    known = {name: body[name] for name in ("model_name", "options", "dimension") if name in body}
    return _id(editor.put_index(body["name"], request.params[0], **known))


def _reembed(editor: TwelveLabsEditor, request: Request) -> None:
    dimension = json_object(request).get("dimension") if request.body else None
    editor.reembed(request.params[0], dimension, touch=touches(request))


def _put_vector(editor: TwelveLabsEditor, request: Request) -> None:
    asset_id, place, value = raw_field(request)
    editor.put_vector(asset_id, int(place), value, touch=touches(request))


def _put_entity(editor: TwelveLabsEditor, request: Request) -> dict[str, Any]:
    body = json_object(request)
    known = {name: body[name] for name in ("description", "metadata", "asset_ids", "status") if name in body}
    return _id(editor.put_entity(request.params[0], body["name"], body.get("entity_id"), **known))


def _id(made: str) -> dict[str, str]:
    return {"_id": made}
