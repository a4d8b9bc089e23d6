"""``vectorferry embed``: a text's vector, as SQL takes it."""

from __future__ import annotations

from typing import Annotated, Any

import click
import typer

from vectorferry.connector._config import load_settings
from vectorferry.connector._config._registry import embedder
from vectorferry.connector._engine import run_embed
from vectorferry.connector._model._errors import ConfigurationError, QuarantineError
from vectorferry.connector._model._records import SparseVector, Vector
from vectorferry.connector._model._vectors import decode_vector, dense_dimension, vector_literal
from vectorferry.connector._protocols._source import EmbeddedText
from vectorferry.connector.cli._console import print_json
from vectorferry.connector.cli._options import DEFAULT_CONFIG, AsJson, ConfigFile, SyncName


def embed(
    text: Annotated[str, typer.Option(metavar="WORDS", help="What to make a vector of.")],
    vector: Annotated[
        str | None, typer.Option(metavar="NAME", help="The named vector whose model is to make it; else the usual one.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="A local model, by its plug-in's name, in place of the service.")
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    name: SyncName = None,
    as_json: AsJson = False,
) -> None:
    """Make a vector of a text, by the source's service or a local model, and print it for SQL."""
    if not text.strip():
        raise click.UsageError("--text is empty")
    if vector is not None and model is not None:
        raise click.UsageError(
            "--vector is of the source's service, and --model of this machine: leave one of them out"
        )
    made = _locally(model, text) if model is not None else run_embed(load_settings(config, name), text, vector)
    if as_json:
        told = {"model": made.model, "dimension": dense_dimension(made.vector), "vector": _as_json(made.vector)}
        print_json({**told, "literal": vector_literal(made.vector), "exit_code": 0})
    else:
        typer.echo(vector_literal(made.vector))


def _locally(name: str, text: str) -> EmbeddedText:
    """What a plug-in makes of it, whose errors are reported as its own."""
    make = embedder(name)
    try:
        raw = make(text)
    except Exception as error:
        raise ConfigurationError(f"the embedder {name} failed ({type(error).__name__}: {error})") from error
    try:
        return EmbeddedText(name, decode_vector(raw.tolist() if hasattr(raw, "tolist") else raw))
    except QuarantineError as error:
        raise ConfigurationError(f"the embedder {name} gave no vector: {error}") from error


def _as_json(vector: Vector) -> Any:
    if isinstance(vector, SparseVector):
        return {"indices": vector.indices.tolist(), "values": vector.values.tolist()}
    return vector.tolist()
