"""What TwelveLabs' own search may answer, and what becomes of it."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import orjson
import pytest

from tests.connector.http.serving import Handler, Server, client_for, in_turn, json, serving
from vectorferry.connector.http import UnreadableError
from vectorferry.connector.plugin import Hit, SourceQuery
from vectorferry.connector.sources.twelvelabs._search import Searcher


def page(*rows: Any, token: Any = None) -> dict[str, Any]:
    return {"data": list(rows), "page_info": {"limit_per_page": 10, "next_page_token": token}}


async def searched(handler: Handler, limit: int = 10) -> tuple[list[Hit], Server]:
    async with serving(handler) as server, aclosing(client_for(server.url)) as client:
        hits = await Searcher(client).search("i1", SourceQuery("a dog", limit, ["visual", "audio"]))
    return hits, server


async def test_the_question_is_a_form_with_an_option_each() -> None:
    _, server = await searched(in_turn(json(page())), 70)
    (asked,) = server.seen
    assert (asked.method, asked.path) == ("POST", "/search")
    assert asked.headers["Content-Type"].startswith("multipart/form-data")
    for name, value in (("index_id", "i1"), ("query_text", "a dog"), ("page_limit", "50"), ("search_options", "audio")):
        assert f'name="{name}"\r\n\r\n{value}\r\n'.encode() in asked.body


async def test_rows_are_read_whatever_they_lack() -> None:
    rows = [
        {"video_id": "v1", "rank": 4, "start": 1, "end": 2.5, "transcription": "a\x00 b\n c"},
        {"video_id": "v2", "rank": "first", "start": "1", "end": None, "transcription": 7},
        {"video_id": "", "rank": 1},
        {"id": "v3", "clips": []},
        "nonsense",
    ]
    hits, _ = await searched(in_turn(json({"data": rows})))
    assert hits == [Hit("v1", 4, 1.0, 2.5, "a b c"), Hit("v2", 2)]


async def test_a_token_leads_to_the_next_page_and_stays_one_part_of_the_path() -> None:
    first, second = page({"video_id": "v1"}, token="../a b?"), page({"video_id": "v2"}, {"video_id": "v3"})
    hits, server = await searched(in_turn(json(first), json(second)), limit=2)
    assert [(hit.asset_id, hit.rank) for hit in hits] == [("v1", 1), ("v2", 2)]
    assert server.seen[1].path == "/search/..%2Fa%20b%3F"


async def test_pages_without_a_hit_do_not_go_on_for_ever() -> None:
    hits, server = await searched(in_turn(json(page({"no": "asset"}, token="again"))), limit=5)
    assert hits == []
    assert len(server.seen) == 5


async def test_what_is_no_page_of_hits_is_given_up_in_our_own_words() -> None:
    with pytest.raises(UnreadableError, match="no list of hits"):
        await searched(in_turn(json({"data": "none"})))


async def test_the_vector_of_a_text_is_asked_for_at_once() -> None:
    async with serving(in_turn(json({"data": [{"embedding": [0.5, 1]}]}))) as server:
        async with aclosing(client_for(server.url)) as client:
            vector = await Searcher(client).embed("a dog", "marengo3.0")
        (asked,) = server.seen
    assert vector.tolist() == [0.5, 1.0]  # type: ignore[union-attr]
    assert (asked.method, asked.path) == ("POST", "/embed-v2")
    body = {"input_type": "text", "model_name": "marengo3.0", "text": {"input_text": "a dog"}}
    assert orjson.loads(asked.body) == body


@pytest.mark.parametrize(
    "answer", [{}, {"data": None}, {"data": []}, {"data": [7]}, {"data": [{"embedding": []}]}, {"data": [{}, {}]}]
)
async def test_what_is_no_vector_is_no_answer(answer: Any) -> None:
    async with serving(in_turn(json(answer))) as server, aclosing(client_for(server.url)) as client:
        with pytest.raises(UnreadableError):
            await Searcher(client).embed("a dog", "marengo3.0")
