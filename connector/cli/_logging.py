"""``-v``, ``-q``, ``--log-format`` and ``--log-file``, which every command has: what is logged, how, and where to.

All that the project logs goes to the logger ``vectorferry``, errors of commands included.
"""

from __future__ import annotations

import logging
import sys
import traceback
from datetime import UTC, datetime, timezone
from enum import StrEnum
from json import dumps
from pathlib import Path
from typing import Any, Final

import click
from typer.core import TyperCommand

from vectorferry.connector._reports._run_id import current_run_id
from vectorferry.connector.cli._console import printable

QUIET, NORMAL, VERBOSE, DEBUG = -1, 0, 1, 2
LEVELS: Final = {QUIET: logging.ERROR, NORMAL: logging.WARNING, VERBOSE: logging.INFO, DEBUG: logging.DEBUG}
"""By how often ``-v`` was given."""

LOGGER: Final = logging.getLogger("vectorferry")
PROGRESS: Final = "vectorferry.progress"
"""Says how far a run is, unless it is to be quiet."""

HTTP: Final = logging.getLogger("httpx")
"""One line per request, without its headers: the key is in these."""

BAR: Final = "vectorferry.connector.cli.bar"


class LogFormat(StrEnum):
    """How a line of the log looks."""

    TEXT = "text"
    JSON = "json"


class LoggedCommand(TyperCommand):
    """A command that takes the options of the log beside its own, and sets the log up before it runs."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_options())

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, which does not see these options."""
        options = {name: ctx.params.pop(name) for name in ("verbose", "quiet", "log_format", "log_file")}
        verbosity = QUIET if options["quiet"] else min(options["verbose"], DEBUG)
        form = LogFormat(options["log_format"])
        ctx.meta[BAR] = verbosity is not QUIET and form is LogFormat.TEXT
        set_up(verbosity, form, options["log_file"])
        return super().invoke(ctx)


def shows_bar() -> bool:
    """Whether the running command may draw on a terminal."""
    context = click.get_current_context(silent=True)
    return context is None or bool(context.meta.get(BAR, True))


def _options() -> list[click.Parameter]:
    return [
        click.Option(
            ["-v", "--verbose"], count=True, metavar=" ", help="Say what is done; -vv also each request and answer."
        ),
        click.Option(["-q", "--quiet"], is_flag=True, help="Say nothing but errors and results."),
        click.Option(
            ["--log-format"],
            type=click.Choice([each.value for each in LogFormat]),
            default=LogFormat.TEXT.value,
            show_default=True,
            help="How lines on stderr and in the log file look.",
        ),
        click.Option(
            ["--log-file"],
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="FILE",
            help="Append to this file what -v says.",
        ),
    ]


def set_up(verbosity: int = NORMAL, form: LogFormat = LogFormat.TEXT, file: Path | None = None) -> None:
    """Log to stderr from now on, and to the file, which gets as much as ``-v`` shows at least.

    Raises `OSError` where the file cannot be written.
    """
    handlers = [_handler(_Stderr(), form, verbosity, dated=verbosity > NORMAL)]
    if file is not None:
        handlers.append(_handler(_LogFile(file), form, max(verbosity, VERBOSE), dated=True))
    for logger in (LOGGER, HTTP):
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(logging.DEBUG if verbosity == DEBUG or logger is LOGGER else logging.WARNING)
        for handler in handlers:
            logger.addHandler(handler)


def _handler(handler: logging.Handler, form: LogFormat, verbosity: int, *, dated: bool) -> logging.Handler:
    def lets_through(record: logging.LogRecord) -> bool:
        return record.levelno >= LEVELS[verbosity] or (record.name == PROGRESS and verbosity != QUIET)

    handler.addFilter(lets_through)
    handler.setFormatter(JsonLines() if form is LogFormat.JSON else TextLines(dated))
    return handler


class _LogFile(logging.FileHandler):
    """Says once that it cannot be written any more, on a full disk for example: what is to be done goes on all the
    same."""

    def __init__(self, file: Path) -> None:
        super().__init__(file, encoding="utf-8", errors="backslashreplace")
        self._has_failed = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """What `logging` calls in the place of raising an error."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._has_failed:
            self._has_failed = True
            words = "the log file %s lacks lines from here on, which could not be written: %s"
            LOGGER.error(words, self.baseFilename, error.strerror)


class _Stderr(logging.StreamHandler[Any]):
    """Writes to what `sys.stderr` is at the time: above a bar, while there is one."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        """Standard error."""
        return sys.stderr


class TextLines(logging.Formatter):
    """Each line with the program's name in front; `dated` with time and level instead, and with tracebacks."""

    def __init__(self, dated: bool) -> None:
        super().__init__()
        self._dated = dated

    def format(self, record: logging.LogRecord) -> str:
        """Lines without control characters, whatever a service calls things."""
        text = record.getMessage()
        front = "vectorferry:"
        if self._dated:
            front = f"{_moment(record):%Y-%m-%d %H:%M:%S} {record.levelname}"
            text = "\n".join(filter(None, (text, _traceback(record))))
        return "\n".join(f"{front} {printable(line)}" for line in text.splitlines())


class JsonLines(logging.Formatter):
    """An object per record: time (UTC), level, logger, message; the run's id and a traceback where there are such."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        traceback, run_id = _traceback(record), current_run_id()
        return dumps(
            {
                "time": _moment(record, UTC).isoformat(timespec="milliseconds"),
                "level": record.levelname.lower(),
                "logger": record.name,
                "message": record.getMessage(),
                **({"run_id": run_id} if run_id else {}),
                **({"traceback": traceback} if traceback else {}),
            }
        )


def _moment(record: logging.LogRecord, zone: timezone | None = None) -> datetime:
    return datetime.fromtimestamp(record.created, UTC).astimezone(zone)


def _traceback(record: logging.LogRecord) -> str:
    return "".join(traceback.format_exception(*record.exc_info)).rstrip() if record.exc_info else ""
