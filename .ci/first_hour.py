"""Type a new user's first hour into a fresh clone: README's line, the demo's next steps, the tutorial.

.venv/bin/python .ci/first_hour.py
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.documents.reading import blocks, read  # noqa: E402
from tests.documents.test_tutorial import TUTORIAL, follows, outputs  # noqa: E402
from vectorferry.destinations import EmbeddedPostgres  # noqa: E402

OURS: Final = ("VIRTUAL_ENV", "DATABASE_URL", "MIXPEEK_API_KEY", "PYTHONPATH")


def main() -> None:
    """Stop at the first line that does not do what the page says."""
    with tempfile.TemporaryDirectory(prefix="vectorferry-") as folder:
        Path(folder).chmod(0o711)  # root's embedded server runs as another user
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        (line,) = re.findall(r"^    (python3 -m venv .*vectorferry demo)$", read("README.md"), flags=re.MULTILINE)
        said = _type(line, clone)
        steps = re.findall(r"^  (\S*vectorferry (?:status|search) .*)$", said.replace("\\\n", ""), flags=re.MULTILINE)
        assert len(steps) == 2, said
        for step in steps:
            _type(step, clone)
        _type_the_tutorial(clone, Path(folder) / "postgres")


def _type(line: str, folder: Path) -> str:
    print(f"$ {line}", flush=True)
    environ = {name: value for name, value in os.environ.items() if name not in OURS}
    return subprocess.run(
        ["bash", "-ec", line], cwd=folder, env=environ, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def _type_the_tutorial(clone: Path, postgres: Path) -> None:
    """Installing included; not what needs Docker, and not what runs until it is stopped."""
    typed = [block for block in blocks(TUTORIAL, "sh", "text") if not block.not_run or "pip install" in block.text]
    with EmbeddedPostgres(postgres) as server:
        told = outputs(typed, clone, server.url)
    for command, shown in pairwise(typed):
        if shown.language == "text":
            assert follows(told[command.line], shown.text), f"{shown}\nprinted:\n{told[command.line]}"
    print(f"typed {len(told)} blocks of the tutorial")


if __name__ == "__main__":
    main()
