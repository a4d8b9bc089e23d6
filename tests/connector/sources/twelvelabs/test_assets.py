"""From answers to assets with their features, whatever the dialect."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.examples import family
from vectorferry import SyncOptions
from vectorferry.connector.plugin import Asset, Reason, Rejected
from vectorferry.connector.sandbox import DropField, Fault, Sandbox, SetField, Status, TwelveLabsDialect
from vectorferry.connector.sources.twelvelabs import TwelveLabsSource
from vectorferry.connector.testing import MemoryDestination, sync

from .worlds import READ, listed, read, read_asset, reading

SAID = [{"start": 0, "end": 4.5, "value": "One."}, {"start": 4.5, "end": 9, "value": "Two."}]


def segment(option: str = "visual", start: float = 0, end: float = 6, **given: Any) -> dict[str, Any]:
    """A segment as the sandbox takes it."""
    return {"start": start, "end": end, "option": option, "text": f"{option} {start}", **given}


def put(sandbox: Sandbox, *segments: dict[str, Any], **given: Any) -> tuple[str, str]:
    """The ids of a new index and of the one asset in it."""
    index = sandbox.twelvelabs.put_index("small", dimension=4)
    return index, sandbox.twelvelabs.put_asset(index, {"segments": segments, **given})


def by_name(asset: Asset) -> dict[str, list[dict[str, Any]]]:
    """The fields of all features, by the name of their vector; the empty name is for those without."""
    found: dict[str, list[dict[str, Any]]] = {}
    for feature in asset.features:
        found.setdefault(next(iter(feature.vectors), ""), []).append(dict(feature.fields))
    return found


async def test_each_option_of_a_segment_is_a_feature_with_the_words_spoken_meanwhile() -> None:
    async with reading() as (source, sandbox):
        parts = [segment(), segment("audio"), segment(start=6, end=9.5)]
        asset = await read_asset(source, *put(sandbox, *parts, transcription=SAID, user_metadata={"a": 1}))
    found = by_name(asset)
    assert found.keys() == {"marengo3.0-visual", "marengo3.0-audio", ""}
    told = {"embedding_scope": "clip", "model_name": "marengo3.0"}
    both = {"start_time": 0.0, "end_time": 6.0, "transcription": "One. Two."}
    assert found["marengo3.0-audio"] == [{**told, **both, "embedding_option": "audio"}]
    assert found["marengo3.0-visual"] == [
        {**told, **both, "embedding_option": "visual"},
        {**told, "embedding_option": "visual", "start_time": 6.0, "end_time": 9.5, "transcription": "Two."},
    ]
    assert found[""] == [
        {"start_time": 0.0, "end_time": 4.5, "text": "One."},
        {"start_time": 4.5, "end_time": 9.0, "text": "Two."},
    ]
    assert [feature.modality for feature in asset.features] == ["video"] * 3 + ["text"] * 2
    assert (asset.modality, asset.status, asset.metadata, asset.rejected) == ("video", "ready", {"a": 1}, ())


@pytest.mark.parametrize(
    ("transcriptions", "texts", "column"),
    [("none", 0, False), ("segments", 0, True), ("entries", 2, True), ("words", 2, True)],
)
async def test_what_is_spoken_becomes_what_was_asked_for(transcriptions: str, texts: int, column: bool) -> None:
    async with reading(transcriptions=transcriptions) as (source, sandbox):
        asset = await read_asset(source, *put(sandbox, segment(), transcription=SAID))
    assert sum(feature.modality == "text" for feature in asset.features) == texts
    assert ("transcription" in by_name(asset)["marengo3.0-visual"][0]) is column


async def test_an_asset_whose_stream_is_still_being_made_is_read_again_for_its_address() -> None:
    async with reading() as (source, sandbox):
        index, name = put(sandbox, segment())
        store = MemoryDestination()
        for hls in ({"status": "PROCESSING"}, {"status": "COMPLETE", "video_url": "https://media.example/a.m3u8"}):
            sandbox.twelvelabs.put_field(name, "hls", hls, touch=False)
            await sync(source, [store], SyncOptions(collections=[index]), name="m")
        assert store.assets[index][name].url == "https://media.example/a.m3u8"
        summary = await sync(source, [store], SyncOptions(collections=[index]), name="m")
    assert summary.collections[index].unchanged == 1


@pytest.mark.parametrize(("indexed_at", "again"), [(None, 1), ("2026-01-01T00:00:00Z", 0)])
async def test_words_that_are_not_there_yet_are_asked_for_again_while_the_asset_is_new(
    indexed_at: str | None, again: int
) -> None:
    """They came with the periodic reading only, days later."""
    async with reading(transcriptions="words") as (source, sandbox):
        index, name = put(sandbox, segment(), transcription=[{"start": 0, "end": 4, "value": "One two."}])
        if indexed_at:
            sandbox.twelvelabs.put_field(name, "indexed_at", indexed_at)
        upload, store = sandbox.twelvelabs.asset(name)["asset_id"], MemoryDestination()
        pulled = []
        for status in ("processing", "processing", "ready", "ready"):
            sandbox.twelvelabs.set_upload_status(upload, status)
            summary = await sync(source, [store], SyncOptions(collections=[index]), name="m")
            pulled.append(summary.collections[index].pulled)
    assert pulled == [1, again, again, 0]
    texts = sorted(str(one.columns["text"]) for one in store.assets[index][name].features if one.modality == "text")
    assert texts == (["One", "two."] if again else ["One two."])


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """What the default dialect says of every feature."""
    return asyncio.run(_fields(TwelveLabsDialect()))


@pytest.mark.parametrize(
    "dialect",
    family(
        [
            {"segment_order": "shuffled"},
            {"system_metadata": "metadata"},
            {"asset_ids": False},
            {"date_digits": 0},
            {"date_digits": 2},
            {"silence": "empty"},
            {"signed": "none"},
            {"indexed_assets": False},
        ],
        always=(0, 7),
    ),
    ids=str,
)
async def test_dialects_lead_to_the_same_features(dialect: dict[str, Any], described: dict[str, Any]) -> None:
    assert await _fields(TwelveLabsDialect(**dialect)) == described


async def _fields(dialect: TwelveLabsDialect) -> dict[str, Any]:
    async with reading(dialect) as (source, sandbox):
        index = sandbox.twelvelabs.index_id("films")
        ready = sandbox.twelvelabs.asset_ids(index, status="ready")
        await listed(source, index)
        results = await read(source, index, ready)
    assert sorted(results) == sorted(ready)
    assert not [result for result in results.values() if isinstance(result, Rejected) or result.rejected]
    return {one.feature_id: one.fields for asset in results.values() for one in _features(asset)}


def _features(asset: Asset | Rejected) -> tuple[Any, ...]:
    assert isinstance(asset, Asset)
    return asset.features


async def test_addresses_that_change_with_every_answer_are_left_out() -> None:
    async with reading(TwelveLabsDialect(signed="all")) as (source, sandbox):
        index = sandbox.twelvelabs.index_id("films")
        asset = await read_asset(source, index, sandbox.twelvelabs.asset_ids(index)[0])
        again = await read_asset(source, index, asset.asset_id)
    assert asset.url is None
    assert asset.fields == again.fields
    assert asset.fields["hls"].keys() == {"thumbnail_urls", "status", "updated_at"}
    assert asset.fields["system_metadata"]["filename"].endswith(".mp4")
    assert asset.fields["uploaded_asset_id"]


async def test_what_can_only_be_heard_is_audio() -> None:
    async with reading() as (source, sandbox):
        index = sandbox.twelvelabs.index_id("lectures")
        heard = [name for name in sandbox.twelvelabs.asset_ids(index) if "width" not in sandbox.twelvelabs.asset(name)]
        results = await read(source, index, heard)
    for asset in results.values():
        assert isinstance(asset, Asset)
        assert asset.modality == "audio"
        assert {feature.modality for feature in asset.features} == {"audio", "text"}


async def test_whole_assets_have_features_of_their_own() -> None:
    async with reading(TwelveLabsDialect(whole_asset="video")) as (source, sandbox):
        index = sandbox.twelvelabs.index_id("archive")
        asset = await read_asset(source, index, sandbox.twelvelabs.asset_ids(index)[0])
    scopes = [fields["embedding_scope"] for fields in by_name(asset)["marengo2.7-visual"]]
    assert scopes.count("video") == 1
    assert scopes.count("clip") == len(scopes) - 1
    assert {len(vector) for one in asset.features for vector in one.vectors.values()} == {1024}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("vector", "reason"),
    [
        ([1, "2", 3, 4], Reason.MALFORMED),
        ([], Reason.MALFORMED),
        (None, Reason.MALFORMED),
        ("text", Reason.MALFORMED),
        (b"[1.0, NaN, 1.0, 1.0]", Reason.NOT_FINITE),
        (b"[1.0, 1e99, 1.0, 1.0]", Reason.NOT_FINITE),
    ],
)
async def test_a_bad_vector_harms_no_other(vector: Any, reason: Reason) -> None:
    async with reading() as (source, sandbox):
        index, name = put(sandbox, segment(), segment(start=6, end=12))
        sandbox.twelvelabs.put_vector(name, 0, vector)
        asset = await read_asset(source, index, name)
    assert [len(feature.vectors) for feature in asset.features] == [0, 1]
    (bad,) = asset.rejected
    assert (bad.reason, bad.modality, bad.vector_name) == (reason, "video", "marengo3.0-visual")
    assert bad.feature_id == asset.features[0].feature_id


async def test_an_unusable_vector_is_set_aside_under_the_id_that_its_segment_has_when_it_is_usable() -> None:
    """It was under its place in the answer, which is another one each time."""
    async with reading() as (source, sandbox):
        index, name = put(sandbox, segment(), segment("audio"), asset_id="a" * 24)
        good = await read_asset(source, index, name)
        sandbox.twelvelabs.put_vector(name, 1, b"[1, 2, NaN, 4]")
        bad = await read_asset(source, index, name)
    ids = {feature.fields["embedding_option"]: feature.feature_id for feature in good.features}
    assert [(one.feature_id, one.vector_name) for one in bad.rejected] == [(ids["audio"], "marengo3.0-audio")]
    assert {feature.feature_id: len(feature.vectors) for feature in bad.features} == {ids["visual"]: 1, ids["audio"]: 0}


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
async def test_of_two_segments_at_one_place_the_one_with_a_vector_stays(order: list[int]) -> None:
    async with reading() as (source, sandbox):
        index, name = put(sandbox, segment(), segment(), segment(start=6, end=12))
        sandbox.twelvelabs.put_vector(name, order[0], b"[1, 2, NaN, 4]")
        asset = await read_asset(source, index, name)
    assert [len(feature.vectors) for feature in asset.features] == [1, 1]
    assert [(one.reason, one.vector_name) for one in asset.rejected] == [(Reason.NOT_FINITE, "marengo3.0-visual")]


@pytest.mark.parametrize("broken", [{"start": "soon"}, {"end": True}, {"scope": 7}])
async def test_a_segment_that_is_none_is_set_aside(broken: dict[str, Any]) -> None:
    async with reading() as (source, sandbox):
        asset = await read_asset(source, *put(sandbox, segment(), {**segment(), **broken}, duration=6))
    assert len(asset.features) == 1
    assert [(one.reason, one.feature_id) for one in asset.rejected] == [(Reason.MALFORMED, "segment[1]")]


@pytest.mark.parametrize("field", ["float", "embedding_option", "start_offset_sec"])
async def test_an_answer_in_which_no_segment_is_usable_removes_none(field: str) -> None:
    async with reading() as (source, sandbox):
        index, name = put(sandbox, segment(), segment(start=6, end=12))
        sandbox.faults.add(Fault(route=READ, do=SetField(field=field, value=True)))
        rejected = (await read(source, index, [name]))[name]
    assert isinstance(rejected, Rejected)
    assert rejected.reason is Reason.UNREADABLE
    assert "sent 2 segments and none that is usable" in rejected.detail


async def test_the_same_segment_twice_counts_once_and_another_at_its_place_is_set_aside() -> None:
    async with reading() as (source, sandbox):
        asset = await read_asset(source, *put(sandbox, segment(), segment(), segment(text="other")))
    assert len(asset.features) == 1
    assert [one.reason for one in asset.rejected] == [Reason.DUPLICATE_ID]


async def test_of_two_segments_at_one_place_the_same_one_stays_in_whatever_order_they_come() -> None:
    parts = [segment(text="one"), segment(text="other")]
    kept = []
    async with reading() as (source, sandbox):
        for order in (parts, parts[::-1]):
            asset = await read_asset(source, *put(sandbox, *order, asset_id="a" * 24))
            kept += [feature.vectors["marengo3.0-visual"] for feature in asset.features]
    assert len(kept) == 2
    assert (kept[0] == kept[1]).all()  # type: ignore[union-attr]


async def test_times_that_differ_by_less_than_anything_printed_are_of_the_same_segment() -> None:
    """Half a millisecond is what many times are, and was rounded up or down by the last digit."""
    ends = [(end + noise) for end in (0.0625, 7.5666666, 259.62109375, 1001 / 30) for noise in (-1e-7, 0, 1e-7)]
    async with reading() as (source, sandbox):
        found = []
        for end in ends:
            asset = await read_asset(source, *put(sandbox, segment(end=end), asset_id="a" * 24))
            found += [feature.feature_id for feature in asset.features]
    assert [len(set(found[place : place + 3])) for place in range(0, 12, 3)] == [1] * 4
    assert len(set(found)) == 4


async def test_the_same_words_twice_count_once_and_others_at_their_time_do_not() -> None:
    async with reading() as (source, sandbox):
        said = [*SAID, SAID[0], {**SAID[0], "value": "Uno."}]
        found = by_name(await read_asset(source, *put(sandbox, segment(), transcription=said)))
    assert [fields["text"] for fields in found[""]] == ["One.", "Uno.", "Two."]
    assert found["marengo3.0-visual"][0]["transcription"] == "One. Uno. Two."


async def test_metadata_that_look_like_vectors_are_metadata() -> None:
    metadata = {"float": [0.25, 0.5], "embedding": [1, 2], "quoted": '"float":[1,2]', "deep": [{"float": [3]}]}
    async with reading() as (source, sandbox):
        asset = await read_asset(source, *put(sandbox, segment(), user_metadata=metadata))
    assert asset.metadata == metadata
    assert len(asset.features) == 1


@pytest.mark.parametrize("field", ["embedding", "video_embedding", "segments"])
async def test_an_answer_without_the_embeddings_asked_for_removes_none(field: str) -> None:
    async with reading() as (source, sandbox):
        index, name = put(sandbox, segment())
        sandbox.faults.add(Fault(route=READ, do=DropField(field=field)))
        rejected = (await read(source, index, [name]))[name]
    assert isinstance(rejected, Rejected)
    assert rejected.reason is Reason.UNREADABLE
    assert "sent no embeddings though visual, audio, transcription were asked for" in rejected.detail


@pytest.mark.parametrize("field", ["user_metadata", "system_metadata", "model_name", "_id", "status", "created_at"])
async def test_other_fields_may_be_missing(field: str) -> None:
    async with reading() as (source, sandbox):
        index, name = put(sandbox, segment())
        await source.collections()
        sandbox.faults.add(Fault(route=READ, do=DropField(field=field)))
        asset = await read_asset(source, index, name)
    assert list(by_name(asset)) == ["marengo3.0-visual"]


async def test_unknown_properties_are_kept() -> None:
    async with reading() as (source, sandbox):
        index, name = put(sandbox, segment())
        sandbox.twelvelabs.put_field(name, "mood", {"calm": 0.5})
        asset = await read_asset(source, index, name)
    assert asset.fields["mood"] == {"calm": 0.5}


async def test_the_finer_transcription_of_an_upload_takes_one_more_request() -> None:
    async with reading(transcriptions="words") as (source, sandbox):
        said = [{"start": 0, "end": 3, "value": "One and two."}]
        index, name = put(sandbox, segment(), transcription=said)
        await source.collections()
        before = source.usage.requests
        asset = await read_asset(source, index, name)
        assert source.usage.requests - before == source.requests_to_read(1, 4)
    found = by_name(asset)
    assert [fields["text"] for fields in found[""]] == ["One", "and", "two."]
    assert found["marengo3.0-visual"][0]["transcription"] == "One and two."


async def test_where_an_upload_has_no_transcription_of_its_own_the_index_tells() -> None:
    async with reading(transcriptions="words") as (source, sandbox):
        index, name = put(sandbox, segment(), transcription=SAID)
        sandbox.faults.add(Fault(route="/.*/transcription", do=Status(status=404)))
        asset = await read_asset(source, index, name)
    assert [fields["text"] for fields in by_name(asset)[""]] == ["One.", "Two."]


async def test_nothing_is_asked_of_an_index_that_embeds_nothing() -> None:
    async with reading() as (source, sandbox):
        index = sandbox.twelvelabs.put_index("told", model_name="pegasus1.2")
        asset = await read_asset(source, index, sandbox.twelvelabs.put_asset(index, {"transcription": SAID}))
    assert [feature.modality for feature in asset.features] == ["text", "text"]


async def _first(source: TwelveLabsSource, sandbox: Sandbox, name: str) -> Asset:
    index = sandbox.twelvelabs.index_id(name)
    return await read_asset(source, index, sandbox.twelvelabs.asset_ids(index)[0])


async def test_ids_of_features_are_those_of_their_place_in_their_asset() -> None:
    async with reading() as (source, sandbox):
        film, older = await _first(source, sandbox, "films"), await _first(source, sandbox, "archive")
        sandbox.twelvelabs.reembed(film.asset_id)
        again = await _first(source, sandbox, "films")
    ids = [feature.feature_id for feature in film.features]
    assert ids == [feature.feature_id for feature in again.features]
    assert len(set(ids)) == len(ids)
    assert not set(ids) & {feature.feature_id for feature in older.features}


async def test_generated_and_served_numbers_are_the_same() -> None:
    async with reading() as (source, sandbox):
        film = await _first(source, sandbox, "films")
        given = {(one["start"], one["option"]): one["vector"] for one in sandbox.twelvelabs.segments(film.asset_id)}
    for feature in film.features:
        for vector in feature.vectors.values():
            known = given[feature.fields["start_time"], feature.fields["embedding_option"]]
            assert (vector == known).all()
