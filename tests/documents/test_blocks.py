"""Every code block of every document runs in some test, or a comment before it says why not.

Three kinds are looked at right here, wherever they stand: YAML of a sync or of a component is loaded, command lines of
`vectorferry` are parsed, and SQL is run in a schema `media` that was synced from sample media. What is longer has a
test of its own, which names the document.
"""

from __future__ import annotations

import re
import shlex
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import psycopg
import pytest
import yaml
from pydantic import ValidationError

from tests.documents.reading import DOCUMENTS, ROOT, Block, blocks, read
from tests.urls import in_database
from vectorferry import ConfigurationError, SyncSettings, parse_settings, run_sync
from vectorferry.dagster import VectorferrySync

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # importing typer 0.25 touches names that click 8.5 retires
    import click
    from typer.main import get_command

from vectorferry.connector.cli._app import app

NOT_RUN: Final = {
    "from vectorferry import Modality, SearchQuery, load_settings": "tests/dagster_project has such ones",
}
"""Blocks without a comment of their own, by their first line, and why nobody runs them."""
MINIMAL: Final = {"name": "media", "source": {"type": "mixpeek"}, "destinations": [{"type": "pgvector"}]}
COMMANDS: Final = get_command(app)
COMMAND: Final = re.compile(r"^ *(?:\.venv/bin/)?vectorferry (.*)$", flags=re.MULTILINE)
HARMLESS: Final = re.compile(r"^(#.*|export [A-Z_]+=.*|\. \.venv/bin/activate|)$")

BLOCKS: Final = [block for document in DOCUMENTS for block in blocks(document)]


def test_every_block_is_run_or_marked() -> None:
    unknown = [block for block in BLOCKS if not (is_marked(block) or is_run_here(block) or has_a_test(block.document))]
    assert list(map(str, unknown)) == [], "write `<!-- not run: why -->` before it, or a test"


def is_marked(block: Block) -> bool:
    return block.not_run or block.text.partition("\n")[0] in NOT_RUN


@cache
def has_a_test(document: str, *, of_its_own: bool = False) -> bool:
    """Whether a test reads the document, besides those that read all; `of_its_own`: in another folder than this."""
    folder, name = Path(__file__).parent, f'{Path(document).name}"'
    others = (path for path in (ROOT / "tests").rglob("test_*.py") if not (of_its_own and path.parent == folder))
    return any(name in path.read_text(encoding="utf-8") for path in others if path != Path(__file__))


def is_run_here(block: Block) -> bool:
    if block.language == "sh":
        rest = COMMAND.sub("", block.text.replace("\\\n", ""))
        return all(HARMLESS.match(line.strip()) for line in rest.splitlines())
    return block.language in ("yaml", "sql")


def test_yaml_of_a_sync_loads() -> None:
    mistakes = []
    for block in BLOCKS:
        if block.language == "yaml" and not block.not_run:
            try:
                load(yaml.safe_load(block.text), str(block))
            except (ConfigurationError, ValidationError) as error:
                mistakes.append(f"{block}: {error}")
    assert mistakes == []


def load(tree: dict[str, Any], where: str) -> None:
    """Load what describes a component, a sync, or a part of one, to which the rest is added."""
    if "attributes" in tree or where.startswith("docs/dagster.md"):
        VectorferrySync.resolve_from_dict({**MINIMAL, **tree.get("attributes", tree)}).settings()
    else:
        assert tree.keys() <= SyncSettings.model_fields.keys(), f"{where}: no part of a sync: mark it"
        parse_settings({**MINIMAL, **tree}, where)


def test_command_lines_are_understood() -> None:
    mistakes = [
        f"{document}: {line}: {problem}"
        for document in DOCUMENTS
        for line in command_lines(document)
        if (problem := misunderstood(line))
    ]
    assert mistakes == []


def command_lines(document: str) -> Iterator[str]:
    """What stands in blocks, fenced or indented, without remarks and with its placeholders filled."""
    text = read(document).replace("\\\n", " ")
    for match in re.finditer(r"^ +(?:\.venv/bin/)?vectorferry (.*)$|^vectorferry (.*)$", text, flags=re.MULTILINE):
        line = (match[1] or match[2]).partition(" #")[0].replace("…", "")
        if "-completion" in line:  # does what it says while it is parsed: tests/connector/cli/test_help.py runs it
            continue
        if match[1] is not None or in_a_fence(text, match.start()):
            yield line


def in_a_fence(text: str, place: int) -> bool:
    return len(re.findall(r"^ *```", text[:place], flags=re.MULTILINE)) % 2 == 1


def misunderstood(line: str) -> str:
    """What the command says to a line whose words it does not know."""
    words = shlex.split(re.sub(r" [<>|&].*", "", line).replace("FEATURE_ID", "f"))
    here: click.Command = COMMANDS
    context = click.Context(here)
    try:
        while isinstance(here, click.Group) and words and not words[0].startswith("-"):
            _, here, words = here.resolve_command(context, words)  # type: ignore[assignment]
            context = click.Context(here, parent=context)
        here.make_context(here.name, list(words), parent=context.parent)
    except (click.UsageError, click.exceptions.NoArgsIsHelpError) as error:
        return error.format_message()
    except click.exceptions.Exit:
        pass
    return ""


@pytest.fixture(scope="module")
def media(postgres_url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection to a database with a schema `media`, synced from a collection of sample media."""
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute("CREATE DATABASE documents")
        try:
            url = in_database(postgres_url, "documents")
            stores = [{"type": "pgvector", "url": url}]
            columns = {"video": {"columns": {"author": {"path": "metadata.author"}}}}
            source = {"type": "sandbox", "collections": ["quickstart"]}
            settings = {"name": "media", "source": source, "destinations": stores, "modalities": columns}
            assert run_sync(parse_settings(settings, "test")).exit_code == 0
            with psycopg.connect(url) as connection:
                yield connection
        finally:
            server.execute("DROP DATABASE documents WITH (FORCE)")


def test_sql_runs(media: psycopg.Connection[Any]) -> None:
    mistakes = []
    for block in BLOCKS:
        if block.language == "sql" and not (is_marked(block) or has_a_test(block.document, of_its_own=True)):
            query = block.text.replace("[0.1, …]", str([0.1] * 1408))
            query = re.sub(r"^(BEGIN|COMMIT);$", "", query, flags=re.MULTILINE)
            try:
                with media.transaction(force_rollback=True):
                    media.execute(query)
            except psycopg.Error as error:
                mistakes.append(f"{block}: {error}")
    assert mistakes == []


def test_the_readme_s_query_finds_what_is_worth_looking_at(media: psycopg.Connection[Any]) -> None:
    (block,) = blocks("README.md", "sql")
    rows = media.execute(block.text).fetchall()
    assert len(rows) == 10
    assert all(description for _, description, _ in rows)


def test_the_readme_names_the_variables_before_the_file_that_needs_them() -> None:
    named = blocks("README.md", "sh")[0].text
    file = blocks("README.md", "yaml")[0].text
    assert set(re.findall(r"export (\w+)=", named)) == set(re.findall(r"\$\{(\w+)\}", file))
