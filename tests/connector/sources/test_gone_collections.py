"""A collection is gone where the settings name none; else it may only be left out."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import SecretStr

from connector import AllCollections, SourceSettings
from connector.sources.mixpeek import MixpeekSettings
from connector.sources.sandbox import SandboxSettings
from connector.sources.twelvelabs import TwelveLabsSettings

KEY = SecretStr("key")


def is_gone(settings: SourceSettings, collection: str) -> bool:
    source = settings.open()
    assert isinstance(source, AllCollections)
    try:
        return source.is_gone(collection)
    finally:
        asyncio.run(source.aclose())


@pytest.mark.parametrize("made", [MixpeekSettings, TwelveLabsSettings])
def test_nothing_is_gone_that_the_settings_leave_out(made: type[MixpeekSettings] | type[TwelveLabsSettings]) -> None:
    assert is_gone(made(api_key=KEY), "films")
    assert not is_gone(made(api_key=KEY, collections=("ads",)), "films")


def test_the_sandbox_is_like_what_it_serves() -> None:
    assert is_gone(SandboxSettings(), "films")
    assert not is_gone(SandboxSettings(collections=("ads",)), "films")


def test_embedding_tasks_are_never_gone() -> None:
    assert not is_gone(TwelveLabsSettings(api_key=KEY), "embed-tasks")
