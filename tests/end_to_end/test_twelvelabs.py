"""TwelveLabs into Postgres: how often it is asked, and what a second sync does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import Any

import psycopg
import pytest

from connector import Modality, Summary, SyncSettings, run_sync
from connector._config import parse_settings
from connector.sandbox import GeneratedIndexes, Sandbox, SandboxSettings, TwelveLabsDialect, running_sandbox

from .written import rows_written

OPTIONS = ("visual", "audio", "transcription")
WITHOUT_INDEXES = {"video": {"vectors": {f"marengo3.0-{option}": {"index": "none"} for option in OPTIONS}}}
"""Building them would take most of the time."""


class World:
    """A sandboxed TwelveLabs and the schema of one sync."""

    def __init__(self, sandbox: Sandbox, settings: SyncSettings, connection: psycopg.Connection, schema: str) -> None:
        self.sandbox = sandbox
        self._settings = settings
        self._connection = connection
        self._schema = schema

    def sync(self) -> tuple[Summary, dict[str, int]]:
        """One run, and the requests by route that it took."""
        self.sandbox.requests.reset()
        summary = run_sync(self._settings)
        assert summary.exit_code == 0, summary.to_dict()["notes"]
        return summary, self.sandbox.requests.counts()

    def value(self, query: str) -> Any:
        """The one value of a query; ``{schema}`` is the sync's."""
        row = self._connection.execute(query.format(schema=self._schema)).fetchone()
        assert row is not None
        return row[0]

    def rows_written(self, *, tables: str = "%") -> int:
        """By all runs so far."""
        return rows_written(self._connection, self._schema, tables=tables)


@contextmanager
def world(
    postgres_url: str,
    schema: str,
    *,
    generated: GeneratedIndexes | None = None,
    dialect: TwelveLabsDialect | None = None,
    **given: Any,
) -> Iterator[World]:
    """A sync of generated assets, or of the described ones; `given` are settings of the source."""
    served = SandboxSettings(generate_twelvelabs=generated, twelvelabs=dialect or TwelveLabsDialect())
    with running_sandbox(served) as sandbox, psycopg.connect(postgres_url, autocommit=True) as connection:
        source = {
            "type": "twelvelabs",
            "base_url": sandbox.twelvelabs_url,
            "api_key": sandbox.api_key,
            "reread_days": None,
            "entities": False,
            **given,
        }
        destination = {"type": "pgvector", "url": postgres_url, "schema": schema}
        settings = parse_settings(
            {"name": "films", "source": source, "destinations": [destination], "modalities": WITHOUT_INDEXES}, "test"
        )
        yield World(sandbox, settings, connection, schema)


@pytest.mark.parametrize(("assets", "segments"), [(110, 3), (200, 30)])
def test_each_asset_is_read_once_and_nothing_is_written_twice(
    assets: int, segments: int, postgres_url: str, schema: str
) -> None:
    generated = GeneratedIndexes(assets=assets, segments_per_asset=segments, options=OPTIONS)
    with world(postgres_url, schema, generated=generated) as here:
        summary, asked = here.sync()
        lists = {"twelvelabs.indexes.list": 1, "twelvelabs.indexed_assets.list": ceil(assets / 50)}
        assert asked == {**lists, "twelvelabs.indexed_assets.get": assets}
        assert summary.usage.requests == sum(asked.values())
        for option in OPTIONS:
            stored = here.value(f"SELECT count(*) FROM {{schema}}.video_marengo3_0_{option}")
            assert stored == assets * segments
        written = here.rows_written()
        _, asked = here.sync()
        assert asked == lists
        assert here.rows_written() == written

        changed = here.sandbox.twelvelabs.asset_ids()[7]
        here.sandbox.twelvelabs.reembed(changed)
        _, asked = here.sync()
        assert asked == {**lists, "twelvelabs.indexed_assets.get": 1}


def test_segments_know_what_is_said_meanwhile(postgres_url: str, schema: str) -> None:
    with world(postgres_url, schema) as here:
        here.sync()
        said = here.value(
            "SELECT count(*) FROM {schema}.video AS segment JOIN {schema}.text AS entry USING (asset_id) "
            "WHERE segment.transcription LIKE '%%' || entry.text || '%%' "
            "AND entry.start_time >= segment.start_time AND entry.end_time <= segment.end_time"
        )
        assert said > 0
        unspoken = here.value("SELECT count(*) FROM {schema}.video WHERE transcription IS NULL")
        assert unspoken > 0
        addresses = here.value("SELECT count(*) FROM {schema}.assets WHERE url LIKE 'https://%%.m3u8'")
        assert addresses > 0


def test_indexes_of_different_dimensions_go_to_tables_of_their_own(postgres_url: str, schema: str) -> None:
    with world(postgres_url, schema, dialect=TwelveLabsDialect(second_dimension=1024)) as here:
        here.sync()
        films = here.sandbox.twelvelabs
        wanted = Counter(
            len(one["vector"])
            for name in ("films", "lectures", "films-small")
            for asset_id in films.asset_ids(films.index_id(name), status="ready")
            for one in films.segments(asset_id)
            if one["option"] == "visual"
        )
        assert set(wanted) == {512, 1024}
        for dimension, vectors in wanted.items():
            assert here.value(f"SELECT count(*) FROM {{schema}}.video_marengo3_0_visual_{dimension}") == vectors
        assert here.value("SELECT min(vector_dims(embedding)) FROM {schema}.video_marengo2_7_visual") == 1024


def test_an_edit_that_shows_nowhere_is_found_when_the_assets_turn_comes(postgres_url: str, schema: str) -> None:
    quiet = TwelveLabsDialect(edits_move_updated_at=False)
    often = 1 / 86_400_000
    with world(postgres_url, schema, dialect=quiet, collections=["archive"], reread_days=often) as here:
        here.sync()
        edited = here.sandbox.twelvelabs.asset_ids(here.sandbox.twelvelabs.index_id("archive"))[0]
        vectors = here.rows_written(tables=r"%\_\_%")
        here.sandbox.twelvelabs.edit_metadata(edited, {"author": "somebody"}, touch=False)
        here.sync()
        assert here.value("SELECT asset_id FROM {schema}.assets WHERE metadata ->> 'author' = 'somebody'") == edited
        assert here.rows_written(tables=r"%\_\_%") == vectors


def test_vectors_of_a_task_stay_when_it_leaves_the_list(postgres_url: str, schema: str) -> None:
    stored = "SELECT count(*) FROM {schema}.assets WHERE collection = 'embed-tasks'"
    with world(postgres_url, schema, collections=["archive"], embed_tasks=True) as here:
        summary, asked = here.sync()
        assert asked["twelvelabs.embed_tasks.get"] == asked["twelvelabs.embed_v2_tasks.get"] == 4
        assert summary.collections["embed-tasks"].note
        assert here.value(stored) == 4
        for task in here.sandbox.twelvelabs.embed_task_ids("v1"):
            here.sandbox.twelvelabs.remove_embed_task(task)
        _, asked = here.sync()
        assert not {"twelvelabs.embed_tasks.get", "twelvelabs.embed_v2_tasks.get"} & asked.keys()
        assert here.value(stored) == 4


def test_pinecone_takes_every_vector_and_nothing_on_the_second_run(postgres_url: str, schema: str) -> None:
    with running_sandbox() as sandbox:
        source = {
            "type": "twelvelabs",
            "base_url": sandbox.twelvelabs_url,
            "api_key": sandbox.api_key,
            "collections": ["archive"],
            "reread_days": None,
            "entities": False,
        }
        manifest = {"url": postgres_url, "schema": schema}
        pinecone = {"type": "pinecone", "api_key": sandbox.api_key, "host": sandbox.url, "manifest": manifest}
        settings = parse_settings({"name": "films", "source": source, "destinations": [pinecone]}, "test")
        applied = run_sync(settings).destinations["pinecone"].applied
        films = sandbox.twelvelabs
        vectors = sum(len(films.segments(asset_id)) for asset_id in films.asset_ids(films.index_id("archive")))
        assert applied.features[Modality.VIDEO].inserted == vectors
        assert applied.features[Modality.TEXT].inserted > 0
        sandbox.requests.reset()
        assert run_sync(settings).exit_code == 0
        assert not [route for route in sandbox.requests.counts() if not route.endswith(".list")]
