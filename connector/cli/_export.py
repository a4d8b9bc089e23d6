"""``vectorferry export``: stored vectors in a Parquet file, as other tools take them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import IO, Annotated, Any, Final

import numpy as np
import typer

from vectorferry.connector._config import load_settings
from vectorferry.connector._engine._points import collections_of, every_point, opened_store, project
from vectorferry.connector._model._errors import ConfigurationError, StopError
from vectorferry.connector._model._records import MODALITIES
from vectorferry.connector._protocols._destination import Destination
from vectorferry.connector._reports._map import Numbers, Point
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

ROWS_AT_ONCE: Final = 1_000
MOST_PLACED: Final = 20_000
"""Vectors that can be placed beside each other in some minutes."""


def export(
    parquet: Annotated[Path, typer.Option("--parquet", metavar="FILE", help="The file to write.")],
    vector: Annotated[
        str | None, typer.Option("--vector", metavar="NAME", help="Which named vector; else the only one.")
    ] = None,
    modality: Modalities = None,
    collection: StoredCollections = None,
    places: Annotated[
        bool, typer.Option("--xy", help="Also x and y: where each would be on a map. For up to 20,000 vectors.")
    ] = False,
    destination: AssetStore = None,
    config: ConfigFile = DEFAULT_CONFIG,
    name: SyncName = None,
) -> None:
    """Write a named vector of every feature into a Parquet file, with ids and words."""
    settings = load_settings(config, name)
    with opened_store(settings, destination) as store:
        chosen = vector or _only_vector(store)
        points = every_point(store, collections_of(store, collection or ()), chosen, modality or MODALITIES)
        first = next(points, None)
        if first is None:
            raise StopError(f"{store.name} holds no dense vector {chosen} there; run `vectorferry sync` first")
        with written_whole(parquet) as file:
            rows, left_out = _write(file, chain([first], points), len(first.vector), places)
    line = f"{parquet}: {rows:,} vectors {plain(chosen)} of {len(first.vector):,} dimensions"
    other = f"; {left_out:,} of another dimension were left out" if left_out else ""
    for_people().print(f"{line}{other}", markup=False, soft_wrap=True)


def _only_vector(store: Destination) -> str:
    names = sorted({name for _, name, dimension in store.vector_kinds() if dimension is not None})
    if len(names) != 1:
        raise ConfigurationError(
            f"say which named vector with --vector; {store.name} has: {', '.join(names) or 'none'}"
        )
    return names[0]


def _write(file: IO[bytes], points: Iterator[Point], dimension: int, placed: bool) -> tuple[int, int]:
    """How many rows were written, and how many points left out."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ConfigurationError("Parquet needs pyarrow: run `pip install 'vectorferry[parquet]'`") from None
    texts = ("id", "collection", "asset_id", "feature_id", "modality", "text")
    fields = [*(pa.field(name, pa.string()) for name in texts), pa.field("vector", pa.list_(pa.float32()))]
    schema = pa.schema([*fields, *(pa.field(axis, pa.float32()) for axis in "xy" if placed)])
    left_out = 0

    def fitting() -> Iterator[Point]:
        nonlocal left_out
        for point in points:
            if len(point.vector) == dimension:
                yield point
            else:
                left_out += 1

    pages = _placed(fitting()) if placed else ((page, None) for page in _pages(fitting()))
    written = 0
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for page, at in pages:
            writer.write_table(pa.Table.from_pydict(_columns(page, at), schema=schema))
            written += len(page)
    return written, left_out


def _pages(points: Iterator[Point]) -> Iterator[list[Point]]:
    while page := list(islice(points, ROWS_AT_ONCE)):
        yield page


def _placed(points: Iterator[Point]) -> Iterator[tuple[list[Point], Numbers]]:
    """All of them at once: each place depends on all vectors."""
    everything = list(islice(points, MOST_PLACED + 1))
    if len(everything) > MOST_PLACED:
        raise ConfigurationError(
            f"--xy is for up to {MOST_PLACED:,} vectors: narrow it down by --collection or --modality"
        )
    yield everything, project(np.stack([point.vector for point in everything]))


def _columns(page: Sequence[Point], places: Numbers | None) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "id": [f"{point.collection}/{point.asset_id}/{point.feature_id}/{point.modality}" for point in page],
        "collection": [point.collection for point in page],
        "asset_id": [point.asset_id for point in page],
        "feature_id": [point.feature_id for point in page],
        "modality": [point.modality.value for point in page],
        "text": [point.text for point in page],
        "vector": [point.vector for point in page],
    }
    return columns if places is None else {**columns, "x": places[:, 0], "y": places[:, 1]}
