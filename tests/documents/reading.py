"""The documents of this repository, and the code blocks in them."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["DOCUMENTS", "ROOT", "Block", "blocks", "read"]

ROOT: Final = Path(__file__).parents[2]
DOCUMENTS: Final = sorted(
    str(path.relative_to(ROOT)) for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md"))
)
_FENCED: Final = re.compile(
    r"^(?P<mark> *<!-- not run: [^\n]+ -->\n)?(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^ *```$",
    flags=re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. `not_run` is true where a comment before it says why nobody runs it."""

    document: str
    line: int
    language: str
    text: str
    not_run: bool

    def __str__(self) -> str:
        return f"{self.document}:{self.line} ({self.language or 'no language'})"


def read(document: str) -> str:
    """The text of a document of this repository."""
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(document: str, *languages: str) -> list[Block]:
    """The fenced blocks of a document, of these languages or of all."""
    text = read(document)
    every = [
        Block(
            document,
            text.count("\n", 0, match.start("language")) + 1,
            match["language"],
            textwrap.dedent(match["text"]),
            match["mark"] is not None,
        )
        for match in _FENCED.finditer(text)
    ]
    return [block for block in every if not languages or block.language in languages]
