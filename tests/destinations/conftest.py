"""Data for the tests of the embedded Postgres."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from vectorferry.destinations import EmbeddedPostgres


@pytest.fixture(scope="module")
def made_directory() -> Iterator[Path]:
    """A directory with data, for tests that leave no server: making and removing data costs more than they do."""
    with TemporaryDirectory(prefix="vectorferry-test-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)  # root's server runs as another user
        EmbeddedPostgres(directory := Path(name) / "made").close()
        yield directory
