"""Where output goes: results to stdout, everything else to stderr, plain text when nobody watches."""

from __future__ import annotations

import io
import json
import os
import select
from collections.abc import Mapping
from typing import Any, Final, TextIO

import orjson
import typer
from rich.console import Console

__all__ = ["Output", "complain", "for_people", "plain", "print_json", "printable", "results"]

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


def _encoded(value: Any) -> bytes:
    return orjson.dumps(value, default=str, option=JSON_OPTIONS)


def _converted(value: Any) -> Any:
    """What is no JSON value, as it looks everywhere else."""
    return orjson.loads(_encoded(value))


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
