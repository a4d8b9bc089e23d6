"""``vectorferry init``: a configuration to begin with."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

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
    # url: ${DATABASE_URL}         # uncomment it: postgresql://user:password@host:5432/database
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


def init(
    config: NewConfigFile = DEFAULT_CONFIG,
    source: Annotated[InitSource, typer.Option(help="Where the sync is to read from.")] = InitSource.MIXPEEK,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there.")] = False,
) -> None:
    """Write a commented vectorferry.yaml to begin with."""
    _write(config, _template(source), force)
    where = plain(config)
    chosen = "" if config == DEFAULT_CONFIG else f" -c {where}"
    sandbox = "`type: sandbox`" + ("" if source is InitSource.MIXPEEK else f" and `service: {source}`")
    for_people().print(
        f"Wrote {where}. Next:\n\n"
        f"  export {VARIABLES[source]}    or, before you have one: {sandbox}, without api_key\n"
        f"  vectorferry sync{chosen}            into an embedded Postgres here, until you uncomment `url`",
        markup=False,
        soft_wrap=True,
    )


def _template(source: InitSource) -> str:
    described, vector_name, column = SOURCES[source]
    filled = TEMPLATE.replace("{source}", described).replace("{column}", column)
    return filled.replace("{vectors}", f"[{vector_name}] ".ljust(20)).replace("{vector_name}", vector_name)


def _write(config: Path, text: str, force: bool) -> None:
    try:
        with config.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigurationError(f"{config}: is there already; --force overwrites it, -c FILE writes another") from None
