"""What docs/python.md says, done as it says."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import vectorferry
from vectorferry import aio
from vectorferry.connector._model import _errors
from vectorferry.connector.plugin import Listing
from vectorferry.connector.testing import MemoryDestination, MemorySource

from ..connector.worlds import settings_for
from ..waiting import PATIENCE

PAGE = (Path(__file__).parents[2] / "docs" / "python.md").read_text()


def test_the_page_s_examples_run(
    postgres_url: str, schema: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (settings,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    place = f"{{type: pgvector, url: '{postgres_url}', schema: {schema}}}"
    Path("vectorferry.yaml").write_text(settings.replace("{type: pgvector}", place))
    examples = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        exec(compile(example, "docs/python.md", "exec"), {})


def test_every_public_name_is_there_and_documented() -> None:
    for name in vectorferry.__all__:
        assert getattr(vectorferry, name) is not None
    errors = {name for name, value in vars(_errors).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert errors - {"QuarantineError"} <= set(vectorferry.__all__)
    assert len(vectorferry.__all__) <= 41
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = vectorferry.nothing


class Endless(MemorySource):
    """Never comes to the end of its list, and remembers that it was closed."""

    def __init__(self) -> None:
        super().__init__({"c": []})
        self.begun = threading.Event()
        self.closed = False

    async def scan(self, collection: str) -> AsyncIterator[Listing]:  # noqa: ARG002
        self.begun.set()
        yield await asyncio.Future[Listing]()

    async def aclose(self) -> None:
        self.closed = True


async def test_a_run_that_is_awaited_is_stopped_by_a_cancel() -> None:
    source = Endless()
    run = asyncio.create_task(aio.run_sync(settings_for(source, MemoryDestination())))
    await asyncio.to_thread(source.begun.wait, PATIENCE)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert source.closed


async def test_a_run_that_is_cancelled_before_it_begins_does_nothing() -> None:
    source = Endless()
    run = asyncio.create_task(aio.run_sync(settings_for(source, MemoryDestination())))
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert not source.begun.is_set()


async def test_an_awaited_call_raises_what_the_call_raises() -> None:
    with pytest.raises(vectorferry.ConfigurationError, match="nowhere"):
        await aio.search(
            settings_for(MemorySource({}), MemoryDestination()),
            vectorferry.SearchQuery(vectorferry.Modality.TEXT),
            "nowhere",
        )
