"""``vectorferry init``: a configuration to begin with."""

from __future__ import annotations

import os
import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import click
import typer
from click.core import ParameterSource

from vectorferry.connector._model._errors import ConfigurationError
from vectorferry.connector.cli._console import for_people, plain
from vectorferry.connector.cli._options import DEFAULT_CONFIG, NewConfigFile


class InitSource(StrEnum):
    """What the new sync is to read."""

    MIXPEEK = "mixpeek"
    MIXPEEK_DOCUMENTS = "mixpeek-documents"
    TWELVELABS = "twelvelabs"


MIXPEEK: Final = """\
source:
  type: mixpeek                    # or sandbox, for sample media: then take out the api_key
  api_key: ${MIXPEEK_API_KEY}
  # collections: [quickstart]      # without this line: all of them
  # base_url: http://127.0.0.1:8765  # where `vectorferry sandbox` serves
"""
MIXPEEK_DOCUMENTS: Final = """\
source:
  type: mixpeek-documents          # or sandbox with `service: mixpeek-documents`: then take out the next two lines
  api_key: ${MIXPEEK_API_KEY}
  namespace: ${MIXPEEK_NAMESPACE}  # name or id
  # collections: [films]           # names or ids; without this line: all of them, and what was upserted without one
  # multi_vectors: leave_out       # vectors for each token are set aside in quarantine; leave_out: not even read
  # scoped_key: true               # the key is meant to see a part only; else one that does deletes nothing
  # base_url: http://127.0.0.1:8765/mixpeek-documents  # where `vectorferry sandbox` serves; its namespace is media
"""
TWELVELABS: Final = """\
source:
  type: twelvelabs                 # or sandbox with `service: twelvelabs`, for sample media: then take out the api_key
  api_key: ${TWELVELABS_API_KEY}
  # collections: [films]           # names or ids of indexes; without this line: all of them
  # options: [visual, audio]       # without this line: every embedding option that an index was made with
  # embed_tasks: true              # the embedding tasks of the last seven days, too
  # reread_days: 7                 # metadata may be edited without a trace in lists: read again after so many days
  # base_url: http://127.0.0.1:8765/v1.3  # where `vectorferry sandbox` serves
"""

TEMPLATE: Final = """\
# One sync: from a source, into one or more destinations. Run it with `vectorferry sync`.
# ${NAME} is read from the environment when a run starts; keys never have to stand here.

name: media                        # also the Postgres schema

{source}
destinations:
  - type: pgvector                 # without a url: an embedded Postgres under .vectorferry/
    {database}
    # schema: media
  # - type: pinecone               # the same vectors for serving; its indexes are made when they are missing
  #   api_key: ${PINECONE_API_KEY}
  #   vectors: {vectors}# or `all`: each is an index, which is billed

# What each modality adds to the default columns, and how its vectors are stored:
# modalities:
#   video:
#     columns:
#       {column}
#     vectors:
#       {vector_name}: {metric: cosine, storage: halfvec, index: hnsw}

# Refuse to delete more than this share of a collection's assets in one run:
# deletes: {mode: prune, max_share: 0.2}

# When Dagster runs it (cron):
# schedule: "*/15 * * * *"
"""

SOURCES: Final = {
    InitSource.MIXPEEK: (MIXPEEK, "multimodal-v1", "author: {path: metadata.author, type: text}"),
    InitSource.MIXPEEK_DOCUMENTS: (
        MIXPEEK_DOCUMENTS,
        "multimodal_extractor_v1_multimodal_embedding",
        "author: {path: metadata.author, type: text}",
    ),
    InitSource.TWELVELABS: (TWELVELABS, "marengo3.0-visual", "option: {path: embedding_option, type: text}"),
}
"""What stands under `source`, and of what it has a named vector and a column."""


VARIABLES: Final = {
    InitSource.MIXPEEK: "MIXPEEK_API_KEY=…",
    InitSource.MIXPEEK_DOCUMENTS: "MIXPEEK_API_KEY=… MIXPEEK_NAMESPACE=…",
    InitSource.TWELVELABS: "TWELVELABS_API_KEY=…",
}
"""What the file takes from the environment."""


EMBEDDED: Final = "# url: ${DATABASE_URL}         # uncomment it: postgresql://user:password@host:5432/database"
VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def init(
    context: typer.Context,
    config: NewConfigFile = DEFAULT_CONFIG,
    source: Annotated[InitSource, typer.Option(help="Where the sync is to read from.")] = InitSource.MIXPEEK,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="VARIABLE", help="The environment variable with your Postgres' address; else an embedded one."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there.")] = False,
) -> None:
    """Write a commented vectorferry.yaml to begin with.

    In a terminal it asks for what no option says. Where the variables that the file names are set, it looks whether a
    sync would get anywhere, as `doctor` does.
    """
    if config.exists() and not force:
        raise _occupied(config)
    if sys.stdin.isatty():
        source = InitSource(
            _answer(context, "source", "Where from", source, click.Choice([each.value for each in InitSource]))
        )
        question = "Variable with your Postgres' address, such as DATABASE_URL; none: an embedded one"
        database = _answer(context, "database", question, database or "")
    if database and not VARIABLE.fullmatch(database):
        # Not repeated: it may be an address with its password.
        raise ConfigurationError(
            "--database takes the name of a variable, so that no password stands in the file: "
            "`export DATABASE_URL=…`, and give DATABASE_URL"
        )
    text = _template(source, database)
    _write(config, text, force)
    where, console = plain(config), for_people()
    chosen = "" if config == DEFAULT_CONFIG else f" -c {where}"
    if all(name in os.environ for name in _variables(text)):
        console.print(f"Wrote {where}. Whether a sync would get anywhere:\n", markup=False, soft_wrap=True)
        _check(config, chosen)
        return
    sandbox = "`type: sandbox`" + ("" if source is InitSource.MIXPEEK else f" and `service: {source}`")
    left_out = "api_key and namespace" if source is InitSource.MIXPEEK_DOCUMENTS else "api_key"
    exported = VARIABLES[source] + (f" {database}=…" if database else "")
    into = "your Postgres" if database else "an embedded Postgres here, until you uncomment `url`"
    console.print(
        f"Wrote {where}. Next:\n\n"
        f"  export {exported}    or, before you have one: {sandbox}, without {left_out}\n"
        f"  vectorferry sync{chosen}            into {into}",
        markup=False,
        soft_wrap=True,
    )


def _answer(
    context: typer.Context, option: str, question: str, value: str, choices: click.Choice[str] | None = None
) -> str:
    """What an option says, else what is typed."""
    if context.get_parameter_source(option) is not ParameterSource.DEFAULT:
        return value
    return str(typer.prompt(question, default=value, type=choices, show_default=bool(value), err=True))


def _variables(text: str) -> list[str]:
    """What the file takes from the environment, but for what is commented out."""
    return re.findall(r"^[^#\n]*\$\{(\w+)\}", text, re.MULTILINE)


def _check(config: Path, option: str) -> None:
    from vectorferry.connector._config import load_settings
    from vectorferry.connector._engine import run_doctor
    from vectorferry.connector.cli._doctor import show_checkup

    checkup = run_doctor(load_settings(config), os.environ)
    show_checkup(checkup, for_people(), where=plain(config))
    after = "vectorferry sync" if checkup.exit_code == 0 else "mend it, and look again: vectorferry doctor"
    for_people().print(f"\nNext: {after}{option}", markup=False, soft_wrap=True)


def _template(source: InitSource, database: str | None) -> str:
    described, vector_name, column = SOURCES[source]
    filled = TEMPLATE.replace("{source}", described).replace("{column}", column)
    filled = filled.replace("{database}", f"url: ${{{database}}}" if database else EMBEDDED)
    return filled.replace("{vectors}", f"[{vector_name}] ".ljust(20)).replace("{vector_name}", vector_name)


def _write(config: Path, text: str, force: bool) -> None:
    try:
        with config.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise _occupied(config) from None


def _occupied(config: Path) -> ConfigurationError:
    return ConfigurationError(f"{config}: is there already; --force overwrites it, -c FILE writes another")
