"""Each recipe of docs/sql.md, as it stands there: it gives something, and reads no more than it has to.

On data that is shaped like a user's, and under the default settings of server and planner.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psycopg
import pytest

from vectorferry.connector.plugin import Modality, SchemaMapping
from vectorferry.destinations import PgvectorDestination

from ...builders import asset, batch, feature
from ...examples import family
from ...urls import as_user

Sql = psycopg.Connection[Any]

ROWS, DIMENSION, SEGMENTS = 5_000, 128, 20
TABLE, VIEW = "video__multimodal_v1", "video_multimodal_v1"
MAPPING = SchemaMapping.model_validate({"video": {"columns": {"text": {"path": "text", "full_text": "english"}}}})

TAGS = {True: ["draft"], False: ["done", "live"]}

SECTION = (Path(__file__).parents[3] / "docs" / "sql.md").read_text(encoding="utf-8").partition("\n## Cookbook\n")[2]
RECIPES = {
    title: re.findall(r"```(sql|python)\n(.*?)```", words, re.DOTALL)
    for title, words in re.findall(r"^### (.*?)\n(.*?)(?=^##)", SECTION + "\n##", re.DOTALL | re.MULTILINE)
}

ALONG_THE_INDEX = {
    "More like this",
    "The best segment of each video",
    "Which videos, and where in them",
    "Only what is near enough",
    "Page by page",
    "Not ten times the same",
    "What comes just before and after a hit",
    "With a table of your own",
    "Words and pictures together",
    "What is like a whole video",
    "The neighbours of many",
    "What most neighbours are",
    "How good the answers are",
}
"""These go along the vector index. Of the others the filter leaves so little that it is compared, or they need none."""

EVERY_VECTOR = {"This or that, but not those", "In a window of time", "How good the answers are"}
"""These may read all vectors: half of them, or all for comparison, are asked for."""


class Loaded(NamedTuple):
    """Where the data is."""

    url: str
    schema: str
    sql: Sql


@pytest.fixture(scope="module", params=family(["postgres_url", "other_postgres_url"]))
def loaded(request: pytest.FixtureRequest) -> Iterator[Loaded]:
    """Films of twenty segments in two collections, which lie in clusters, some texts, and a table of the user's own."""
    url, schema = request.getfixturevalue(request.param), f"t_{uuid.uuid4().hex[:12]}"
    with closing(PgvectorDestination(schema, url)) as destination:
        destination.prepare(MAPPING)
        _load(destination)
        destination.build_indexes()
    with psycopg.connect(url, autocommit=True) as sql:
        sql.execute(f"SET search_path = {schema}, public")
        sql.execute("CREATE TABLE products AS SELECT asset_id, 'sku-' || asset_id AS sku, 5 AS price FROM assets")
        yield Loaded(url, schema, sql)
        sql.execute(f"DROP SCHEMA {schema} CASCADE")


def _load(destination: PgvectorDestination) -> None:
    vectors = _vectors()
    for collection, numbers in (("ads", range(100)), ("films", range(100, ROWS // SEGMENTS))):
        made = []
        for number in numbers:
            segments = [
                feature(
                    f"s{segment}",
                    {"multimodal-v1": vectors[number * SEGMENTS + segment]},
                    mapping=MAPPING,
                    metadata={
                        "year": 2000 + number % 25,
                        "tags": ["draft" if number % 7 else "done"],
                        "genre": "drama",
                    },
                    start_time=segment * 10.0,
                    end_time=segment * 10.0 + 10,
                    text="surfing big waves" if number % 50 == 0 else f"part {segment} of {number}",
                )
                for segment in range(SEGMENTS)
            ]
            made.append(asset(f"a-{number}", *segments))
        destination.apply(batch(*made, collection=collection))
    texts = [
        feature(f"t{n}", {"multimodal-v1": vectors[n]}, modality=Modality.TEXT, mapping=MAPPING, text=f"words {n}")
        for n in range(0, ROWS, 50)
    ]
    destination.apply(batch(asset("transcripts", *texts), collection="films"))


def _vectors() -> Any:
    random = np.random.default_rng(5)
    centres = random.standard_normal((100, DIMENSION))
    spread = 0.35 * random.standard_normal((ROWS, DIMENSION))
    vectors = (centres[random.integers(0, 100, ROWS)] + spread).astype(np.float32)
    vectors[18 * SEGMENTS : 19 * SEGMENTS] = vectors[17 * SEGMENTS : 18 * SEGMENTS] * 1.01
    return vectors


NEAR = _vectors()[340].tolist()


def _filled(words: str, schema: str) -> str:
    source = words.replace("{{ source('media', 'video') }}", "media.video")
    return re.sub(r"\bmedia\b", schema, source.replace("[0.1, …]", str(NEAR)))


def _scans(sql: Sql) -> dict[str, int]:
    """How often this session has read all vectors, and gone along the vector index, since its transaction began."""
    counted = "SELECT name, pg_stat_get_xact_numscans(name::regclass) FROM unnest(%s::text[]) name"
    return {str(name): int(scans) for name, scans in sql.execute(counted, [[TABLE, f"{TABLE}_hnsw"]]).fetchall()}


QUESTIONS = {title: blocks for title, blocks in RECIPES.items() if [kind for kind, _ in blocks] == ["sql"]}


@pytest.mark.parametrize("title", [title for title in QUESTIONS if title != "One collection for each role"])
def test_a_recipe_gives_something_and_reads_no_more_than_it_has_to(loaded: Loaded, title: str) -> None:
    [(_, words)] = RECIPES[title]
    with loaded.sql.transaction():
        before = _scans(loaded.sql)
        rows = loaded.sql.execute(_filled(words, loaded.schema).encode()).fetchall()
        scans = {name: after - before[name] for name, after in _scans(loaded.sql).items()}
    assert rows
    assert title not in ALONG_THE_INDEX or scans[f"{TABLE}_hnsw"] > 0
    assert title in EVERY_VECTOR or scans[TABLE] == 0


def test_every_recipe_is_known() -> None:
    assert len(RECIPES) >= 20
    assert RECIPES.keys() >= ALONG_THE_INDEX | EVERY_VECTOR


@pytest.mark.parametrize("number", [0, 1])
def test_the_recipes_in_python_run(loaded: Loaded, number: int) -> None:
    _, words = RECIPES["From Python"][number]
    names: dict[str, Any] = {"url": loaded.url, "vector": NEAR}
    exec(_filled(words, loaded.schema), names)
    assert len(names["rows"]) == 10
    if "engine" in names:
        names["engine"].dispose()


def test_a_role_sees_only_its_collection_in_views_and_functions(loaded: Loaded) -> None:
    """Last, since it changes the view."""
    [(_, words)] = RECIPES["One collection for each role"]
    role = f"{loaded.schema}_agency"
    loaded.sql.execute(f"CREATE ROLE {role} LOGIN")
    loaded.sql.execute(_filled(words, loaded.schema).replace("agency", role).encode())
    with psycopg.connect(as_user(loaded.url, role)) as agency:
        for relation in (f"{VIEW} LIMIT 500", f"search_{VIEW}('{NEAR}', 500, mode => 'exact')"):
            seen = agency.execute(f"SELECT collection FROM {loaded.schema}.{relation}".encode()).fetchall()
            assert (len(seen), {row[0] for row in seen}) == (500, {"ads"})
