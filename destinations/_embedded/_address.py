"""Where clients find the socket. It lies in the data directory, which only the server's user (and root) can enter."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from urllib.parse import quote

__all__ = ["PORT", "address"]

PORT: Final = 5432
"""Only a part of the socket's name; written everywhere, because PGPORT in an environment would change it."""

_PLAIN: Final = re.compile(rb"[\w./ +@=~-]{1,85}")
"""A directory that libpq takes as one host (a comma parts two) and whose socket's path a kernel takes: at most
103 bytes on macOS and 107 on Linux, of which `/.s.PGSQL.5432` needs 14."""


def address(data: Path, undo: ExitStack) -> str:
    """A connection address, valid until undone. Raises `ValueError` when no path is short enough."""
    if _PLAIN.fullmatch(os.fsencode(data)):
        return _url(data)
    private = tempfile.mkdtemp(prefix="vectorferry-")
    undo.callback(shutil.rmtree, private, ignore_errors=True)
    link = Path(private) / "data"
    if not _PLAIN.fullmatch(os.fsencode(link)):
        raise ValueError("a socket needs a short path; choose a shorter `directory`, or a shorter TMPDIR")
    link.symlink_to(data)
    return _url(link)


def _url(directory: Path) -> str:
    return f"postgresql://postgres@/postgres?host={quote(str(directory))}&port={PORT}"
