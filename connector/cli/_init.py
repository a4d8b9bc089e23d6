"""``vectorferry init``: a configuration to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from connector._errors import ConfigurationError
from connector.cli._console import for_people, plain
from connector.cli._options import DEFAULT_CONFIG, ConfigFile

__all__ = ["init"]

TEMPLATE: Final = """\
# One sync: from a source, into one or more destinations. Run it with `vectorferry sync`.
# ${NAME} is read from the environment when a run starts; keys never have to stand here.

name: media                        # also the Postgres schema

source:
  type: mixpeek                    # or sandbox, for sample media: then take out the api_key
  api_key: ${MIXPEEK_API_KEY}
  # collections: [quickstart]      # without this line: all of them
  # base_url: http://127.0.0.1:8765  # where `vectorferry sandbox` serves

destinations:
  - type: pgvector                 # without a url: an embedded Postgres under .vectorferry/
    # url: ${DATABASE_URL}         # uncomment it: postgresql://user:password@host:5432/database
    # schema: media
  # - type: pinecone               # the same vectors for serving; its indexes are made when they are missing
  #   api_key: ${PINECONE_API_KEY}
  #   vectors: [multimodal-v1]     # without this line: all named vectors, an index for each

# What each modality adds to the default columns, and how its vectors are stored:
# modalities:
#   video:
#     columns:
#       author: {path: metadata.author, type: text}
#     vectors:
#       multimodal-v1: {metric: cosine, storage: halfvec, index: hnsw}

# Refuse to delete more than this share of a collection's assets in one run:
# deletes: {mode: prune, max_share: 0.2}

# When Dagster runs it (cron):
# schedule: "*/15 * * * *"
"""


def init(
    config: ConfigFile = DEFAULT_CONFIG,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there.")] = False,
) -> None:
    """Write a commented vectorferry.yaml to begin with."""
    _write(config, force)
    where = plain(config)
    chosen = "" if config == DEFAULT_CONFIG else f" -c {where}"
    for_people().print(
        f"Wrote {where}. Next:\n\n"
        f"  export MIXPEEK_API_KEY=…    or, before you have one: `type: sandbox`, without api_key\n"
        f"  vectorferry sync{chosen}            into an embedded Postgres here, until you uncomment `url`",
        markup=False,
        soft_wrap=True,
    )


def _write(config: Path, force: bool) -> None:
    try:
        with config.open("w" if force else "x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError:
        raise ConfigurationError(f"{config}: is there already; --force overwrites it, -c FILE writes another") from None
