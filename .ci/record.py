"""Record the demo as a person sees it, and write docs/images/demo.svg.

    .venv/bin/python .ci/record.py

It runs in a terminal of 100 columns and an empty folder. Left out are the progress bar, the assets that are not ready,
and everything behind the first question.
"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

COLUMNS: Final = 100
IMAGE: Final = Path(__file__).parents[1] / "docs" / "images" / "demo.svg"
LEFT_OUT: Final = re.compile(r"not ready yet|failed at the source|^(example|lectures|product-shots|quickstart): ")
END: Final = "4. Which"
THEME: Final = TerminalTheme((28, 33, 40), (222, 228, 234), [(28, 33, 40)] + [(222, 228, 234)] * 7)
FORMAT: Final = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
font-size: {char_height}px; line-height: {line_height}px; font-variant-east-asian: full-width; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: ui-sans-serif, system-ui, sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">{backgrounds}
<g class="{unique_id}-matrix">{matrix}</g></g>
</svg>
"""
"""Rich's own, without fonts that would be fetched from elsewhere."""


def main() -> None:
    """Run, keep the first three parts, draw."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text("$ .venv/bin/vectorferry demo", style="bold"))
    console.print(Text.from_ansi("\n".join(_kept(_recorded()))))
    IMAGE.write_text(console.export_svg(title="vectorferry demo", theme=THEME, code_format=FORMAT, unique_id="demo"))


def _recorded() -> str:
    """All that the demo writes to a terminal on stdout; its progress goes elsewhere."""
    ours, theirs = pty.openpty()
    size = {"COLUMNS": str(COLUMNS), "LINES": "60", "TERM": "xterm-256color"}
    with tempfile.TemporaryDirectory() as folder:
        command = [str(Path(sys.executable).with_name("vectorferry")), "demo"]
        with subprocess.Popen(
            command, cwd=folder, env=os.environ | size, stdout=theirs, stderr=subprocess.DEVNULL
        ) as process:
            os.close(theirs)
            written = b"".join(iter(lambda: _read(ours), b""))
        assert process.returncode == 0
    os.close(ours)
    return written.decode().replace("\r\n", "\n")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # the other end is closed
        return b""


def _kept(written: str) -> list[str]:
    lines = written.partition(END)[0].rstrip().splitlines()
    return [line.rstrip() for line in lines if not LEFT_OUT.search(line)]


if __name__ == "__main__":
    main()
