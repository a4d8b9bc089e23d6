"""One default sandbox per test, and what it holds."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.connector.sandbox.pinecone.serving import SdkIndex, World, world


@pytest.fixture
def here() -> Iterator[World]:
    with world() as opened:
        yield opened


@pytest.fixture
def index(here: World) -> SdkIndex:
    return here.index()


@pytest.fixture
def plain(here: World, index: SdkIndex) -> httpx.Client:  # noqa: ARG001 - the index must be there
    return here.http("clips")
