"""Where the command line writes: results, messages, and tables that fit 80 columns."""

from __future__ import annotations

import io
import json
import logging
import os
import select
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol, TextIO, TypeVar

import orjson
import typer
from rich import box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Column, Table
from rich.text import Text

JSON_OPTIONS: Final = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


class Output(io.RawIOBase):
    """A file descriptor that takes everything, so that a command ends as it would have.

    What cannot be written, because the pipe's reader is gone or the disk is full, is dropped with all that follows.
    `error` says why.
    """

    def __init__(self, descriptor: int) -> None:
        self.error: OSError | None = None
        self._descriptor = descriptor

    @classmethod
    def in_place_of(cls, stream: TextIO | None, errors: str) -> tuple[TextIO | None, Output | None]:
        """A stream like this one, with `errors` for letters that its encoding lacks, and what is below it; None where
        there is nothing to replace."""
        if not isinstance(stream, io.TextIOWrapper):
            return stream, None
        raw = cls(stream.fileno())
        buffered = stream.line_buffering
        return io.TextIOWrapper(io.BufferedWriter(raw), stream.encoding, errors, line_buffering=buffered), raw

    def write(self, data: Any) -> int:
        """How many bytes were taken: as many as the descriptor takes at once, or all."""
        while self.error is None:
            try:
                return os.write(self._descriptor, data)
            except BlockingIOError:
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.error = error
        return len(data)

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether somebody watches."""
        return os.isatty(self._descriptor)


def program() -> str:
    """This program as a shell finds it, to begin a command that is to be copied.

    Where its environment is not active, ``vectorferry`` alone is not found: then as it was called.
    """
    called = Path(sys.argv[0])
    if called.parts[-2:] == ("vectorferry", "__main__.py"):
        return f"{shlex.quote(sys.orig_argv[0])} -m vectorferry"
    if called.name != "vectorferry" or shutil.which("vectorferry") == str(called):
        return "vectorferry"
    return shlex.quote(sys.argv[0])


def results(quiet: bool = False) -> Console:
    """Stdout, 80 columns when it is no terminal. `quiet` prints nothing."""
    return Console(highlight=False, quiet=quiet)


def for_people() -> Console:
    """Stderr: progress and remarks."""
    return Console(stderr=True, highlight=False)


def print_json(value: Mapping[str, Any]) -> None:
    """The one object that ``--json`` promises, in UTF-8 whatever the terminal's encoding."""
    try:
        typer.echo(_encoded(value))
    except TypeError:  # an integer beyond 64 bits, or half of a surrogate pair
        finite = json.loads(json.dumps(value, default=_converted), parse_constant=lambda _: None)
        typer.echo(json.dumps(finite, indent=2))


class Report(Protocol):
    """What a command found out, and the exit code that goes with it."""

    @property
    def exit_code(self) -> int: ...

    def to_dict(self) -> Mapping[str, Any]: ...


ReportT = TypeVar("ReportT", bound=Report)


def end_with(report: ReportT, show: Callable[[ReportT, Console], None], *, as_json: bool) -> NoReturn:
    """The end of a command: its report, for programs or people, and its exit code."""
    if as_json:
        print_json(report.to_dict())
    else:
        show(report, results())
    raise typer.Exit(report.exit_code)


def _encoded(value: Any) -> bytes:
    return orjson.dumps(value, default=str, option=JSON_OPTIONS)


def _converted(value: Any) -> Any:
    """What is no JSON value, as it looks everywhere else."""
    return orjson.loads(_encoded(value))


def complain(message: str) -> None:
    """An error, in the log: on stderr, each line with the program's name in front, unless a command asks for more."""
    log = logging.getLogger("vectorferry")
    if log.handlers:
        log.error("%s", message)
        return
    for line in message.splitlines():  # of the command line itself
        typer.echo(f"vectorferry: {plain(line)}", err=True)


def plain(text: object, limit: int | None = None) -> str:
    """Text from outside as one line without control characters, cut to `limit` characters."""
    line = printable(" ".join(str(text).split()))
    return line if limit is None or len(line) <= limit else line[: limit - 1].rstrip() + "…"


def printable(line: str) -> str:
    """The line with whatever a terminal might obey made visible."""
    return "".join(char if char.isprintable() else "�" for char in line)


# Tables that look the same everywhere, and fit 80 columns where no name is too long for that.


WHOLE: Final = 63
"""Ids and names up to this length are never cut: Postgres has none that are longer."""

GAP: Final = 2
"""Columns are so far apart, and one of it stands at either edge."""


def make_table(*columns: str, numbers: tuple[str, ...] = (), cut: tuple[str, ...] = ()) -> Table:
    """An empty table. `numbers` are set to the right; only the columns in `cut` give way when 80 are not enough."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        # rich shrinks columns that may wrap before any other; what is in them asks for an ellipsis itself.
        table.add_column(column, justify="right" if column in numbers else "left", no_wrap=column not in cut)
    return table


def show_table(table: Table, console: Console) -> None:
    """Print it, wider than the terminal if need be: an id that was cut could not be copied from there."""
    for column in table.columns:
        width = min(WHOLE, max(_width(column, content) for content in (column.header, *column.cells)))
        column.min_width = width
        column.max_width = width if column.no_wrap else None
    needed = sum((column.min_width or 0) + GAP for column in table.columns)
    if needed > console.width:
        table.width = needed
    console.print(table, crop=False)


def _width(column: Column, content: RenderableType) -> int:
    """What a cell needs. In a column that gives way, an id stands alone or in the last line, below words."""
    lines = str(content).splitlines() or [""]
    if column.no_wrap:
        return max(map(cell_len, lines))
    last = lines[-1]
    indent = len(last) - len(last.lstrip())
    return indent + max(map(cell_len, last.split()), default=0)


def cell(text: str) -> Text:
    """Text for a table, cut with an ellipsis where it does not fit."""
    return Text(text, no_wrap=True, overflow="ellipsis")


def counted(number: int, noun: str, plural: str = "s") -> str:
    """``1 asset``, ``2,000 assets``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}{plural}"


def megabytes(size: int) -> str:
    """Bytes as MB with one digit."""
    return f"{size / 1_000_000:,.1f} MB"
