"""What ``--help`` of each command says, and what a shell completes."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.connector.cli.conftest import Invoke
from tests.connector.cli.executable import EXECUTABLE
from tests.documents.reading import read
from tests.documents.test_blocks import misunderstood
from tests.examples import family
from tests.waiting import PATIENCE
from vectorferry.connector.cli._app import COMMANDS, _imported
from vectorferry.connector.cli._help import EXAMPLES

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # importing typer 0.25 touches names that click 8.5 retires
    import click


def every_command() -> Iterator[tuple[str, click.Command]]:
    """Those of groups included, by the words that call them."""
    for name in COMMANDS:
        command = _imported(name)
        if isinstance(command, click.Group):
            yield from ((f"{name} {each}", below) for each, below in command.commands.items())
        else:
            yield name, command


EVERY = dict(every_command())


def test_every_command_has_examples_that_it_understands() -> None:
    assert EXAMPLES.keys() == {"", *EVERY}
    for name, examples in EXAMPLES.items():
        assert all(example.startswith(name) for example in examples)
        assert [problem for example in examples if (problem := misunderstood(example))] == []


def test_every_argument_and_option_is_described() -> None:
    assert [
        (name, parameter.name)
        for name, command in EVERY.items()
        for parameter in command.params
        if not getattr(parameter, "help", None)
    ] == []


@pytest.mark.parametrize("name", ["", "sync", "quarantine show"])
def test_the_help_shows_them(vectorferry: Invoke, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = vectorferry(*name.split(), "--help").output
    for example in EXAMPLES[name]:
        assert f"$ vectorferry {example}" in said
    for parameter in EVERY[name].params if name else ():
        if isinstance(parameter, click.Argument):
            assert getattr(parameter, "help", "") in said


@pytest.mark.parametrize(
    ("typed", "offered"),
    family(
        [
            ("vectorferry qua", ["quarantine"]),
            ("vectorferry sync --rer", ["--reread"]),
            ("vectorferry vectors d", ["drop"]),
            ("vectorferry sync --modality a", ["audio"]),
        ],
        always=(3,),
    ),
)
@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
@pytest.mark.long
def test_bash_completes(tmp_path: Path, typed: str, offered: list[str]) -> None:
    assert completed(typed, tmp_path) == offered


def completed(typed: str, home: Path) -> list[str]:
    """What bash offers after the script that ``--show-completion`` prints."""
    words = shlex.split(typed)
    script = (
        f'eval "$({shlex.quote(EXECUTABLE)} --show-completion)"\n'
        f"COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; COMP_LINE={typed!r}; COMP_POINT={len(typed)}\n"
        '_vectorferry_completion vectorferry; printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    environ = {**os.environ, "HOME": str(home), "PATH": f"{Path(EXECUTABLE).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], env=environ, capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    return re.findall(r"\S+", done.stdout)


OPTIONS = {name: {each for p in command.params for each in p.opts} for name, command in EVERY.items()}
SECTION = read("docs/cli.md").partition("## Options")[2].partition("\n## ")[0]


def test_the_page_names_every_option() -> None:
    elsewhere = {"--config", "-c", "--name", "--json", "--verbose", "--quiet", "--log-format", "--log-file", "-v", "-q"}
    every = {each for options in OPTIONS.values() for each in options if each.startswith("-")}
    assert {each for each in every - elsewhere if not re.search(rf"{each}(?![\w-])", SECTION)} == {"--sync"}, (
        "on by default"
    )


def test_the_page_names_no_other() -> None:
    shared, _, own = SECTION.partition("Those of one command:")
    for options, commands in re.findall(r"^\| `(--[^|]*)` \| ([^|]*) \|", shared, flags=re.MULTILINE):
        for command in re.findall(r"`([a-z ]+)`", commands):
            assert options.split()[0] in OPTIONS[command], (command, options)
    for command, options in re.findall(r"^\| `([a-z]+) ([^|]*)\|", own, flags=re.MULTILINE):
        known = set().union(*(each for name, each in OPTIONS.items() if name.split()[0] == command))
        assert set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", options)) <= known | {"--no-sync"}, command
