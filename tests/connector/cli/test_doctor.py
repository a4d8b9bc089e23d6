"""`vectorferry doctor` says of each part of a sync whether it is as it should be, and what to do where not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.connector.cli.conftest import Invoke
from tests.urls import as_user


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a configuration; by default of the sandbox and a Postgres."""

    def write(source: str = "type: sandbox", url: str = "${DATABASE_URL}", more: str = "") -> Path:
        path = tmp_path / "sync.yaml"
        path.write_text(
            f"name: checked\nsource: {{{source}}}\ndestinations: [{{type: pgvector, url: '{url}'}}]\n{more}",
            encoding="utf-8",
        )
        return path

    return write


@pytest.fixture
def schema(postgres_url: str) -> Iterator[None]:
    yield
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS checked CASCADE")


def test_nothing_is_wrong_with_a_sync_that_would_run(
    vectorferry: Invoke, file: Callable[..., Path], postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres_url)
    result = vectorferry("doctor", "-c", str(file()))
    assert result.exit_code == 0
    assert "✔ source sandbox: answers, and takes the key; 4 collections: example" in result.stdout
    assert "✔ destination pgvector: Postgres" in result.stdout
    assert "✔ destination pgvector: nothing is stored yet" in result.stdout
    assert "✘" not in result.stdout
    with psycopg.connect(postgres_url) as connection:  # it only looked
        assert connection.execute("SELECT to_regnamespace('checked')").fetchone() == (None,)


def test_every_part_is_looked_at_although_another_is_wrong(vectorferry: Invoke, file: Callable[..., Path]) -> None:
    """Whoever mends one thing after the other should not have to run it as many times."""
    result = vectorferry("doctor", "-c", str(file("type: mixpeek, api_key: '${NO_SUCH_KEY}'", "${NO_SUCH_URL}")))
    assert result.exit_code == 2
    assert "✘ source mixpeek" in result.stdout
    assert "run `export NO_SUCH_KEY=…` first" in result.stdout
    assert "✘ destination pgvector" in result.stdout
    assert "run `export NO_SUCH_URL=…` first" in result.stdout


def test_a_role_without_rights_is_told_the_statements_that_give_them(
    vectorferry: Invoke, file: Callable[..., Path], postgres_url: str
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS checked_by")
        connection.execute("CREATE ROLE checked_by LOGIN")
    try:
        result = vectorferry("doctor", "-c", str(file(url=as_user(postgres_url, "checked_by"))))
        assert result.exit_code == 1
        assert "CREATE SCHEMA" in result.stdout
        assert "checked_by lacks rights" in result.stdout
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("DROP ROLE checked_by")


@pytest.mark.usefixtures("schema")
def test_a_vector_that_nothing_stored_has_is_named(
    vectorferry: Invoke, file: Callable[..., Path], postgres_url: str
) -> None:
    more = "modalities: {video: {vectors: {multimodl-v1: {metric: cosine}}}}\n"
    assert vectorferry("sync", "--collection", "example", "-c", str(file(url=postgres_url, more=more))).exit_code == 0
    result = vectorferry("doctor", "-c", str(file(url=postgres_url, more=more)))
    assert result.exit_code == 0
    assert "! destination pgvector: `modalities.video.vectors` names 'multimodl-v1'" in result.stdout
    assert "multimodal-v1" in result.stdout


def test_a_collection_that_is_not_there_is_named(vectorferry: Invoke, file: Callable[..., Path]) -> None:
    path = file("type: sandbox, collections: [example, exampel]", url="postgresql://nobody@127.0.0.1:1/none")
    told = json.loads(vectorferry("doctor", "--json", "-c", str(path)).stdout)
    assert told["exit_code"] == 1
    failed = [each["text"] for each in told["parts"]["source sandbox"] if each["health"] == "failed"]
    assert len(failed) == 1
    assert "exampel" in failed[0]
    assert [each["health"] for each in told["parts"]["destination pgvector"]] == ["failed"]


def test_a_directory_that_dagster_cannot_use_is_named(
    vectorferry: Invoke, file: Callable[..., Path], postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "here")
    result = vectorferry("doctor", "-c", str(file(url=postgres_url)))
    assert result.exit_code == 1
    assert "✘ dagster: DAGSTER_HOME is 'here': Dagster takes an absolute path only" in result.stdout


def test_the_environment_names_the_file_where_there_is_none_here(
    vectorferry: Invoke, file: Callable[..., Path], postgres_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("VECTORFERRY_CONFIG", str(file(url=postgres_url)))
    assert "sync checked" in vectorferry("doctor").stdout
    local = file(url=postgres_url).read_text(encoding="utf-8").replace("name: checked", "name: local")
    (here / "vectorferry.yaml").write_text(local, encoding="utf-8")
    assert "sync local" in vectorferry("doctor").stdout


def test_the_variable_is_named_where_what_it_names_is_not_there(
    vectorferry: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VECTORFERRY_CONFIG", "/nowhere/media.yaml")
    refused = vectorferry("status")
    assert refused.exit_code == 2
    assert "VECTORFERRY_CONFIG names /nowhere/media.yaml, which is not there" in refused.stderr
