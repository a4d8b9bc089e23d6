"""What is not done as the file says is told, by a plan and by a sync."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
import yaml

from vectorferry import Summary, parse_settings, run_sync
from vectorferry.connector._engine import list_shards, run_plan
from vectorferry.connector.plugin import ConfigurationError
from vectorferry.connector.sandbox import GeneratedCatalogue, Sandbox, SandboxSettings, running_sandbox

from ..examples import family
from ..urls import as_user

SMALL = GeneratedCatalogue(assets=4, features_per_asset=3, dimension=8, collections=("ads",))
WIDE = GeneratedCatalogue(assets=2, features_per_asset=2, dimension=3_072, collections=("ads",))


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox(SandboxSettings(generate=SMALL)) as sandbox:
        yield sandbox


def settings(sandbox: Sandbox, *destinations: dict[str, Any], modalities: str = "{}") -> Any:
    return parse_settings(
        {
            "name": "media",
            "source": {"type": "mixpeek", "base_url": sandbox.url, "api_key": sandbox.api_key},
            "destinations": [{"type": "pgvector", **destination} for destination in destinations],
            "modalities": yaml.safe_load(modalities),
        },
        "test",
    )


def told(configured: Any) -> tuple[Summary, list[str]]:
    """A sync, and what a plan says behind it."""
    summary = run_sync(configured)
    return summary, [*run_plan(configured).destinations["pgvector"].notes]


@pytest.mark.long
def test_an_index_that_cannot_be_built_and_one_that_can(postgres_url: str, schema: str) -> None:
    advice = "modalities.video.vectors.multimodal-v1.quantization: halfvec has one"
    with running_sandbox(SandboxSettings(generate=WIDE)) as sandbox:
        destination = {"url": postgres_url, "schema": schema}
        mapping = "{video: {vectors: {multimodal-v1: {storage: vector}}}}"
        summary, planned = told(settings(sandbox, destination, modalities=mapping))
        mapping = "{video: {vectors: {multimodal-v1: {storage: vector, quantization: halfvec}}}}"
        advised = run_sync(settings(sandbox, destination, modalities=mapping)).destinations["pgvector"]
    assert ([build.index for build in advised.indexes], advised.notes) == (["video__multimodal_v1_hnsw"], [])
    (note,) = summary.destinations["pgvector"].notes
    assert note in planned
    assert note.startswith("video__multimodal_v1: no hnsw index is built, since one over vector takes 2,000 dimensions")
    assert advice in note


@pytest.mark.long
def test_names_that_nothing_has(postgres_url: str, schema: str, sandbox: Sandbox) -> None:
    mapping = """
    video:
      columns:
        author: {path: metadata.autor}
        start: {path: start_tme, type: double precision}
        campaign: {path: metadata.campaign_that_nobody_ran}
      vectors: {multimodal_v1: {}, multimodal-v1: {}}
    """
    destination = {"url": postgres_url, "schema": schema}
    summary, planned = told(settings(sandbox, destination, modalities=mapping))
    count = summary.destinations["pgvector"].applied.features["video"].inserted  # type: ignore[index]
    told_once = [
        f"modalities.video.columns.start: start_tme is in none of {count} video features; did you mean start_time?",
        f"modalities.video.columns.campaign: metadata.campaign_that_nobody_ran is in none of {count} video features",
        f"modalities.video.vectors.multimodal_v1: none of {count} video features has a vector of this name; "
        "did you mean multimodal-v1?",
    ]
    assert [note for note in summary.advice if "author" not in note] == told_once
    assert set(told_once) < set(summary.to_dict()["notes"])
    stored = [f"{note.partition(' is in none of ')[0]} is in no video feature that is stored" for note in told_once[:2]]
    stored += [told_once[2].replace(f"none of {count} video features", "no video feature")]
    assert set(stored) < set(planned)


@pytest.mark.long
def test_a_few_assets_that_lack_a_field_are_nothing_to_tell(postgres_url: str, schema: str, sandbox: Sandbox) -> None:
    mapping = "{video: {columns: {author: {path: metadata.nobody}}}}"
    configured = settings(sandbox, {"url": postgres_url, "schema": schema}, modalities=mapping)
    assert run_sync(configured).advice
    sandbox.mixpeek.edit_metadata(sandbox.mixpeek.asset_ids("ads")[0], {"seen": "again"})
    assert run_sync(configured).advice == []


@pytest.mark.long
def test_parameters_of_an_address(postgres_url: str, schema: str, sandbox: Sandbox) -> None:
    """Those that are not used are told, and the others are used."""
    options = "-c%20search_path%3Dpublic%20-c%20statement_timeout%3D1234s"
    given = f"{postgres_url}&connect_timeout=3&application_name=nightly&client_encoding=latin1&options={options}"
    destination = {"url": given, "schema": schema}
    summary, planned = told(settings(sandbox, destination))
    notes = summary.destinations["pgvector"].notes
    assert notes == [
        "client_encoding=latin1 in the `url` is not used: texts are sent as UTF-8",
        "search_path in the `options` of the `url` is not used: every transaction sets its own",
    ]
    assert set(notes) <= set(planned)


@pytest.mark.long
def test_two_destinations_in_one_schema(postgres_url: str, schema: str, sandbox: Sandbox, tmp_path: Path) -> None:
    """However they are spelled."""
    with psycopg.connect(postgres_url) as connection:
        directory, port = connection.info.host, connection.info.port
    keywords = f"host={directory} port={port} dbname=postgres user=postgres"
    link = tmp_path / "link"
    link.symlink_to(Path(directory).parent)
    for other in ({"url": keywords}, {"url": as_user(postgres_url, "postgres")}, {"directory": str(link)}):
        ends = {"name": "one", "url": postgres_url, "schema": schema}, {"name": "two", "schema": schema, **other}
        for refused in (run_plan, run_sync, list_shards):
            with pytest.raises(ConfigurationError, match="the destinations one and two are one place"):
                refused(settings(sandbox, *ends))
        apart = {**ends[1], "schema": f"{schema}_2"}
        assert run_sync(settings(sandbox, ends[0], apart)).exit_code == 0


@pytest.mark.parametrize(
    "form",
    family(
        [
            "postgresql://postgres@{quoted}:{port}/postgres",
            "host='{directory}' port={port} user=postgres dbname=postgres",
            "postgresql://postgres@/postgres?host=/nowhere,{quoted}&port={port}",
            "postgresql+psycopg://postgres@{quoted}:{port}/postgres",
        ],
        always=(2,),
    ),
)
@pytest.mark.long
def test_every_form_that_libpq_takes(postgres_url: str, schema: str, sandbox: Sandbox, form: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        directory, port = connection.info.host, connection.info.port
    url = form.format(directory=directory, quoted=quote(directory, safe=""), port=port)
    assert run_sync(settings(sandbox, {"url": url, "schema": schema})).exit_code == 0
