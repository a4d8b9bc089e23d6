"""From settings to a finished run: keys are resolved, everything is opened, and everything is closed."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys

import pytest

from tests.connector.worlds import Scripted, Unreliable, asset, assets, settings_for
from tests.forking import Forked
from tests.waiting import PATIENCE
from vectorferry import SyncOptions, run_sync
from vectorferry.connector._reports._run_id import current_run_id
from vectorferry.connector.plugin import (
    BatchLimits,
    ConfigurationError,
    DeleteGuard,
    DestinationError,
    DestinationSettings,
    Modality,
    SchemaMapping,
    SourceError,
)
from vectorferry.connector.testing import MemoryDestination, MemorySource


class Source(Scripted):
    """Remembers that it was closed."""

    closed = False

    async def aclose(self) -> None:
        self.closed = True


class Store(Unreliable):
    """Remembers how often it was closed."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_a_run_from_settings_resolves_opens_syncs_and_closes() -> None:
    source, store, opened = Source({"c": assets(2), "d": assets(1)}), Store(), list[str]()
    settings = settings_for(source, store, key="${A_KEY}", opened=opened)
    summary = run_sync(
        settings, SyncOptions(collections=["c"], modalities=frozenset({Modality.IMAGE})), environ={"A_KEY": "secret"}
    )
    assert opened == ["memory for media", "secret"]
    assert (summary.sync, summary.exit_code, list(summary.collections)) == ("media", 0, ["c"])
    assert {f.modality for f in store.assets["c"]["a0000"].features} == {Modality.IMAGE}
    assert (source.closed, store.closed) == (True, 1)


def test_an_unset_variable_opens_nothing() -> None:
    opened: list[str] = []
    with pytest.raises(ConfigurationError, match="A_KEY"):
        run_sync(settings_for(Source({}), Store(), key="${A_KEY}", opened=opened), environ={})
    assert opened == []


def test_what_the_settings_say_about_batches_deletes_and_mapping_is_used() -> None:
    source, store = Source({"c": [*assets(4), asset("gone")]}), Store()
    more = {"batch": BatchLimits(rows=1), "deletes": DeleteGuard(max_share=0.2)}
    mapping = SchemaMapping.model_validate({"video": {"columns": {"copy_of_text": {"path": "text"}}}})
    run_sync(settings_for(source, store, modalities=mapping, **more))
    assert store.assets["c"]["a0000"].features[1].columns["copy_of_text"] == "a0000 v1"
    del source.assets["c"]["gone"]
    assert run_sync(settings_for(source, store, modalities=mapping, **more)).exit_code == 0
    source.assets["c"].popitem()
    assert run_sync(settings_for(source, store, modalities=mapping, **more)).exit_code == 4


def test_everything_is_closed_when_the_source_fails() -> None:
    source, stores = Source({"c": assets(2)}), [Store("one"), Store("two")]
    source.scan_error = SourceError("gone")
    with pytest.raises(SourceError):
        run_sync(settings_for(source, *stores))
    assert (source.closed, [store.closed for store in stores]) == (True, [1, 1])


def test_what_is_open_is_closed_when_the_next_destination_does_not_open() -> None:
    class Unopenable(DestinationSettings):
        type: str = "memory"

        def open(self, sync_name: str) -> MemoryDestination:
            raise DestinationError(f"no route to the host of {sync_name}")

    store = Store()
    settings = settings_for(MemorySource({}), store)
    both = settings.model_copy(update={"destinations": (*settings.destinations, Unopenable())})
    with pytest.raises(DestinationError, match="no route"):
        run_sync(both)
    assert store.closed == 1


def test_variables_come_from_the_process_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setenv("A_KEY", "of the process")
    run_sync(settings_for(Source({}), Store(), key="${A_KEY}", opened=opened))
    assert opened[-1] == "of the process"


def test_ctrl_c_finishes_the_write_under_way_and_closes_everything() -> None:
    command = [sys.executable, "-m", "tests.connector.interrupted"]
    with Forked(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate("go on\n", timeout=PATIENCE)
    assert told.splitlines() == [
        "written 3",
        "source closed",
        "destination closed, other threads: []",
        "interrupted",
    ]
    assert process.returncode == 0


def test_all_that_is_logged_of_a_run_is_under_its_id_also_on_the_threads_of_destinations() -> None:
    ids: list[tuple[str, str]] = []

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            ids.append((current_run_id(), record.threadName or ""))

    class Talking(MemoryDestination):
        def prepare(self, mapping: SchemaMapping) -> None:
            logger.info("prepared")
            super().prepare(mapping)

    logger, handler = logging.getLogger("vectorferry"), Listening()
    level = logger.level
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    try:
        settings = settings_for(MemorySource({"ads": assets(3)}), Talking())
        summary = run_sync(settings, SyncOptions(run_id="run-of-somebody"))
        other = run_sync(settings)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert summary.run_id == "run-of-somebody"
    assert {run_id for run_id, _ in ids} == {"run-of-somebody", other.run_id}
    assert len({thread for _, thread in ids}) > 1
    assert current_run_id() == ""
