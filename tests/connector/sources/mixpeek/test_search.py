"""Mixpeek's own search: what is asked in each release of the API, and what may be answered."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import orjson
import pytest

from tests.connector.http.serving import serving
from tests.connector.sources.mixpeek.worlds import Answers, reading_sandbox, source_for
from vectorferry.connector.http import NotFoundError, UnreadableError
from vectorferry.connector.plugin import ConfigurationError, Hit, SourceQuery
from vectorferry.connector.sandbox import MixpeekDialect, SandboxSettings

QUICKSTART_VIDEO = "198dacbb-c7d2-41c3-b008-83ea41b29c31"
COLLECTIONS: dict[str, Any] = {"results": [], "pagination": {}}


async def asked(paths: dict[str, Any], query: SourceQuery) -> tuple[list[Hit], list[Any]]:
    async with serving(Answers({"/collections": COLLECTIONS, **paths}).handle) as server:
        async with aclosing(source_for(server.url)) as source:
            hits = list(await source.search("c", query))
        return hits, [orjson.loads(seen.body) for seen in server.seen if seen.path in paths]


@pytest.mark.parametrize("name", ["2024-11", "2025-01"])
async def test_the_quickstart_guide_s_question_has_its_answer(name: str) -> None:
    served = SandboxSettings(mixpeek=MixpeekDialect.model_validate({"release": name}))
    async with reading_sandbox(served) as (source, sandbox):
        hits = await source.search("quickstart", SourceQuery("dog jumping", 4, filters={"metadata.hello": "world"}))
        assert [hit.rank for hit in hits] == [1, 2, 3, 4]
        assert "dog leaping" in hits[0].text
        scores = [hit.score or 0 for hit in hits]
        assert scores == sorted(scores, reverse=True)
        assert all(hit.feature_id in sandbox.mixpeek.feature_ids(hit.asset_id) for hit in hits)
        assert hits[0].start is not None
        assert not await source.search("quickstart", SourceQuery("dog", filters={"metadata.hello": ["you", "me"]}))
        every = await source.search("quickstart", SourceQuery("dog", 230))
        assert len({hit.feature_id for hit in every}) == 230
        assert [hit.rank for hit in every] == list(range(1, 231))


async def test_both_forms_of_the_question() -> None:
    later, earlier = "/features/search", "/features/search/text"
    query = SourceQuery("a dog", 3, ["multimodal-v1"], {"metadata.hello": "world", "take": [1, 2], "gone": None})
    _, (body,) = await asked({later: {"results": []}}, query)
    conditions = [
        {"key": "metadata.hello", "operator": "eq", "value": "world"},
        {"key": "take", "operator": "in", "value": [1, 2]},
        {"key": "gone", "operator": "is_null", "value": True},
    ]
    question = {"embedding_model": "multimodal", "type": "text", "value": "a dog", "settings": {"limit": 3}}
    assert body == {"queries": [question], "collections": ["c"], "filters": {"AND": conditions}}
    _, (body,) = await asked({earlier: {"results": []}}, query)
    assert body == {
        "query": "a dog",
        "collection_ids": ["c"],
        "model_id": "multimodal-v1",
        "search_type": "semantic",
        "filters": {"AND": conditions},
    }


async def test_a_filter_in_the_service_s_own_form_stays() -> None:
    own = {"OR": [{"key": "a", "value": 1}], "AND": [{"key": "b"}], "case_sensitive": True, "c": 2}
    _, (body,) = await asked({"/features/search": {"results": []}}, SourceQuery("x", filters=own))
    every = [{"key": "b"}, {"key": "c", "operator": "eq", "value": 2}]
    assert body["filters"] == {"OR": own["OR"], "AND": every, "case_sensitive": True}
    with pytest.raises(ConfigurationError, match="AND is no list"):
        await asked({}, SourceQuery("x", filters={"AND": {"key": "b"}}))


async def test_several_models_are_several_questions_but_not_in_november() -> None:
    query = SourceQuery("x", options=["text", "multimodal", "multimodal-v1"])
    _, (body,) = await asked({"/features/search": {"results": []}}, query)
    assert [each["embedding_model"] for each in body["queries"]] == ["text", "multimodal"]
    with pytest.raises(ConfigurationError, match="one model at a time"):
        await asked({"/features/search/text": {"results": []}}, query)


async def test_rows_are_read_whatever_they_lack() -> None:
    rows = [
        {"asset_id": "a1", "feature_id": "f1", "start_time": 1, "end_time": "x", "text": "b\n c", "score": 0.5},
        {"asset_id": "a2", "feature_id": 7, "start_time": -1, "description": 7, "score": "high"},
        {"feature_id": "f3"},
        "nonsense",
    ]
    hits, _ = await asked({"/features/search": {"results": rows}}, SourceQuery("x"))
    assert hits == [Hit("a1", 1, 1.0, None, "b c", "f1", 0.5), Hit("a2", 2)]


async def test_pages_without_a_hit_do_not_go_on_for_ever() -> None:
    hits, bodies = await asked({"/features/search": {"results": [{}] * 3}}, SourceQuery("x", 3))
    assert hits == []
    assert len(bodies) == 3


async def test_what_is_no_answer_is_given_up_in_our_own_words() -> None:
    with pytest.raises(UnreadableError, match="no list of results"):
        await asked({"/features/search": {"groups": []}}, SourceQuery("x"))
    with pytest.raises(NotFoundError, match="/features/search"):
        await asked({}, SourceQuery("x"))
