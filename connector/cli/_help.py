"""What ``--help`` shows of a command besides its options: examples, and what its arguments are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, get_args, get_type_hints

import click
from typer.models import ArgumentInfo

EXAMPLES: Final[Mapping[str, tuple[str, ...]]] = {
    "": ("demo", "init", "doctor", "sync", "sync --help"),
    "demo": ("demo", "demo --destination both", "demo --source twelvelabs --fresh"),
    "init": ("init", "init --source mixpeek-documents --database DATABASE_URL -c media.yaml"),
    "doctor": ("doctor", "doctor -c /etc/vectorferry/media.yaml --json"),
    "plan": ("plan", "plan --collection films --json", "plan --at 1e9 --dimension 1408"),
    "sync": (
        "sync",
        "sync --collection films --modality video",
        "sync --reread asset-1 asset-2",
        "sync --workers 4",
        "sync --join",
        "sync --json -q",
    ),
    "refill": ("refill pinecone", "refill pgvector --from pinecone --collection films"),
    "search": (
        "search --like FEATURE_ID --filter collection=films",
        "search --modality image --vector query.json --limit 5",
        'search --text "a dog in the snow"',
    ),
    "compare": ("compare", "compare --collection films --sample 50 -k 5"),
    "embed": ('embed --text "surfing at dawn"', 'embed --text "surfing" --vector multimodal-v1 --json'),
    "map": ("map", "map --output films.html --collection films --color asset"),
    "export": ("export --parquet vectors.parquet", "export --parquet films.parquet --collection films --xy"),
    "submit": ("submit https://media.example/cat.mp4 --wait", "submit URL --collection films --metadata author=maren"),
    "status": (
        "status",
        "status --runs",
        "status --workers",
        "status --textfile /var/lib/node_exporter/vectorferry.prom",
    ),
    "show": ("show", "show video --limit 10"),
    "sql": ("sql", 'sql -e "SELECT count(*) FROM assets"', "sql docs --format dbt"),
    "verify": ("verify", "verify --sample 100 --source 10", "verify --repair", "verify --security"),
    "sandbox": ("sandbox", "sandbox --port 0"),
    "quarantine list": ("quarantine list", "quarantine list --reason too_large --json"),
    "quarantine show": ("quarantine show ASSET_ID",),
    "quarantine replay": ("quarantine replay", "quarantine replay ASSET_ID --collection films"),
    "quarantine drop": ("quarantine drop ASSET_ID", "quarantine drop --all --destination pinecone"),
    "indexes list": ("indexes list", "indexes list --json"),
    "indexes rebuild": ("indexes rebuild", "indexes rebuild video_multimodal_v1"),
    "vectors list": ("vectors list",),
    "vectors drop": ("vectors drop --retired", "vectors drop video__multimodal_v1__768"),
}
"""By command (the empty one: of the program itself), without the name of the program."""


def epilog(command: str) -> str:
    """The examples of a command, as typer's help takes them: a paragraph becomes a line."""
    return "\n\n".join(["Examples:", *(f"$ vectorferry {example}" for example in EXAMPLES[command])])


def describe_arguments(command: click.Command) -> None:
    """Give arguments the help that their annotations have.

    click 8.5 has arguments with a help of their own, and its constructor empties the one that typer 0.25 has just set.
    """
    hints: dict[str, Any] = get_type_hints(command.callback, include_extras=True) if command.callback else {}
    for parameter in command.params:
        for information in get_args(hints.get(parameter.name or "")):
            if isinstance(information, ArgumentInfo):
                parameter.help = information.help
