"""`vectorferry sql` and `show`: the sync's database without looking for its address."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from tests.builders import asset, batch, feature
from tests.connector.cli.conftest import Invoke
from tests.forking import Forked
from tests.waiting import PATIENCE
from vectorferry.connector.plugin import SchemaMapping
from vectorferry.destinations import PgvectorDestination
from vectorferry.destinations._postgres import parse_url
from vectorferry.destinations.pgvector._session import environment


@pytest.fixture
def stored(postgres_url: str, schema: str) -> Iterator[str]:
    """Two assets in a schema, and the file that says where it is."""
    Path("vectorferry.yaml").write_text(
        "name: media\nsource: {type: sandbox}\n"
        f'destinations: [{{type: pgvector, url: "{postgres_url}", schema: {schema}}}]\n'
    )
    with closing(PgvectorDestination(schema, postgres_url)) as destination:
        destination.prepare(SchemaMapping())
        destination.apply(batch(asset("a", feature("f1", text="a dog")), asset("b", feature("f2", text="a cat"))))
        destination.build_indexes()
        yield schema


def answers(command: list[str], asked: str) -> str:
    """What it says to what comes through its standard input."""
    with Forked(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        out, err = process.communicate(asked, timeout=PATIENCE)
    assert process.returncode == 0, err
    return out


@pytest.fixture
def no_psql(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without it."""
    monkeypatch.setenv("PATH", str(Path.cwd()))


@pytest.mark.usefixtures("stored")
def test_a_statement_is_run_with_the_schema_in_the_path(vectorferry: Invoke) -> None:
    result = vectorferry("sql", "-e", "SELECT asset_id, text FROM video ORDER BY 1")
    assert result.exit_code == 0, result.output
    assert [line.split() for line in result.stdout.splitlines() if "a " in line] == [
        ["a", "a", "dog"],
        ["b", "a", "cat"],
    ]
    assert "2 rows" in result.stdout
    near = "SELECT feature_id, embedding <=> '[1,0,0,0,0,0,0,0]' AS d FROM video_model_v1 LIMIT 1; SELECT 7 AS n"
    told = json.loads(vectorferry("sql", "--json", "-e", near).stdout)["results"]
    assert told[0]["columns"] == ["feature_id", "d"]
    assert told[1] == {"columns": ["n"], "rows": [{"n": 7}], "status": "SELECT 1"}


@pytest.mark.usefixtures("stored")
def test_what_postgres_refuses_is_said_in_its_words(vectorferry: Invoke) -> None:
    refused = vectorferry("sql", "-e", "SELECT asset_ids FROM video")
    assert refused.exit_code == 2
    assert 'Postgres refuses it: column "asset_ids" does not exist, at: asset_ids FROM video' in refused.stderr
    assert '(Perhaps you meant to reference the column "video.asset_id".)' in refused.stderr
    raised = vectorferry("sql", "-e", "DO $$ BEGIN RAISE EXCEPTION 'no dogs'; END $$")
    assert (raised.exit_code, "Postgres refuses it: no dogs" in raised.stderr) == (2, True)
    short = vectorferry("sql", "-e", "SELECT * FROM search_video_model_v1('[1]')")
    assert "the query has 1 dimensions" in short.stderr
    assert vectorferry("sql", "dogs").exit_code == 2
    assert vectorferry("sql", "--json").exit_code == 2


@pytest.mark.usefixtures("stored")
def test_psql_is_opened_on_the_database(monkeypatch: pytest.MonkeyPatch, schema: str) -> None:
    """The real one: what it is asked comes through its standard input."""
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=5MB")
    asked = "SELECT count(*) FROM assets; SHOW work_mem; SELECT current_schema; SELECT '[1]' <=> '[1]'::vector"
    command = [sys.executable, "-m", "vectorferry", "sql"]
    rows = [line.strip() for line in answers(command, asked).splitlines()]
    assert [rows[2], rows[7], rows[12], rows[17]] == ["2", "5MB", schema, "0"]


def test_a_password_reaches_psql_by_its_environment_only() -> None:
    address = parse_url("postgresql://ada:p%40ss%20word@db.example:6432/media?sslmode=require&keepalives_idle=9")
    said = environment(address, '"my schema",public')
    assert said == {
        "PGAPPNAME": "vectorferry sql",
        "PGHOST": "db.example",
        "PGPORT": "6432",
        "PGUSER": "ada",
        "PGPASSWORD": "p@ss word",
        "PGDATABASE": "media",
        "PGSSLMODE": "require",
        "PGOPTIONS": '-c search_path="my\\ schema",public',
    }


@pytest.mark.usefixtures("stored", "no_psql")
def test_without_psql_what_is_piped_in_is_run() -> None:
    command = [sys.executable, "-m", "vectorferry", "sql"]
    asked = "SELECT 40 + count(*) AS n\nFROM assets;"
    assert "42" in [line.strip() for line in answers(command, asked).splitlines()]


@pytest.mark.usefixtures("stored", "no_psql")
@pytest.mark.long
def test_without_psql_there_is_a_small_prompt() -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "vectorferry", "sql"]
    with Forked(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as prompt:
        os.write(ours, b"SELECT count(*)\nFROM assets;\nSELECT nothing;\nSELECT 40 + 2;\n\\q\n")
        out, err = prompt.communicate(timeout=120)
    assert prompt.returncode == 0, err
    assert 'column "nothing" does not exist' in err
    assert [line.strip() for line in out.splitlines() if line.strip().isdecimal()] == ["2", "42"]


def test_the_docs_say_what_the_comments_say(vectorferry: Invoke, stored: str, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as sql:
        sql.execute(f"COMMENT ON COLUMN {stored}.video.text IS 'My *own* words, {{{{ with }}}} braces | bars'")
    told = vectorferry("sql", "docs").stdout
    assert f"# The schema `{stored}`" in told
    assert "| `text` | text | My \\*own\\* words, {{ with }} braces \\| bars |" in told
    assert "### `search_video_model_v1`" in told
    assert "Key: `collection`, `asset_id`, `feature_id`" in told
    described = json.loads(vectorferry("sql", "docs", "--json").stdout)
    undescribed = [each["name"] for each in (*described["relations"], *described["functions"]) if not each["comment"]]
    assert undescribed == []
    keys = {each["name"]: each["key"] for each in described["relations"]}
    # The index of that key includes more.
    assert keys["video__model_v1"] == keys["video"] == ["collection", "asset_id", "feature_id"]
    dbt = yaml.safe_load(vectorferry("sql", "docs", "--format", "dbt").stdout)
    ((source,), version) = dbt["sources"], dbt["version"]
    assert (version, source["name"], source["schema"]) == (2, stored, stored)
    tables = {table["name"]: table for table in source["tables"]}
    assert {"assets", "video", "video__model_v1", "video_model_v1"} <= tables.keys()
    assert not any(name.startswith("_sync_") for name in tables)
    assert tables["assets"]["loaded_at_field"] == "synced_at"
    columns: dict[str, Any] = {column["name"]: column for column in tables["video"]["columns"]}
    assert columns["text"]["description"] == "My *own* words, { { with }} braces | bars"
    assert columns["start_time"]["data_type"] == "double precision"


@pytest.mark.usefixtures("stored")
def test_show_has_the_first_rows_with_their_ids(vectorferry: Invoke) -> None:
    result = vectorferry("show", "video", "--limit", "1")
    assert result.exit_code == 0, result.output
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "feature_id f1" in lines
    assert "feature_id f2" not in lines
    (told,) = json.loads(vectorferry("show", "--json").stdout)["destinations"]
    assert [row["asset_id"] for row in told["tables"]["assets"]] == ["a", "b"]
    assert told["tables"]["audio"] == []
    refused = vectorferry("show", "videos")
    assert refused.exit_code == 2
    assert "has no table videos; it has: _sync_" in refused.stderr
