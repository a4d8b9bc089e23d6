"""Where output goes: results to stdout, everything else to stderr, plain text when nobody watches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import typer
from rich.console import Console

__all__ = ["complain", "for_people", "plain", "print_json", "printable", "results"]


def results(quiet: bool = False) -> Console:
    """Stdout, 80 columns when it is no terminal. `quiet` prints nothing."""
    return Console(highlight=False, quiet=quiet)


def for_people() -> Console:
    """Stderr: progress and remarks."""
    return Console(stderr=True, highlight=False)


def print_json(value: Mapping[str, Any]) -> None:
    """The one object that ``--json`` promises."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    typer.echo(orjson.dumps(value, default=str, option=options).decode())


def complain(message: str) -> None:
    """An error, on stderr, each line with the program's name in front."""
    for line in message.splitlines():
        typer.echo(f"vectorferry: {plain(line)}", err=True)


def plain(text: object, limit: int | None = None) -> str:
    """Text from outside as one line without control characters, cut to `limit` characters."""
    line = printable(" ".join(str(text).split()))
    return line if limit is None or len(line) <= limit else line[: limit - 1].rstrip() + "…"


def printable(line: str) -> str:
    """The line with whatever a terminal might obey made visible."""
    return "".join(char if char.isprintable() else "�" for char in line)
