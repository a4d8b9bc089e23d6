"""What of docs/deploy.md can be looked at without a cluster: that its files are read, and name what is there."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.documents.reading import ROOT, blocks

DOCUMENT = "docs/deploy.md"


def test_every_yaml_file_is_one() -> None:
    compose, cron_job, workflow = (yaml.safe_load(block.text) for block in blocks(DOCUMENT, "yaml"))
    assert compose["services"].keys() == {"postgres", "sync"}
    assert cron_job["kind"] == "CronJob"
    assert workflow["jobs"]["sync"]["steps"][-1]["run"] == "vectorferry sync --json"


def test_the_image_is_made_of_files_that_are_here() -> None:
    (dockerfile,) = blocks(DOCUMENT, "dockerfile")
    named = re.findall(r"-r (\S+)", dockerfile.text)
    assert named
    assert all((ROOT / name).is_file() for name in named)


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    if not (program := shutil.which("systemd-analyze")):
        pytest.skip("there is no systemd-analyze here")
    service, timer = (block.text for block in blocks(DOCUMENT, "ini"))
    (tmp_path / "vectorferry.service").write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", service))
    (tmp_path / "vectorferry.timer").write_text(timer)
    units = [str(path) for path in sorted(tmp_path.glob("vectorferry.*"))]
    done = subprocess.run([program, "verify", *units], capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if str(tmp_path) in line] == [], done.stderr
