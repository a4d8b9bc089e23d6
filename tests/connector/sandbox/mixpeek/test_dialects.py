"""Every switch of the dialect changes what it says it changes."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.connector.sandbox.serving import EXAMPLE_TEXT, EXAMPLE_TEXT_FEATURE, served, speaking
from vectorferry.connector.sandbox import MixpeekDialect, Sandbox, SandboxSettings


@pytest.mark.parametrize(("prefixes", "plain", "v1"), [("both", 200, 200), ("none", 200, 404), ("v1", 404, 200)])
async def test_prefixes(prefixes: str, plain: int, v1: int) -> None:
    async with served(speaking(prefixes=prefixes)) as (_, client):
        assert (await client.get("/collections")).status_code == plain
        assert (await client.get("/v1/collections")).status_code == v1


@pytest.mark.parametrize("field", ["collections", "collection_ids"])
async def test_the_body_field_that_is_not_spoken_counts_as_missing(field: str) -> None:
    other = {"collections": "collection_ids", "collection_ids": "collections"}[field]
    async with served(speaking(body_field=field)) as (_, client):
        assert (await client.post("/assets", json={field: ["example"]})).json()["pagination"]["total"] == 2
        refused = await client.post("/assets", json={other: ["example"]})
        assert refused.status_code == 422
        assert refused.json()["detail"] == [{"loc": ["body", field], "msg": "Field required", "type": "missing"}]


async def test_both_body_fields_may_be_sent_together() -> None:
    async with served() as (_, client):
        body = {"collections": ["example"], "collection_ids": ["example"]}
        assert (await client.post("/assets", json=body)).json()["pagination"]["total"] == 2


async def test_unknown_body_keys_are_refused_only_when_asked_to() -> None:
    body = {"collections": ["example"], "colour": "red"}
    async with served() as (_, client):
        assert (await client.post("/assets", json=body)).status_code == 200
    async with served(speaking(refuse_unknown_keys=True)) as (_, client):
        refused = await client.post("/assets", json=body)
        assert refused.status_code == 422
        assert refused.json()["detail"][0]["loc"] == ["body", "colour"]
        assert refused.json()["detail"][0]["type"] == "extra_forbidden"


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"collections": 7}'])
async def test_bodies_of_the_wrong_shape_are_unprocessable(client: httpx.AsyncClient, content: bytes) -> None:
    refused = await client.post("/assets", content=content)
    assert refused.status_code == 422
    assert all(problem.keys() == {"loc", "msg", "type"} for problem in refused.json()["detail"])


@pytest.mark.parametrize("honoured", ["include_vectors", "return_vectors"])
async def test_only_the_vector_flag_that_is_spoken_counts(honoured: str) -> None:
    async with served(speaking(vector_flag=honoured)) as (_, client):
        for flag in ("include_vectors", "return_vectors"):
            feature = (await client.get(f"/features/{EXAMPLE_TEXT_FEATURE}", params={flag: "true"})).json()
            assert ("vectors" in feature) == (flag == honoured)


async def test_media_without_segments_keep_their_form() -> None:
    async with served(speaking(features_reply="video_segments")) as (_, client):
        text = (await client.get(f"/assets/{EXAMPLE_TEXT}/features")).json()
        assert len(text["features"]["text"]) == 1


async def test_empty_lists_may_be_null() -> None:
    async with served(speaking(null_for_empty=True)) as (_, client):
        features = (await client.get(f"/assets/{EXAMPLE_TEXT}/features")).json()["features"]
        assert [features[name] for name in ("video", "image", "audio")] == [None, None, None]
        assert len(features["text"]) == 1


async def test_asset_times_may_carry_a_zone() -> None:
    async with served(speaking(timestamps="zulu")) as (_, client):
        asset = (await client.get(f"/assets/{EXAMPLE_TEXT}")).json()
        assert asset["updated_at"] == "2024-11-07T14:31:56.428000Z"


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "sk_sandbox"}])
async def test_a_wrong_or_missing_key_is_refused(sandbox: Sandbox, headers: dict[str, str]) -> None:
    async with httpx.AsyncClient(base_url=sandbox.url, headers=headers) as stranger:
        for path in ("/collections", "/v1/collections", "/assets/nope", "/features/nope"):
            assert (await stranger.get(path)).status_code == 401


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        (
            "envelope",
            {
                "success": False,
                "status": 401,
                "error": {"message": "Invalid API key", "type": "UnauthorizedError", "details": None},
            },
        ),
        ("detail", {"detail": [{"msg": "Invalid API key"}]}),
        ("flat", {"error": "Unauthorized", "message": "Invalid API key", "details": {}}),
    ],
)
async def test_errors_come_in_three_styles(style: str, expected: Any) -> None:
    async with served(speaking(errors=style)) as (sandbox, _), httpx.AsyncClient() as stranger:
        assert (await stranger.get(f"{sandbox.url}/collections")).json() == expected


async def test_another_key_and_namespaces() -> None:
    settings = SandboxSettings(api_key="sk_other", mixpeek=MixpeekDialect(namespaces=("films",)))
    async with served(settings) as (_, client):
        for name, status in (("films", 200), ("ns_films", 200), ("nope", 404)):
            assert (await client.get("/collections", headers={"X-Namespace": name})).status_code == status


async def test_the_key_is_not_part_of_a_refusal(sandbox: Sandbox) -> None:
    async with httpx.AsyncClient(headers={"Authorization": "Bearer sk_wrong_1234"}) as stranger:
        assert "sk_" not in (await stranger.get(f"{sandbox.url}/collections")).text
