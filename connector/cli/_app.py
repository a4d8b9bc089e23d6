"""The commands, put together. A command's module is imported when it is called, so that ``--help`` is quick."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from difflib import get_close_matches
from importlib import import_module
from typing import Annotated, Final

import click
import typer
from typer.core import TyperCommand

from vectorferry.connector._reports._run_id import started_by
from vectorferry.connector.cli._console import Output, complain
from vectorferry.connector.cli._failures import ReportingGroup
from vectorferry.connector.cli._help import describe_arguments, epilog
from vectorferry.connector.cli._logging import LoggedCommand
from vectorferry.connector.cli._signals import stop_on_signals

READER_GONE: Final = 141
"""As of any program that writes into a pipe that nobody reads: 128 and SIGPIPE."""

COMMANDS: Final = {
    "demo": "Sync sample media into an embedded Postgres, or a local Pinecone, and query it; no key needed.",
    "init": "Write a commented vectorferry.yaml to begin with.",
    "doctor": "Look whether a sync would get anywhere: the file, its variables, the key, the databases.",
    "plan": "Say what a sync would do, and change nothing.",
    "sync": "Bring every destination up to date with the source.",
    "refill": "Fill one destination from another one, without asking the source.",
    "search": "Find the nearest features, and show what finds them: SQL, or the call to Pinecone; or ask the source.",
    "embed": "Make a vector of a text, by the source's service or a local model, and print it for SQL.",
    "compare": "Ask the source's own search and a destination for the same neighbours, and show where they differ.",
    "map": "Draw a sample of the stored vectors as a map, in an HTML file that needs nothing else.",
    "export": "Write a named vector of every feature into a Parquet file, with ids and words.",
    "submit": "Have the source's service fetch media files and index them; with --wait, sync just these.",
    "status": "Show what each destination holds now.",
    "show": "Show the first rows of each table, with the ids that other commands take.",
    "sql": "Ask the sync's database in SQL: psql, a statement, or a small prompt; and describe what there is.",
    "verify": "Compare what is stored with the ledger, with the source, and between the destinations.",
    "sandbox": "Serve local stand-ins for the Mixpeek, TwelveLabs and Pinecone APIs until interrupted.",
    "quarantine": "Show, read again or drop the records that were set aside.",
    "indexes": "Show the vector indexes, and build them anew.",
    "vectors": "Show the tables of named vectors, and drop retired ones.",
}
"""Every command with the first sentence of its help: a module ``_NAME`` in this folder, which holds it as ``NAME``."""


class LazyGroup(ReportingGroup):
    """Knows its commands by name; imports the one that is called."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The commands, in the order in which somebody meets them."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """What the list of commands shows of one."""
        return TyperCommand(cmd_name, help=COMMANDS[cmd_name]) if cmd_name in COMMANDS else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command itself."""
        if args[0] not in COMMANDS and (near := get_close_matches(args[0], COMMANDS, n=1)):
            ctx.fail(f"No such command '{args[0]}'. Did you mean '{near[0]}'?")
        name, command, rest = super().resolve_command(ctx, args)
        return name, _imported(name) if name and command else command, rest


def _imported(name: str) -> click.Command:
    command = getattr(import_module(f"vectorferry.connector.cli._{name}"), name)
    commands = command if isinstance(command, typer.Typer) else typer.Typer(add_completion=False)
    if commands is not command:
        commands.command(name)(command)
    for each in commands.registered_commands:
        each.cls = LoggedCommand
        words = [name, each.name or _function_name(each.callback)] if commands is command else [name]
        each.epilog = epilog(" ".join(words))
    made = typer.main.get_command(commands)
    for each_made in made.commands.values() if isinstance(made, click.Group) else [made]:
        describe_arguments(each_made)
    return made


def _function_name(callback: Callable[..., object] | None) -> str:
    return getattr(callback, "__name__", "")


app = typer.Typer(
    name="vectorferry",
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=epilog(""),
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        typer.echo(f"vectorferry {version('vectorferry')}")
        raise typer.Exit


@app.callback()
def _vectorferry(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback does it all
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Sync media assets and their named vectors into your own database."""
    context.with_resource(started_by("cli"))


def main() -> None:
    """Run the command that ``sys.argv`` names and exit with its code."""
    stop_on_signals()
    _forget_unknown_sizes()
    # A terminal that lacks a letter is no reason to fail, and neither is a reader that has read enough.
    sys.stdout, output = Output.in_place_of(sys.stdout, "replace")
    sys.stderr, _ = Output.in_place_of(sys.stderr, "backslashreplace")
    try:
        app()
    except SystemExit as end:
        sys.exit(_exit_code(end.code, output))


def _forget_unknown_sizes() -> None:
    """Some terminals without a size say that it is 0, as which nothing would be printed at all."""
    for name in ("COLUMNS", "LINES"):
        if not os.environ.get(name, "1").strip("0"):
            del os.environ[name]


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
