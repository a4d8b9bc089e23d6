"""Where requests may go."""

from __future__ import annotations

from contextlib import aclosing

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from tests.connector.http.serving import client_for, json, serving
from vectorferry.connector._model._json import parse_json
from vectorferry.connector.http import segment
from vectorferry.connector.http._settings import Address, check_base_url
from vectorferry.connector.plugin import ConfigurationError


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://api.mixpeek.com", "https://api.mixpeek.com"),
        ("https://api.mixpeek.com/", "https://api.mixpeek.com"),
        ("https://example.com:8443/mixpeek/v1/", "https://example.com:8443/mixpeek/v1"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://127.3.2.1:8080", "http://127.3.2.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_good_base_urls(url: str, kept: str) -> None:
    assert check_base_url(url, allow_http=False) == kept


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.mixpeek.com",
        "ftp://api.mixpeek.com",
        "file:///etc/passwd",
        "https://",
        "https://:443",
        "https://user:secret@api.mixpeek.com",
        "https://api.mixpeek.com?x=secret",
        "https://api.mixpeek.com#secret",
        "https://api.mixpeek.com:port",
        "https://api.mixpeek.com:99999",
        "https://api mixpeek.com",
        "https://api.mixpeek.com\n",
        "https://[::1",
        "https://good.example.com\\@evil.example.com",
        "http://api.mixpeek.com",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
    ],
)
def test_bad_base_urls_are_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"source.base_url") as caught:
        client_for(url)
    assert "secret" not in str(caught.value)


def test_http_elsewhere_has_to_be_asked_for() -> None:
    assert check_base_url("http://mixpeek.internal", allow_http=True) == "http://mixpeek.internal"


@pytest.mark.parametrize(
    "path",
    ["assets", "", "//evil.example.com/x", "https://evil.example.com", "/a/../b", "/a/./b", "/a?b", "/a#b", "/\\x"],
)
def test_paths_that_could_lead_elsewhere_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        Address("https://api.mixpeek.com", allow_http=False).url(path, {})


@pytest.mark.parametrize("value", ["", ".", "..", "x" * 2_001, "\ud800"])
def test_what_cannot_be_a_path_segment_is_a_value_error(value: str) -> None:
    with pytest.raises(ValueError):
        segment(value)


@given(st.text(min_size=1, max_size=20).filter(lambda text: text not in (".", "..")))
def test_no_id_leads_out_of_its_segment(value: str) -> None:
    url = Address("https://api.mixpeek.com", allow_http=False).url(f"/assets/{segment(value)}/features", {})
    assert url.count("/") == 5
    assert url.startswith("https://api.mixpeek.com/assets/")


@pytest.mark.parametrize(
    "value", ["a/b", "a?b=c", "a%2Fb", "a#b", "../../x", "ä 中", "a+b&c", "...", "a;b", "%", "\x00"]
)
async def test_odd_ids_arrive_as_they_are(value: str) -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        return json(request.path.removeprefix("/assets/"))

    async with serving(echo) as server, aclosing(client_for(f"{server.url}/")) as client:
        assert await client.request("GET", f"/assets/{segment(value)}", decode=parse_json) == value


async def test_paths_stand_below_the_path_of_the_base_url() -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        return json([request.path, dict(request.query)])

    async with serving(echo) as server, aclosing(client_for(f"{server.url}/proxy/mixpeek/")) as client:
        answer = await client.request("GET", "/assets", params={"page": 2, "q": "a&b=c"}, decode=parse_json)
    assert answer == ["/proxy/mixpeek/assets", {"page": "2", "q": "a&b=c"}]
