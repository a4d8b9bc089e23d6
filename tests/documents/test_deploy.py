"""What of docs/deploy.md can be looked at without a cluster: that its files are read, and name what is there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.documents.reading import ROOT, blocks, read

DOCUMENT = "docs/deploy.md"


def test_the_workflow_runs_a_sync() -> None:
    (workflow,) = (yaml.safe_load(block.text) for block in blocks(DOCUMENT, "yaml"))
    assert workflow["jobs"]["sync"]["steps"][-1]["run"] == "vectorferry sync --json"


def test_what_it_says_of_deploy_is_there() -> None:
    named = set(re.findall(r"deploy/[\w./-]+\w", read(DOCUMENT))) - {"deploy/.env"}
    assert {"deploy/Dockerfile", "deploy/compose.yaml", "deploy/kubernetes/cronjob.yaml"} <= named
    assert [name for name in sorted(named) if not (ROOT / name).is_file()] == []


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    if not (program := shutil.which("systemd-analyze")):
        pytest.skip("there is no systemd-analyze here")
    service, timer = (block.text for block in blocks(DOCUMENT, "ini"))
    (tmp_path / "vectorferry.service").write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", service))
    (tmp_path / "vectorferry.timer").write_text(timer)
    units = [str(path) for path in sorted(tmp_path.glob("vectorferry.*"))]
    done = subprocess.run([program, "verify", *units], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if str(tmp_path) in line] == [], done.stderr
