"""What a user sees when a command fails: a line or two and an exit code, never a traceback."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import click
import typer
from typer.core import TyperGroup

from vectorferry.connector._model._errors import LimitReachedError, VectorferryError
from vectorferry.connector._model._near import closest
from vectorferry.connector.cli._console import complain, print_json
from vectorferry.connector.cli._signals import INTERRUPTED, interrupted, unwinding

_CHOICES: Final = re.compile(r"(?P<said>.*: '(?P<given>[^']*)' is not one of (?P<known>.*))\.", flags=re.DOTALL)
"""What click says of a value that an option does not take."""

AS_JSON: Final = "vectorferry.connector.cli.as_json"


class ReportingGroup(TyperGroup):
    """Reports every error of its commands; with ``--json`` also as the one object on stdout."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Note whether JSON is wanted before anything can fail."""
        ctx.meta[AS_JSON] = "--json" in args
        with _reported(as_json=ctx.meta[AS_JSON]):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _reported(as_json=ctx.meta[AS_JSON]):
            return super().invoke(ctx)


@contextmanager
def _reported(as_json: bool) -> Iterator[None]:
    try:
        with unwinding():
            yield
    except click.exceptions.NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        _leave(_usage(error), error.exit_code, as_json)
    except (click.exceptions.Exit, click.Abort, click.ClickException, BrokenPipeError):
        raise
    except KeyboardInterrupt:
        _leave(INTERRUPTED, interrupted(), as_json)
    except VectorferryError as error:
        _leave(str(error), error.exit_code, as_json, error)
    except OSError as error:
        _leave(f"{error.filename or 'system'}: {error.strerror or type(error).__name__}", 1, as_json, error)
    except Exception as error:
        # The message stays out: it may quote anything, a key included.
        hint = "" if _debugging() else "; set VECTORFERRY_DEBUG=1 for the traceback"
        _leave(f"unexpected {type(error).__name__}{hint}", 1, as_json, error)


def _usage(error: click.UsageError) -> str:
    """What is wrong, and where the command says what is right; in a box of its own it would take six lines."""
    message = error.format_message()
    if choices := _CHOICES.fullmatch(message):
        near = closest(choices["given"], re.findall(r"'([^']*)'", choices["known"]))
        message = choices["said"] + (near or ".")
    return f"{message}\nsee: {error.ctx.command_path} --help" if error.ctx else message


def _leave(message: str, exit_code: int, as_json: bool, error: Exception | None = None) -> NoReturn:
    if error is not None and _debugging():
        traceback.print_exception(error)
    complain(message)
    if as_json:
        until = error.until if isinstance(error, LimitReachedError) else None
        _print_error(message, exit_code, **({"limited_until": until.isoformat()} if until else {}))
    raise typer.Exit(exit_code)


def _debugging() -> bool:
    return bool(os.environ.get("VECTORFERRY_DEBUG"))


def _print_error(message: str, exit_code: int, **more: str) -> None:
    print_json({"error": message, "exit_code": exit_code, **more})
