"""What docs/postgres.md says of backups: dumped, restored elsewhere, and the next sync has nothing to write."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.documents.programs import search_path
from tests.documents.reading import blocks
from tests.urls import in_database
from vectorferry import parse_settings, run_sync, verify

COMMANDS = [block for block in blocks("docs/postgres.md", "sh") if "pg_" in block.text]


@pytest.mark.long
def test_a_sync_after_a_restore_writes_nothing(
    postgres_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with database(postgres_url, "backed_up") as url, database(postgres_url, "restored") as other:
        assert run_sync(parse_settings(media(url), "test")).exit_code == 0
        for block in COMMANDS:
            environ = {**os.environ, "PATH": search_path(), "DATABASE_URL": url, "RESTORED_URL": other}
            subprocess.run(["bash", "-ec", block.text], cwd=tmp_path, env=environ, check=True)
        restored = parse_settings(media(other), "test")
        assert run_sync(restored).to_dict()["destinations"]["pgvector"]["assets"]["unchanged"] == 73
        assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == []
        assert verify(restored, sample=None).exit_code == 0


def test_the_document_has_both_commands() -> None:
    assert len(COMMANDS) == 2


@contextmanager
def database(url: str, name: str) -> Iterator[str]:
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}"')
        try:
            yield in_database(url, name)
        finally:
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def media(url: str) -> dict[str, Any]:
    source = {"type": "sandbox", "collections": ["quickstart"]}
    return {"name": "media", "source": source, "destinations": [{"type": "pgvector", "url": url}]}
