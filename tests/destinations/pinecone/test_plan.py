"""What is planned for Pinecone: the indexes are listed, and nothing is asked of them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from vectorferry.connector.plugin import ConfigurationError, Planned, SchemaMapping
from vectorferry.connector.sandbox import Sandbox
from vectorferry.destinations import PineconeSettings

from ...builders import asset, batch, dense, feature
from ...pinecone import pinecone_destination
from .conftest import Open
from .store import delete_index


def planned(
    sandbox: Sandbox, url: str, schema: str, mapping: SchemaMapping | None = None, **settings: object
) -> Planned:
    """What a new process would plan."""
    with closing(pinecone_destination(sandbox, url, schema, **settings)) as destination:
        return destination.planned(mapping or SchemaMapping())


def test_nothing_is_asked_of_an_index_and_none_is_made(
    sandbox: Sandbox, postgres_url: str, schema: str, open_pinecone: Open
) -> None:
    mapping = SchemaMapping.model_validate({"video": {"vectors": {"model-v1": {}, "model-v2": {}}}})
    sandbox.requests.reset()
    first = planned(sandbox, postgres_url, schema, mapping)
    assert set(sandbox.requests.counts()) == {"pinecone.indexes.list"}
    assert any(statement.startswith("CREATE TABLE") for statement in first.statements)
    open_pinecone(mapping).apply(batch(asset("a", feature("f"))))
    sandbox.requests.reset()
    told = planned(sandbox, postgres_url, schema, mapping)
    assert set(sandbox.requests.counts()) == {"pinecone.indexes.list"}
    assert told.statements == []
    assert [note for note in told.notes if "model" in note] == [
        "the index for model-v2 is made when its first vector arrives, which tells the dimension"
    ]


def test_assets_of_an_index_that_is_gone_are_written_again(
    sandbox: Sandbox, postgres_url: str, schema: str, open_pinecone: Open
) -> None:
    other = feature("f", {"other": dense(1)})
    open_pinecone().apply(batch(asset("a", feature("f")), asset("b", other)))
    delete_index(sandbox, "media-other-8")
    with closing(pinecone_destination(sandbox, postgres_url, schema)) as destination:
        told = destination.planned(SchemaMapping())
        assert set(told.known("ads", ["a", "b"])) == {"a"}
        assert sorted(told.asset_ids("ads")) == ["a", "b"]
    assert any("media-other-8 is gone" in note for note in told.notes)
    assert set(open_pinecone().known("ads", ["a", "b"])) == {"a"}


def test_assets_that_other_settings_have_read_again_are_known_without_a_fingerprint(
    sandbox: Sandbox, postgres_url: str, schema: str, open_pinecone: Open
) -> None:
    open_pinecone().apply(batch(asset("a", feature("f"))))
    with closing(pinecone_destination(sandbox, postgres_url, schema, vectors=["model-v1"])) as destination:
        told = destination.planned(SchemaMapping())
        assert {name: each.fingerprint for name, each in told.known("ads", ["a", "b"]).items()} == {"a": ""}
    assert dict(open_pinecone(vectors=["model-v1"]).known("ads", ["a", "b"])) == {}


def test_an_index_of_a_lost_manifest_is_looked_up_first(
    sandbox: Sandbox, postgres_url: str, schema: str, open_pinecone: Open
) -> None:
    open_pinecone().apply(batch(asset("a", feature("f"))))
    told = planned(sandbox, postgres_url, f"{schema}_other")
    assert any("media-model-v1-8 is not what the manifest knows" in note for note in told.notes)


def test_settings_that_must_not_change_are_refused_as_prepare_refuses_them(
    sandbox: Sandbox, postgres_url: str, schema: str, open_pinecone: Open
) -> None:
    open_pinecone().apply(batch(asset("a", feature("f"))))
    with pytest.raises(ConfigurationError, match="were written under 'media', not 'films'"):
        planned(sandbox, postgres_url, schema, index_prefix="films")
    with pytest.raises(ConfigurationError, match="were written under 'media', not 'films'"):
        open_pinecone(index_prefix="films")


def test_names_that_would_delete_every_record_are_refused_as_prepare_refuses_them(
    sandbox: Sandbox, postgres_url: str, schema: str, open_pinecone: Open
) -> None:
    open_pinecone().apply(batch(asset("a", feature("f"))))
    with pytest.raises(ConfigurationError, match="names none of the vectors that are in Pinecone"):
        planned(sandbox, postgres_url, schema, vectors=["model-v9"])
    with pytest.raises(ConfigurationError, match="names none of the vectors that are in Pinecone"):
        open_pinecone(vectors=["model-v9"])


def test_an_embedded_server_that_has_never_run_is_not_started(sandbox: Sandbox, tmp_path: Path) -> None:
    given = {
        "api_key": sandbox.api_key,
        "host": sandbox.url,
        "manifest": {"directory": tmp_path / "data"},
        "vectors": "all",
    }
    with closing(PineconeSettings.model_validate(given).open("media")) as destination:
        told = destination.planned(SchemaMapping())
        assert (dict(told.known("ads", ["a"])), list(told.asset_ids("ads"))) == ({}, [])
    assert not (tmp_path / "data").exists()
    assert told.statements[0] == "CREATE SCHEMA media"
