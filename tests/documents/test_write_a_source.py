"""The example of docs/write-a-source.md: its blocks are the package's own lines, and a sync finds it by its type.

The package's own tests, in examples/jsonl-source/tests, run with ours.
"""

from __future__ import annotations

import json
import textwrap
import tomllib
from pathlib import Path

import psycopg
import pytest
import yaml

from tests.connector.cli.plugins import install
from tests.documents.reading import ROOT, blocks
from vectorferry import parse_settings, run_sync

DOCUMENT = "docs/write-a-source.md"
PACKAGE = ROOT / "examples" / "jsonl-source"
FILES = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.*") if path.suffix in (".py", ".toml")]
ENTRY_POINTS = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]


@pytest.mark.parametrize("block", blocks(DOCUMENT, "python", "toml"), ids=str)
def test_a_block_is_a_part_of_the_package(block: object) -> None:
    text = getattr(block, "text", "")
    assert any(text in file or textwrap.indent(text, "    ") in file for file in FILES)


def test_a_sync_finds_the_source_by_its_type(
    tmp_path: Path, postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", ENTRY_POINTS, "vectorferry-jsonl")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.chdir(tmp_path)
    (asset,) = (json.loads(block.text) for block in blocks(DOCUMENT, "json"))
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "cats.jsonl").write_text(json.dumps(asset))
    (settings,) = (yaml.safe_load(block.text) for block in blocks(DOCUMENT, "yaml"))
    settings["destinations"] = [{"type": "pgvector", "url": postgres_url, "schema": schema}]
    assert run_sync(parse_settings(settings, "the document")).exit_code == 0
    with psycopg.connect(postgres_url) as connection:
        rows = connection.execute(f"SELECT collection, feature_id, description FROM {schema}.image_clip").fetchall()
    assert rows == [("cats", "cat", "a cat on a wall")]
