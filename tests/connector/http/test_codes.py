"""What a service's own error codes tell a source, and parameters that come several times."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from vectorferry.connector.http import ForbiddenError, RefusedError
from vectorferry.connector.plugin import CollectionError, CredentialsError

from .serving import KEY_PATH, client_for, json, serving


async def _asking(answer: web.Response, **settings: Any) -> None:
    async def handler(_: web.Request) -> web.Response:
        return answer

    async with serving(handler) as server:
        client = client_for(server.url, **settings)
        try:
            await client.request("GET", "/things", decode=bytes)
        finally:
            await client.aclose()


@pytest.mark.parametrize(
    "body",
    [
        {"code": "read_not_allowed", "message": "not authorized to read entity 1"},
        {"error": {"code": "read_not_allowed", "message": "not authorized to read entity 1", "details": {}}},
    ],
)
async def test_a_source_is_told_why_something_is_forbidden(body: Any) -> None:
    with pytest.raises(ForbiddenError, match="not authorized to read entity 1") as refused:
        await _asking(json(body, 403))
    assert refused.value.code == "read_not_allowed"
    assert isinstance(refused.value, CollectionError)
    assert not isinstance(refused.value, CredentialsError)
    assert "does not let this key do GET /things (403 Forbidden: " in str(refused.value)


@pytest.mark.parametrize("body", [{}, [], "no", {"code": 7}, {"error": "no", "code": None}, {"error": ["code"]}])
async def test_a_refusal_without_a_code_has_none(body: Any) -> None:
    with pytest.raises(RefusedError) as refused:
        await _asking(json(body, 400))
    assert (refused.value.code, refused.value.status) == ("", 400)


async def test_what_is_known_about_a_services_keys_is_said_when_it_refuses_one() -> None:
    advice = "They live for a year."
    with pytest.raises(CredentialsError) as refused:
        await _asking(json({"code": "api_key_invalid", "message": "expired"}, 401), key_advice=advice)
    assert str(refused.value).endswith(f"refused the key (401 Unauthorized: expired). Check {KEY_PATH}. {advice}")


async def test_a_list_is_the_same_parameter_several_times() -> None:
    queries: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        queries.append(request.rel_url.raw_query_string)
        return json({})

    async with serving(handler) as server:
        client = client_for(server.url)
        try:
            await client.request("GET", "/things", params={"option": ["a b", "c"], "page": 1}, decode=bytes)
        finally:
            await client.aclose()
    assert queries == ["option=a+b&option=c&page=1"]
