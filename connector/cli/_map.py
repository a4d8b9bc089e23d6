"""``vectorferry map``: what is stored, as a map of points in a file that a browser opens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from vectorferry.connector._config import load_settings
from vectorferry.connector._engine._points import embedding_maps
from vectorferry.connector._model._records import MODALITIES
from vectorferry.connector._reports._map import page
from vectorferry.connector.cli._console import for_people, plain
from vectorferry.connector.cli._files import written_whole
from vectorferry.connector.cli._options import (
    DEFAULT_CONFIG,
    AssetStore,
    ConfigFile,
    Modalities,
    StoredCollections,
    SyncName,
)


def map(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The HTML file to write.")] = Path(
        "vectorferry-map.html"
    ),
    collection: StoredCollections = None,
    modality: Modalities = None,
    vector: Annotated[
        list[str] | None, typer.Option("--vector", metavar="NAME", help="Only this named vector; may be repeated.")
    ] = None,
    color: Annotated[
        Literal["collection", "asset"], typer.Option("--color", help="What points of one colour have in common.")
    ] = "collection",
    sample: Annotated[
        int, typer.Option("--sample", min=2, max=20_000, help="Points of each named vector at most.")
    ] = 1_000,
    destination: AssetStore = None,
    config: ConfigFile = DEFAULT_CONFIG,
    name: SyncName = None,
) -> None:
    """Draw a sample of the stored vectors as a map, in an HTML file that needs nothing else."""
    settings = load_settings(config, name)
    maps = embedding_maps(
        settings,
        collections=collection or (),
        modalities=modality or MODALITIES,
        vector_names=vector or (),
        sample=sample,
        destination_name=destination,
    )
    with written_whole(output) as file:
        file.write(page(f"Embeddings of {settings.name}", maps, color).encode())
    line = ", ".join(f"{plain(each.vector_name)} of {each.modality} ({len(each.points):,} points)" for each in maps)
    for_people().print(f"{output}: {line}", markup=False, soft_wrap=True)
