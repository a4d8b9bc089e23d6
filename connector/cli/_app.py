"""The commands, put together. Each imports what it works with when it runs, so that ``--help`` is quick."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from connector.cli._demo import demo
from connector.cli._failures import ReportingGroup, stop_on_sigterm
from connector.cli._init import init
from connector.cli._plan import plan
from connector.cli._quarantine import quarantine
from connector.cli._refill import refill
from connector.cli._sandbox import sandbox
from connector.cli._search import search
from connector.cli._status import status
from connector.cli._submit import submit
from connector.cli._sync import sync
from connector.cli._vectors import vectors
from connector.cli._verify import verify

__all__ = ["app", "main"]

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
    stop_on_sigterm()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that lacks a letter is no reason to fail
    app()
