from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.connector.cli.conftest import Invoke
from vectorferry import load_settings


def test_the_written_file_loads_and_the_next_step_is_named(vectorferry: Invoke) -> None:
    result = vectorferry("init")
    assert result.exit_code == 0, result.output
    assert load_settings("vectorferry.yaml").name == "media"
    assert "vectorferry sync" in result.stderr


def test_the_file_loads_with_every_option_switched_on(vectorferry: Invoke) -> None:
    vectorferry("init")
    file = Path("vectorferry.yaml")
    switched_on = re.sub(r"^( *)# (?=( *)(- )?[a-z0-9_\-]+:)", r"\1", file.read_text(), flags=re.MULTILINE)
    file.write_text(switched_on)
    settings = load_settings(file)
    assert settings.schedule == "*/15 * * * *"
    assert settings.modalities.video.columns["author"].path == "metadata.author"
    assert settings.modalities.video.vectors["multimodal-v1"].storage == "halfvec"
    assert settings.destinations[0].model_dump(by_alias=True)["schema"] == "media"
    assert settings.destinations[1].model_dump()["vectors"] == ("multimodal-v1",)


def test_one_for_twelvelabs_loads_with_every_option_switched_on(vectorferry: Invoke) -> None:
    result = vectorferry("init", "--source", "twelvelabs")
    assert result.exit_code == 0, result.output
    assert "TWELVELABS_API_KEY" in result.stderr
    file = Path("vectorferry.yaml")
    assert load_settings(file).source.type == "twelvelabs"
    switched_on = re.sub(r"^( *)# (?=( *)(- )?[a-z0-9_\-.]+:)", r"\1", file.read_text(), flags=re.MULTILINE)
    file.write_text(switched_on)
    settings = load_settings(file)
    assert settings.source.model_dump()["collections"] == ("films",)
    assert settings.source.model_dump()["embed_tasks"] is True
    assert settings.modalities.video.columns["option"].path == "embedding_option"
    assert settings.modalities.video.vectors["marengo3.0-visual"].storage == "halfvec"
    assert settings.destinations[1].model_dump()["vectors"] == ("marengo3.0-visual",)


def test_one_for_mixpeek_documents_loads_with_every_option_switched_on(vectorferry: Invoke) -> None:
    result = vectorferry("init", "--source", "mixpeek-documents")
    assert result.exit_code == 0, result.output
    assert "MIXPEEK_API_KEY=… MIXPEEK_NAMESPACE=…" in result.stderr
    file = Path("vectorferry.yaml")
    assert load_settings(file).source.type == "mixpeek-documents"
    switched_on = re.sub(r"^( *)# (?=( *)(- )?[a-z0-9_\-.]+:)", r"\1", file.read_text(), flags=re.MULTILINE)
    file.write_text(switched_on)
    settings = load_settings(file)
    assert settings.source.model_dump()["multi_vectors"] == "leave_out"
    assert settings.destinations[1].model_dump()["vectors"] == ("multimodal_extractor_v1_multimodal_embedding",)


def test_a_file_that_is_there_is_kept_unless_forced(vectorferry: Invoke) -> None:
    file = Path("vectorferry.yaml")
    file.write_text("mine")
    result = vectorferry("init")
    assert result.exit_code == 2
    assert "vectorferry.yaml: is there already; --force overwrites it" in result.stderr
    assert file.read_text() == "mine"
    assert vectorferry("init", "--force").exit_code == 0
    assert load_settings(file).name == "media"


def test_another_file_is_named_in_the_next_step(vectorferry: Invoke) -> None:
    assert "vectorferry sync -c other.yaml" in vectorferry("init", "-c", "other.yaml").stderr


@pytest.mark.parametrize("place", ["no/such/folder/a.yaml", "."])
def test_a_place_that_cannot_be_written_is_one_line(vectorferry: Invoke, place: str) -> None:
    result = vectorferry("init", "--force", "-c", place)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"vectorferry: {place}: ")
    assert len(result.stderr.splitlines()) == 1
