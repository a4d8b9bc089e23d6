"""What the edits over HTTP of every service share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from vectorferry.connector.sandbox._http import RefusedError, Reply, Request, Route, json_reply

__all__ = ["Edit", "edit_routes", "json_object", "pair", "raw_field", "touches"]

Edit = Callable[[Request], object]


def edit_routes(edits: Mapping[tuple[str, str], Edit]) -> list[Route]:
    """One route per method and path; what the edit returns, or an empty object, is the answer."""
    return [Route("control", method, path, _answering(edit)) for (method, path), edit in edits.items()]


def _answering(edit: Edit) -> Callable[[Request], Reply]:
    def answer(request: Request, /) -> Reply:
        try:
            return json_reply(edit(request) or {})
        except KeyError as missing:
            raise RefusedError(404, f"There is no {missing.args[0]!r}") from None

    return answer


def json_object(request: Request) -> dict[str, Any]:
    """The body; raises a `RefusedError` when it is no JSON object."""
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise RefusedError(400, f"The body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise RefusedError(400, "The body must be a JSON object")
    return body


def pair(request: Request) -> tuple[str, str]:
    """Both `{}` parts of the path."""
    first, second = request.params
    return first, second


def raw_field(request: Request) -> tuple[str, str, bytes]:
    """Both `{}` parts of the path, and the body as it came."""
    return (*pair(request), request.body)


def touches(request: Request) -> bool:
    """Whether the change moves `updated_at`: unless ``?touch=false`` is said."""
    return request.query.get("touch") != "false"
