from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.connector.cli.conftest import Invoke
from vectorferry import load_settings
from vectorferry.connector.cli import _init
from vectorferry.connector.sandbox import running_sandbox


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
    assert settings.schedule
    assert settings.schedule.cron == "*/15 * * * *"
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


def test_what_the_sandbox_does_not_take_is_named(vectorferry: Invoke) -> None:
    """Every variable of a source but the ones that the sandbox has no use for is a key that it refuses."""
    for source, left_out in (
        ("mixpeek", "api_key"),
        ("mixpeek-documents", "api_key and namespace"),
        ("twelvelabs", "api_key"),
    ):
        written = vectorferry("init", "--source", source, "-c", f"{source}.yaml")
        assert f", without {left_out}\n" in written.stderr


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


def test_the_file_takes_the_address_of_a_postgres_from_a_variable(vectorferry: Invoke) -> None:
    result = vectorferry("init", "--database", "MEDIA_DB")
    assert "export MIXPEEK_API_KEY=… MEDIA_DB=…" in result.stderr
    assert load_settings("vectorferry.yaml").destinations[0].model_dump()["url"].get_secret_value() == "${MEDIA_DB}"


def test_an_address_is_not_taken_for_the_name_of_a_variable(vectorferry: Invoke) -> None:
    result = vectorferry("init", "--database", "postgresql://ada:SECRET@db/media")
    assert (result.exit_code, Path("vectorferry.yaml").exists()) == (2, False)
    assert "--database takes the name of a variable" in result.stderr
    assert "SECRET" not in result.stderr


def test_what_can_be_tried_is_tried(vectorferry: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_sandbox() as sandbox:
        described, *others = _init.SOURCES[_init.InitSource.MIXPEEK]
        there = described.replace("# base_url: http://127.0.0.1:8765 ", f"base_url: {sandbox.url} ")
        monkeypatch.setitem(_init.SOURCES, _init.InitSource.MIXPEEK, (there, *others))
        monkeypatch.setenv("MIXPEEK_API_KEY", sandbox.api_key)
        tried = vectorferry("init")
        monkeypatch.setenv("MIXPEEK_API_KEY", "of_another_account")
        failed = vectorferry("init", "--force")
    assert "✔ source mixpeek: answers, and takes the key" in tried.stderr, tried.output
    assert tried.stderr.endswith("Next: vectorferry sync\n")
    assert "✘ source mixpeek" in failed.stderr
    assert failed.stderr.endswith("Next: mend it, and look again: vectorferry doctor\n")
    assert (tried.exit_code, failed.exit_code) == (0, 0), "the file is written"


@pytest.mark.usefixtures("vectorferry")
@pytest.mark.long
def test_in_a_terminal_it_asks() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "vectorferry", "init"], stdin=theirs, stderr=subprocess.PIPE
    ) as asking:
        os.write(ours, b"twelvelabs\nDATABASE_URL\n")
        try:
            _, told = asking.communicate(timeout=120)
        finally:
            asking.kill()
    assert b"Where from (mixpeek, mixpeek-documents, twelvelabs) [mixpeek]:" in told
    settings = load_settings("vectorferry.yaml")
    assert settings.source.type == "twelvelabs"
    assert settings.destinations[0].model_dump()["url"].get_secret_value() == "${DATABASE_URL}"
