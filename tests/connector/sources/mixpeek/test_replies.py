"""Every documented form of an asset's answer, and what is wrong with some: read, set aside, or never half read."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from tests.connector.sources.mixpeek.worlds import NO_COLLECTIONS, page, pull_one, pulled, pulled_asset, reading
from vectorferry.connector._model._vectors import vector_hash
from vectorferry.connector.plugin import Asset, Feature, Reason, Rejected, SparseVector

SIGNED = "https://bucket.s3.amazonaws.com/a.mp4?X-Amz-Expires=3600&X-Amz-Signature=abc"

ASSET = {
    "asset_id": "a1",
    "collection_id": "c",
    "status": "DONE",
    "url": None,
    "metadata": {"asset": {}, "author": "user"},
    "error": None,
    "modality": "text",
    "task_id": "3f0189c2",
    "updated_at": "2024-11-07T14:31:56.428000",
    "created_at": "2024-11-07T14:31:55.473000Z",
    "score": 0.3,
    "preview_url": SIGNED,
}


def text(feature_id: Any = "f1", **fields: Any) -> dict[str, Any]:
    return {"feature_id": feature_id, "modality": "text", "asset_id": "a1", "collection_id": "c", **fields}


def features(*rows: Any, **lists: Any) -> dict[str, Any]:
    return {"asset": ASSET, "features": {"video": None, "image": [], "text": list(rows), "audio": None, **lists}}


def vectors(**named: Any) -> dict[str, Any]:
    return {"vectors": named}


async def one(reply: Any, **details: Any) -> Asset:
    """The asset that this answer, and these features' own answers, make."""
    paths = {f"/features/{feature_id}": detail for feature_id, detail in details.items()}
    return await pulled_asset({"/assets/a1/features": reply, **paths})


async def test_the_documented_asset_with_its_features() -> None:
    listed = text(metadata={"author": "user"}, text="two people", created_at="2024-11-07T14:31:56.053031Z", url=SIGNED)
    detail = {"feature_id": "f1", "modality": "text", "metadata": {}, **vectors(multimodal_v1=[0.25, -0.5])}
    asset = await one(features(listed), f1=detail)
    assert (asset.asset_id, asset.fingerprint) == ("a1", "fingerprint of a1")
    assert (asset.modality, asset.status, asset.url) == ("text", "DONE", None)
    assert asset.metadata == {"asset": {}, "author": "user"}
    assert asset.created_at == datetime(2024, 11, 7, 14, 31, 55, 473000, tzinfo=UTC)
    assert asset.updated_at == datetime(2024, 11, 7, 14, 31, 56, 428000, tzinfo=UTC)
    assert asset.fields == {"error": None, "task_id": "3f0189c2"}
    (feature,) = asset.features
    assert (feature.feature_id, feature.modality) == ("f1", "text")
    assert feature.fields == {"metadata": {}, "text": "two people", "created_at": "2024-11-07T14:31:56.053031Z"}
    vector = feature.vectors["multimodal_v1"]
    assert isinstance(vector, np.ndarray)
    assert vector.tolist() == [0.25, -0.5]


async def test_fields_that_nobody_documented_are_kept() -> None:
    reply = features(text(blurb="new", **vectors(m=[1.0])))
    reply["asset"] = {**ASSET, "duplicate_of": "a0"}
    asset = await one(reply)
    assert asset.fields["duplicate_of"] == "a0"
    assert asset.features[0].fields["blurb"] == "new"


async def test_a_field_may_have_the_name_of_a_vector() -> None:
    asset = await one(features(text(text="words", **vectors(text=[1.0], image=[2.0]))))
    assert asset.features[0].fields == {"text": "words"}
    assert set(asset.features[0].vectors) == {"text", "image"}


@pytest.mark.parametrize(("url", "kept"), [(SIGNED, None), ("https://example.com/a.mp4", "https://example.com/a.mp4")])
async def test_only_lasting_addresses_are_kept(url: str, kept: str | None) -> None:
    reply = features()
    reply["asset"] = {**ASSET, "url": url}
    assert (await one(reply)).url == kept


async def test_values_of_the_wrong_kind_are_kept_where_nothing_is_lost() -> None:
    reply = features()
    odd = {"metadata": ["a"], "created_at": "yesterday", "updated_at": 17, "modality": ["text"]}
    reply["asset"] = {"asset_id": "a1", **odd}
    asset = await one(reply)
    assert (asset.metadata, asset.created_at, asset.updated_at, asset.modality) == ({}, None, None, None)
    assert asset.fields == odd


async def test_vectors_that_come_inline_are_not_asked_for() -> None:
    reply = {"/collections": NO_COLLECTIONS, "/assets/a1/features": features(text(**vectors(m=[1.0])))}
    async with reading(reply) as (source, server):
        await pulled(source, "a1")
    assert [seen.path for seen in server.seen] == ["/collections", "/assets/a1/features"]
    assert server.seen[1].query == {"return_url": "false"}


async def test_vectors_are_asked_for_under_both_names_of_the_parameter() -> None:
    replies = {"/collections": NO_COLLECTIONS, "/assets/a1/features": features(text()), "/features/f1": text()}
    async with reading(replies) as (source, server):
        await pulled(source, "a1")
    assert server.seen[2].query == {"include_vectors": "true", "return_vectors": "true"}


@pytest.mark.parametrize("found", [{"vectors": None}, {"vectors": {}}])
async def test_a_feature_may_have_no_vectors(found: dict[str, Any]) -> None:
    asset = await one(features(text()), f1={**text(), **found})
    assert asset.features[0].vectors == {}
    assert asset.rejected == ()


@pytest.mark.parametrize(
    "answer",
    [
        text(),
        {"feature_id": "f1"},
        {"success": False, "status": 500, "error": {"message": "internal", "type": "X"}},
        {"vectors": {"m": [1.0]}},
        {},
    ],
    ids=["no vectors", "an id alone", "an error body", "no feature_id", "nothing"],
)
async def test_an_answer_that_does_not_say_which_vectors_there_are_is_none(answer: dict[str, Any]) -> None:
    """Taken as a feature without vectors, it would remove those that a destination holds."""
    paths = {"/assets/a1/features": features(text()), "/features/f1": answer}
    result = await pull_one(paths)
    assert isinstance(result, Rejected)
    assert (result.reason, result.feature_id) == (Reason.UNREADABLE, "")
    again = await pulled_asset({**paths, "/features/f1": [answer, text(**vectors(m=[1.0]))]})
    assert set(again.features[0].vectors) == {"m"}


async def test_sparse_vectors_are_read() -> None:
    asset = await one(features(text()), f1=text(**vectors(keyword={"indices": [5, 2], "values": [0.5, 0.2]})))
    vector = asset.features[0].vectors["keyword"]
    assert isinstance(vector, SparseVector)
    assert vector.indices.tolist() == [2, 5]


async def test_modality_comes_from_the_row_else_from_its_place() -> None:
    place = {"feature_id": "f2", **vectors(m=[1.0])}
    asset = await one(features(text(modality="VIDEO", **vectors(m=[1.0])), hologram=[place]))
    found = [(feature.feature_id, feature.modality) for feature in asset.features]
    assert found == [("f1", "video"), ("f2", "hologram")]


OCTOBER = {"start_time": 10.0, "end_time": 20.0, "interval_sec": 60, "emotions": ["joy"], "embedding": [0.5, 0.25]}


async def test_the_october_form_with_its_inline_embedding() -> None:
    reply = {"video_segments": [OCTOBER], "metadata": {"hello": "world"}, "status": "DONE"}
    asset = await one(reply)
    assert (asset.metadata, asset.status) == ({"hello": "world"}, "DONE")
    (segment,) = asset.features
    assert (segment.feature_id, segment.modality) == ("a1:10000-20000", "video")
    assert segment.fields == {"start_time": 10.0, "end_time": 20.0, "interval_sec": 60, "emotions": ["joy"]}
    vector = segment.vectors["embedding"]
    assert isinstance(vector, np.ndarray)
    assert vector.tolist() == [0.5, 0.25]


async def test_an_answer_of_segments_alone_is_completed_by_the_assets_own() -> None:
    asset = await pulled_asset({"/assets/a1/features": {"video_segments": [OCTOBER]}, "/assets/a1": ASSET})
    assert asset.metadata == ASSET["metadata"]
    assert len(asset.features) == 1


async def test_and_stands_alone_where_there_is_none() -> None:
    asset = await one({"video_segments": [OCTOBER]})
    assert (asset.metadata, asset.fields, len(asset.features)) == ({}, {}, 1)


def segments(first: int, last: int, *, total: Any = 12, page: int = 1, pages: Any = 2) -> dict[str, Any]:
    rows = [{**OCTOBER, "start_time": n, "end_time": n + 1} for n in range(first, last)]
    pagination = {"total": total, "page": page, "page_size": 10, "total_pages": pages}
    return {"asset": ASSET, "video_segments": rows, "pagination": {**pagination, "next_page": "http://evil.example/"}}


async def test_pages_are_asked_for_by_number() -> None:
    replies = {"/collections": NO_COLLECTIONS, "/assets/a1/features": [segments(0, 10), segments(10, 12, page=2)]}
    async with reading(replies) as (source, server):
        (asset,) = await pulled(source, "a1")
    assert isinstance(asset, Asset)
    assert len(asset.features) == 12
    assert server.seen[2].query == {"return_url": "false", "page": "2", "page_size": "10"}


@pytest.mark.parametrize(
    "replies",
    [
        [segments(0, 10), segments(0, 0, page=2)],
        [segments(0, 10), segments(10, 11, page=2), segments(0, 0)],
        [segments(0, 10)],
        [segments(0, 10), segments(10, 15, page=2)],
    ],
    ids=["second page empty", "one missing", "page number ignored", "more than announced"],
)
async def test_an_asset_is_never_half_read(replies: list[Any]) -> None:
    result = await pull_one({"/assets/a1/features": replies})
    assert isinstance(result, Rejected)
    assert (result.asset_id, result.reason, result.feature_id) == ("a1", Reason.UNREADABLE, "")
    assert "announced 12 features" in result.detail


def shown(reply: dict[str, Any], **first_row: Any) -> dict[str, Any]:
    """The reply with other values in its first row."""
    rows = reply["video_segments"]
    return {**reply, "video_segments": [{**rows[0], **first_row}, *rows[1:]]}


@pytest.mark.parametrize("total", [12, None])
@pytest.mark.parametrize("changed", [{}, {"emotions": ["fear"]}], ids=["same row", "another row"])
async def test_a_row_that_moved_onto_the_next_page_shows_that_another_is_lost(total: Any, changed: Any) -> None:
    pages = [segments(0, 10, total=total, pages=None), shown(segments(9, 11, total=total, pages=None), **changed)]
    result = await pull_one({"/assets/a1/features": [*pages, segments(0, 0, total=total, pages=None)]})
    assert isinstance(result, Rejected)
    assert result.reason is Reason.UNREADABLE
    assert "more than once" in result.detail


async def test_a_service_that_never_ends_its_pages_is_left_when_nothing_new_comes() -> None:
    """It does not look at the page number, and signs an address anew for every answer."""
    signed = [shown(segments(0, 10, total=None, pages=None), preview_url=f"{SIGNED}{n}") for n in range(30)]
    replies = {"/collections": NO_COLLECTIONS, "/assets/a1/features": signed}
    async with reading(replies) as (source, server):
        (asset,) = await pulled(source, "a1")
    assert isinstance(asset, Asset)
    assert len(asset.features) == 10
    assert len(server.seen) == 3


async def test_pages_without_counts_end_with_an_empty_one() -> None:
    replies = [
        segments(0, 10, total=None, pages=None),
        segments(10, 12, total=None, pages=None),
        segments(0, 0, total=None),
    ]
    asset = await pulled_asset({"/assets/a1/features": replies})
    assert len(asset.features) == 12


@pytest.mark.parametrize(
    "reply",
    [
        {},
        [],
        {"asset": ASSET},
        {"asset": ASSET, "features": None},
        {"asset": ASSET, "features": []},
        {"asset": ASSET, "features": {"video": "none"}},
        {"asset": ASSET, "features": {"video": {}}},
        {"asset": ASSET, "features": {}, "pagination": []},
        {"asset": ASSET, "features": {}, "pagination": {"total": "12"}},
        {"asset": {**ASSET, "asset_id": "a2"}, "features": {}},
    ],
    ids=str,
)
async def test_an_answer_in_no_known_form_is_unreadable_and_not_empty(reply: Any) -> None:
    result = await pull_one({"/assets/a1/features": reply})
    assert isinstance(result, Rejected)
    assert result.reason is Reason.UNREADABLE


@pytest.mark.parametrize(
    ("vector", "reason", "said"),
    [
        ([0.1, float("nan")], Reason.NOT_FINITE, "vector m: nan at position 1"),
        ([0.1, float("inf")], Reason.NOT_FINITE, "vector m: inf"),
        ([1e300], Reason.NOT_FINITE, "float32"),
        (None, Reason.MALFORMED, "null"),
        ([], Reason.MALFORMED, "empty"),
        (["0.1"], Reason.MALFORMED, "text"),
        ([[0.1], [0.2]], Reason.MALFORMED, "list"),
        ({"indices": [1]}, Reason.MALFORMED, "object"),
    ],
    ids=str,
)
async def test_one_bad_vector_is_set_aside_and_no_other(vector: Any, reason: Reason, said: str) -> None:
    reply = features(text("good", **vectors(m=[1.0])), text("bad"))
    asset = await one(reply, bad=text("bad", vectors={"ok": [1.0], "m": vector}))
    assert {feature.feature_id: set(feature.vectors) for feature in asset.features} == {"good": {"m"}, "bad": {"ok"}}
    (rejected,) = asset.rejected
    assert (rejected.asset_id, rejected.feature_id, rejected.modality) == ("a1", "bad", "text")
    assert (rejected.reason, rejected.vector_name) == (reason, "m")
    assert said in rejected.detail


@pytest.mark.parametrize(
    "bad",
    [
        "text",
        None,
        7,
        {},
        {"feature_id": 7},
        {"feature_id": ""},
        {"feature_id": ".."},
        {"feature_id": "\ud800"},
        {"feature_id": None, "start_time": "x", "end_time": 2},
        {"start_time": float("inf"), "end_time": 2},
        {"feature_id": "bad", "vectors": [1.0]},
        {"feature_id": "bad", "vectors": "none"},
    ],
    ids=str,
)
async def test_a_malformed_feature_is_set_aside_and_no_other(bad: Any) -> None:
    asset = await one(features(text("good", **vectors(m=[1.0])), bad))
    assert [feature.feature_id for feature in asset.features] == ["good"]
    (rejected,) = asset.rejected
    assert rejected.reason is Reason.MALFORMED
    assert rejected.feature_id in ("text[1]", "bad")
    assert rejected.modality == "text"


async def test_the_first_of_several_features_with_one_id_counts() -> None:
    rows = (text(text="first", **vectors(m=[1.0])), text(text="second", **vectors(m=[2.0])))
    asset = await one(features(*rows, video=[text(modality="video", **vectors(m=[3.0]))]))
    (feature,) = asset.features
    assert len(asset.rejected) == 2
    assert {(one.feature_id, one.reason) for one in asset.rejected} == {("f1", Reason.DUPLICATE_ID)}
    assert feature.fields == {}


@pytest.mark.parametrize("total", [None, 1, 2])
async def test_a_row_that_is_there_twice_on_one_page_counts_once(total: Any) -> None:
    row = text(text="first", **vectors(m=[1.0]))
    asset = await one({**features(row, dict(reversed(row.items()))), "pagination": {"total": total}})
    assert [feature.feature_id for feature in asset.features] == ["f1"]
    assert asset.rejected == ()


@pytest.mark.parametrize("status", ["PROCESSING", "FAILED", 500])
async def test_an_asset_that_is_being_processed_again_is_left_as_it_is(status: Any) -> None:
    reply = features(text(**vectors(m=[1.0])))
    reply["asset"] = {**ASSET, "status": status}
    row = {"asset_id": "a1", "collection_id": "c"}
    for listed in (page(), page({**row, "status": status})):
        assert await pull_one({"/assets/a1/features": reply, "/assets": listed}) is None
    still = await pull_one({"/assets/a1/features": reply, "/assets": page({**row, "status": "DONE"})})
    assert isinstance(still, Rejected)
    assert still.reason is Reason.UNREADABLE
    assert still.detail == f"Its status is {status} by now. It is still listed as ready, though."


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"k": value}
    return value


@pytest.mark.parametrize("key", ["metadata", "status"])
async def test_an_asset_that_is_nested_too_deeply_is_set_aside(key: str) -> None:
    reply = features()
    reply["asset"] = {**ASSET, key: deep(900)}
    result = await pull_one({"/assets/a1/features": reply})
    assert isinstance(result, Rejected)
    assert (result.reason, result.feature_id) == (Reason.MALFORMED, "")


async def test_a_feature_that_is_nested_too_deeply_is_set_aside_and_no_other() -> None:
    bad = [text("f2", metadata=deep(900)), text("f3", vectors={"m": deep(900)}), {"start_time": deep(900)}]
    asset = await one(
        features(text("f1", metadata=deep(50), **vectors(m=[1.0])), *bad[1:], bad[0]), f2={**bad[0], **vectors(m=[1.0])}
    )
    assert {feature.feature_id: set(feature.vectors) for feature in asset.features} == {"f1": {"m"}, "f3": set()}
    assert {rejected.reason for rejected in asset.rejected} == {Reason.MALFORMED}
    assert len(asset.rejected) == 3


@pytest.mark.parametrize("asset_id", [".", "..", "x" * 2_001])
async def test_an_id_that_cannot_be_asked_for_is_set_aside(asset_id: str) -> None:
    result = await pull_one({}, asset_id)
    assert isinstance(result, Rejected)
    assert (result.asset_id, result.reason) == (asset_id, Reason.BAD_ID)


async def test_an_answer_about_another_feature_is_not_taken() -> None:
    result = await pull_one({"/assets/a1/features": features(text()), "/features/f1": text("f2", **vectors(m=[1.0]))})
    assert isinstance(result, Rejected)
    assert "another feature" in result.detail


async def test_odd_ids_are_read_like_any_other() -> None:
    odd = "a/b ?#%2F.."
    reply = features(text(odd))
    reply["asset"] = {**ASSET, "asset_id": odd}
    paths = {f"/assets/{odd}/features": reply, f"/features/{odd}": text(odd, **vectors(m=[1.0]))}
    result = await pull_one(paths, odd)
    assert isinstance(result, Asset)
    assert [feature.feature_id for feature in result.features] == [odd]


async def test_vectors_are_the_same_whether_their_names_were_known_before() -> None:
    """Those under names that an answer had are cut out of the next ones, which may have lists under them too."""
    sparse = {"indices": [1], "values": [2.0]}
    told = [
        vectors(dense=[0.1, 1.0, -0.0], sparse=sparse, embedding=[3.0]),
        vectors(dense=[0.1, 1.0, -0.0], sparse=sparse, embedding=[3.0]),
        {**vectors(dense=[1, 2.5]), "dense": [1.0], "metadata": {"dense": [7, 8], "why": '"dense":[1]'}},
        {**vectors(dense=[1e39]), "original_values": {"dense": [[1.0], [2.0]]}},
        vectors(dense=None, sparse=[[1.0]]),
    ]
    names = [f"f{number}" for number in range(len(told))]
    answers = {f"/features/{name}": {**text(name), **row} for name, row in zip(names, told, strict=True)}
    alone = [
        await pulled_asset(
            {"/assets/a1/features": features(text(name)), f"/features/{name}": answers[f"/features/{name}"]}
        )
        for name in names
    ]
    together = await pull_one({"/assets/a1/features": features(*map(text, names)), **answers}, concurrency=1)
    assert isinstance(together, Asset)
    assert [_read(feature) for feature in together.features] == [_read(each) for one in alone for each in one.features]
    assert list(together.rejected) == [record for one in alone for record in one.rejected]


def _read(feature: Feature) -> tuple[str, Any, dict[str, bytes]]:
    return feature.feature_id, feature.fields, {name: vector_hash(each) for name, each in feature.vectors.items()}


async def test_a_later_page_of_another_asset_is_not_taken() -> None:
    counts = {"total": 2, "page": 1, "page_size": 1, "total_pages": 2}
    pages = [
        {**features(text(name, **vectors(m=[1.0]))), "asset": {**ASSET, "asset_id": owner}, "pagination": counts}
        for name, owner in (("f1", "a1"), ("f2", "a2"))
    ]
    result = await pull_one({"/assets/a1/features": pages, "/assets": page(ASSET)})
    assert isinstance(result, Rejected)
    assert "another asset" in result.detail
