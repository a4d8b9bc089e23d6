"""Submitting by URL, against the sandbox: what is uploaded, indexed and found again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from tests.connector.sandbox.twelvelabs.serving import answering, index_named, rows_of, twelvelabs
from vectorferry.connector.http import ApiClient, ClientSettings, RetryPolicy, UnsureError
from vectorferry.connector.plugin import (
    Capability,
    ConfigurationError,
    SourceError,
    Submission,
    SubmissionState,
    SubmitOptions,
)
from vectorferry.connector.sandbox import Fault, Reset, Sandbox, SetField, Status
from vectorferry.connector.sources.twelvelabs import TwelveLabsSettings
from vectorferry.connector.sources.twelvelabs._submit import Submitter, check_metadata

FILM = "https://media.example/films/harbour%20at%20dawn.mp4?X-Amz-Signature=4711"
FETCHING, INDEXING, READY = SubmissionState.FETCHING, SubmissionState.INDEXING, SubmissionState.READY


@dataclass
class World:
    sandbox: Sandbox
    service: httpx.AsyncClient
    submitter: Submitter
    index: str

    async def submit(self, url: str = FILM, **options: Any) -> list[Submission]:
        return [change async for change in self.submitter.submit(self.index, url, SubmitOptions(**options))]

    async def uploads(self) -> list[dict[str, Any]]:
        return await rows_of(self.service, "/assets", filename="harbour at dawn.mp4")

    async def indexed(self) -> list[dict[str, object]]:
        return await rows_of(self.service, f"/indexes/{self.index}/indexed-assets", filename="harbour at dawn.mp4")


def client_of(sandbox: Sandbox) -> ApiClient:
    return ApiClient(
        ClientSettings(
            base_url=sandbox.twelvelabs_url,
            api_key=SecretStr(sandbox.api_key),
            key_path="source.api_key",
            key_header="x-api-key",
            retry=RetryPolicy(attempts=4, first_wait=0.01, longest_wait=0.05),
        )
    )


def fault(route: str, do: Reset | SetField | Status) -> Fault:
    """Hits the first request of that route."""
    return Fault(route=route, do=do, times=1)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with twelvelabs() as (sandbox, service), aclosing(client_of(sandbox)) as client:
        submitter = Submitter(client, first_wait=0.01, longest_wait=0.01)
        yield World(sandbox, service, submitter, await index_named(service, "lectures"))


async def test_a_file_is_uploaded_indexed_and_watched_until_it_is_ready(world: World) -> None:
    changes = await world.submit()
    assert [change.state for change in changes] == [FETCHING, INDEXING, READY]
    (indexed,) = await world.indexed()
    assert changes[-1] == Submission(FILM, READY, str(indexed["_id"]))
    assert indexed["status"] == "ready"
    (upload,) = await world.uploads()
    assert (upload["method"], upload["filename"]) == ("url", "harbour at dawn.mp4")
    assert "4711" not in str(upload["user_metadata"])


async def test_the_same_address_is_neither_uploaded_nor_indexed_twice(world: World) -> None:
    first = await world.submit()
    second = await world.submit()
    assert [change.known for change in (*first, *second)] == [False] * 3 + [True] * 3
    assert second[-1].asset_id == first[-1].asset_id
    assert (len(await world.uploads()), len(await world.indexed())) == (1, 1)


async def test_again_uploads_it_once_more(world: World) -> None:
    await world.submit()
    await world.submit(again=True)
    assert (len(await world.uploads()), len(await world.indexed())) == (2, 2)


async def test_another_file_of_the_same_name_is_another_file(world: World) -> None:
    await world.submit()
    await world.submit(FILM.replace("films", "others"))
    assert (len(await world.uploads()), len(await world.indexed())) == (2, 2)


async def test_metadata_goes_with_the_indexed_asset(world: World) -> None:
    metadata = {"hello": "world", "take": 3, "tags": ["a", "b"], "public": True}
    first = (await world.submit(metadata=metadata))[-1]
    (upload,) = await world.uploads()
    detail = (await world.service.get(f"/indexes/{world.index}/indexed-assets/{first.asset_id}")).json()
    for told in (detail["user_metadata"], upload["user_metadata"]):
        assert {key: told[key] for key in metadata} == metadata
    # It is there already, and stays as it is.
    second = (await world.submit(metadata={"take": 4}))[-1]
    assert (second.state, second.asset_id, second.known) == (READY, first.asset_id, True)
    assert "with the metadata that it has there" in second.note
    assert [first.note, (await world.submit())[-1].note] == ["", ""]


async def test_a_service_that_does_not_keep_the_mark_is_told_of() -> None:
    async with (
        twelvelabs(answering(upload_metadata=False)) as (sandbox, service),
        aclosing(client_of(sandbox)) as client,
    ):
        submitter = Submitter(client, first_wait=0.01, longest_wait=0.01)
        world = World(sandbox, service, submitter, await index_named(service, "lectures"))
        changes = await world.submit()
        assert changes[-1].state == READY
        assert ["did not keep our mark" in change.note for change in changes] == [False, True, True]
        await world.submit()
        assert len(await world.uploads()) == 2


@pytest.mark.parametrize("value", [{"deep": 1}, None, [1], 2**53, -(2**60)])
def test_metadata_that_the_service_does_not_take_is_refused_before(value: object) -> None:
    with pytest.raises(ConfigurationError, match=r"metadata\.odd: TwelveLabs takes text, numbers"):
        check_metadata({"fine": "x", "odd": value})


async def test_what_was_left_half_way_is_taken_up(world: World) -> None:
    async with aclosing(world.submitter.submit(world.index, FILM, SubmitOptions())) as changes:
        assert (await anext(changes)).state == FETCHING
    assert await world.indexed() == []
    assert (await world.submit())[-1].state == READY
    assert (len(await world.uploads()), len(await world.indexed())) == (1, 1)


async def test_an_upload_without_an_answer_is_not_repeated_and_is_found_afterwards(world: World) -> None:
    world.sandbox.faults.add(fault("twelvelabs.assets.create", Reset(when="after")))
    with pytest.raises(UnsureError, match="It was not sent again"):
        await world.submit()
    assert len(await world.uploads()) == 1
    assert (await world.submit())[-1].known
    assert len(await world.uploads()) == 1


async def test_an_indexing_request_without_an_answer_is_found_afterwards(world: World) -> None:
    world.sandbox.faults.add(fault("twelvelabs.indexed_assets.create", Reset(when="after")))
    with pytest.raises(UnsureError):
        await world.submit()
    assert (await world.submit())[-1].state == READY
    assert len(await world.indexed()) == 1


async def test_looks_that_fail_are_repeated(world: World) -> None:
    looks = ("twelvelabs.assets.get", "twelvelabs.indexed_assets.get", "twelvelabs.assets.list")
    world.sandbox.faults.add(*(fault(op, Status(status=503)) for op in looks))
    assert (await world.submit())[-1].state == READY


async def test_an_odd_list_is_no_reason_to_fail(world: World) -> None:
    odd = SetField(field="user_metadata", value="7")
    await world.submit()
    world.sandbox.faults.add(fault("twelvelabs.assets.list", odd))
    assert not (await world.submit())[-1].known


async def test_an_index_that_is_not_there_says_so(world: World) -> None:
    settings = TwelveLabsSettings(base_url=world.sandbox.twelvelabs_url, api_key=SecretStr(world.sandbox.api_key))
    source = settings.open()
    async with aclosing(source):
        assert Capability.SUBMIT in source.capabilities
        with pytest.raises(SourceError, match=r"Check source.collections"):
            await anext(source.submit("0" * 24, FILM, SubmitOptions()))
        with pytest.raises(SourceError, match="embed-tasks is no index"):
            await anext(source.submit("embed-tasks", FILM, SubmitOptions()))
    assert await world.uploads() == []
