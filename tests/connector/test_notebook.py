"""What a person sees and does in a notebook, where an event loop runs already."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from vectorferry import Summary
from vectorferry.connector._cancellation import run_cancellable
from vectorferry.connector._model._batch import Applied, Counts
from vectorferry.connector._model._records import Modality
from vectorferry.connector.plugin import CollectionSummary, DestinationSummary


async def test_what_blocks_works_where_a_loop_is_running() -> None:
    async def answer() -> int:
        await asyncio.sleep(0)
        return 42

    assert run_cancellable(answer()) == 42


async def test_what_fails_there_fails_here() -> None:
    async def fail() -> None:
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match="nothing there"):
        run_cancellable(fail())


async def test_an_interrupt_comes_out_when_everything_is_undone() -> None:
    undone = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            undone.append(True)

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # a notebook's; pytest's is `asyncio.run`'s
    try:
        with pytest.raises(KeyboardInterrupt):
            run_cancellable(work())
    finally:
        signal.signal(signal.SIGINT, handler)
    assert undone == [True]


def test_an_interrupt_of_a_program_that_is_a_coroutine_cancels_it() -> None:
    undone = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            undone.append("work")

    async def program() -> None:
        try:
            run_cancellable(work())
        finally:
            undone.append("program")

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(program())
    assert undone == ["work", "program"]


def _summary(collection: str, notes: int = 0) -> Summary:
    applied = Applied(
        Counts(inserted=1_234), {Modality.VIDEO: Counts(updated=5)}, {(Modality.VIDEO, "m<1>"): Counts(1)}
    )
    store = DestinationSummary(applied, notes=[f"note {n}" for n in range(notes)])
    return Summary("media", {collection: CollectionSummary(listed=7, pulled=6, unchanged=1)}, {"pgvector": store})


def test_a_summary_is_shown_as_the_tables_that_the_command_shows() -> None:
    shown = repr(_summary("films")).splitlines()
    assert shown[0] == "Sync media: exit code 0 after 0.0 s"
    assert shown[1].split() == ["pgvector", "inserted", "updated", "unchanged", "deleted", "quarantined"]
    assert [line.split()[:3] for line in shown[2:5]] == [
        ["assets", "1,234", "0"],
        ["video", "0", "5"],
        ["m<1>", "1", "0"],
    ]
    assert shown[-1].split() == ["films", "7", "1", "6"]


def test_it_fits_a_screen() -> None:
    shown = repr(_summary("films", notes=1_000)).splitlines()
    assert len(shown) == 31
    assert shown[-1] == "… and 978 more lines: see to_dict()"


def test_a_name_is_neither_markup_nor_a_command_to_the_terminal() -> None:
    summary = _summary("<b>\x1b[2J" + "x" * 100)
    assert "\x1b" not in repr(summary)
    assert "<b>" not in summary._repr_html_()
    assert "m&lt;1&gt;" in summary._repr_html_()
    assert "x" * 61 not in summary._repr_html_()
