"""Do what the build stage of deploy/Dockerfile does, without Docker: from the files that it copies and no others.

python3 .ci/image.py FOLDER
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PLACE: Final = "/opt/vectorferry"
COMMANDS: Final = ["vectorferry", "dagster-webserver", "dagster", "dagster-daemon", "celery"]


def main(scratch: Path) -> None:
    """Stop at the first line that fails, or when a command of the services does not start."""
    source, place = scratch / "src", scratch / "opt"
    source.mkdir(parents=True)
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    stage = re.sub(r"\\\n", " ", dockerfile).split("\nFROM ")[1]
    for instruction, _, rest in (line.partition(" ") for line in stage.splitlines()[1:]):
        if instruction == "COPY":
            *names, target = shlex.split(rest)
            for name in names:
                copy(ROOT / name, source / target / (Path(name).name if target.endswith("/") else ""))
        elif instruction == "RUN":
            print(f"$ {rest}", flush=True)
            subprocess.run(["bash", "-ec", rest.replace(PLACE, str(place))], cwd=source, check=True)
    for command in COMMANDS:
        subprocess.run([place / "bin" / command, "--version"], check=True, cwd=scratch)
    size = subprocess.run(["du", "-sm", place], check=True, capture_output=True, text=True).stdout.split()[0]
    print(f"{size} MB in {PLACE}")


def copy(what: Path, where: Path) -> None:
    """A file or a folder; links stay links, and what .dockerignore leaves out stays here."""
    where.parent.mkdir(parents=True, exist_ok=True)
    if what.is_dir():
        shutil.copytree(what, where, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", ".vectorferry"))
    else:
        shutil.copy(what, where)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
