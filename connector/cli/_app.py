"""The commands, put together. Each imports what it works with when it runs, so that ``--help`` is quick."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from vectorferry.connector.cli._console import Output, complain
from vectorferry.connector.cli._demo import demo
from vectorferry.connector.cli._failures import ReportingGroup
from vectorferry.connector.cli._init import init
from vectorferry.connector.cli._plan import plan
from vectorferry.connector.cli._quarantine import quarantine
from vectorferry.connector.cli._refill import refill
from vectorferry.connector.cli._sandbox import sandbox
from vectorferry.connector.cli._search import search
from vectorferry.connector.cli._signals import stop_on_signals
from vectorferry.connector.cli._status import status
from vectorferry.connector.cli._submit import submit
from vectorferry.connector.cli._sync import sync
from vectorferry.connector.cli._vectors import vectors
from vectorferry.connector.cli._verify import verify

__all__ = ["app", "main"]

READER_GONE: Final = 141
"""As of any program that writes into a pipe that nobody reads: 128 and SIGPIPE."""

app = typer.Typer(
    name="vectorferry",
    cls=ReportingGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in (demo, init, plan, sync, refill, search, submit, status, verify, sandbox):
    app.command()(command)
app.add_typer(quarantine, name="quarantine")
app.add_typer(vectors, name="vectors")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"vectorferry {version('vectorferry')}")
        raise typer.Exit


@app.callback()
def _vectorferry(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Sync media assets and their named vectors into your own database."""


def main() -> None:
    """Run the command that ``sys.argv`` names and exit with its code."""
    stop_on_signals()
    # A terminal that lacks a letter is no reason to fail, and neither is a reader that has read enough.
    sys.stdout, output = Output.in_place_of(sys.stdout, "replace")
    sys.stderr, _ = Output.in_place_of(sys.stderr, "backslashreplace")
    try:
        app()
    except SystemExit as end:
        sys.exit(_exit_code(end.code, output))


def _exit_code(outcome: str | int | None, output: Output | None) -> str | int | None:
    """What the command amounts to; where that is success, whether its output arrived."""
    if sys.stdout is not None:
        sys.stdout.flush()
    if outcome or output is None or output.error is None:
        return outcome
    if isinstance(output.error, BrokenPipeError):
        return READER_GONE
    complain(f"done, but the output could not be written: {output.error.strerror}")
    return 1
