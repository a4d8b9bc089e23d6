"""``vectorferry search``: one similarity query."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import click
import orjson
import typer

from vectorferry.connector._destination import SearchQuery
from vectorferry.connector._records import Modality
from vectorferry.connector._settings import SyncSettings
from vectorferry.connector.cli._console import print_json, results
from vectorferry.connector.cli._options import DEFAULT_CONFIG, AsJson, ConfigFile, SyncName

__all__ = ["search"]


def search(  # noqa: PLR0913, PLR0917 - one parameter per option
    modality: Annotated[Modality, typer.Option(help="What kind of features to look for.")] = Modality.VIDEO,
    vector_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The named vector, where the modality has several.")
    ] = None,
    like: Annotated[str | None, typer.Option(metavar="FEATURE_ID", help="Find more like this feature.")] = None,
    vector: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Find what is near this vector (JSON or .npy).")
    ] = None,
    text: Annotated[
        str | None, typer.Option(metavar="WORDS", help="Ask the source's own search, and show our rows of its hits.")
    ] = None,
    collection: Annotated[
        str | None, typer.Option("--collection", metavar="ID", help="With --text: where; else the only one.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="With --text: what the source looks at, like visual; repeatable.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many rows.")] = 10,
    filter_: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="KEY=VALUE", help="Only rows with this value, or a JSON object; repeatable."),
    ] = None,
    destination: Annotated[
        str | None, typer.Option(metavar="NAME", help="Which destination to ask, by name or type; else the first.")
    ] = None,
    config: ConfigFile = DEFAULT_CONFIG,
    name: SyncName = None,
    as_json: AsJson = False,
) -> None:
    """Find the nearest features, and show the SQL, or the call to Pinecone, that finds them; or ask the source."""
    from vectorferry.connector._config import load_settings
    from vectorferry.connector.cli._answers import show_answer
    from vectorferry.connector.cli._destinations import destination_index, opened
    from vectorferry.connector.cli._vector_file import read_vector

    if [like, vector, text].count(None) != 2:
        raise click.UsageError("give one of --like FEATURE_ID, --vector FILE and --text WORDS")
    if text is not None:
        _refuse("--text", {"--filter": filter_, "--vector-name": vector_name})
        _ask_source(load_settings(config, name), text, collection, limit, option or (), destination, as_json)
        return
    _refuse("--like and --vector", {"--collection": collection, "--option": option})
    query = SearchQuery(
        modality=modality,
        vector_name=vector_name,
        vector=read_vector(vector) if vector else None,
        like=like,
        limit=limit,
        filters=_filters(filter_ or ()),
    )
    settings = load_settings(config, name)
    with opened(settings, destination_index(settings, destination)) as opened_destination:
        answer = opened_destination.search(query)
    if as_json:
        print_json({"statement": answer.statement, "rows": answer.rows})
    else:
        show_answer(answer, results())


def _refuse(way: str, given: Mapping[str, object]) -> None:
    """Options that belong to another way of searching would be left out of account without a word."""
    for option, value in given.items():
        if value:
            raise click.UsageError(f"{option} does not go with {way}")


def _ask_source(
    settings: SyncSettings,
    text: str,
    collection: str | None,
    limit: int,
    options: Sequence[str],
    destination: str | None,
    as_json: bool,
) -> None:
    from vectorferry.connector._engine import run_source_search
    from vectorferry.connector.cli._hits import show_hits

    if not text.strip():
        raise click.UsageError("--text is empty")
    found = run_source_search(
        settings,
        text,
        collection=collection,
        limit=limit,
        options=options,
        called=destination,
        environ=os.environ,
    )
    if as_json:
        print_json(found.to_dict())
    else:
        show_hits(found, results())


def _filters(given: Sequence[str]) -> dict[str, Any]:
    filters: dict[str, Any] = {}
    for part in given:
        filters |= _object(part) if part.lstrip().startswith("{") else _pair(part)
    return filters


def _object(part: str) -> dict[str, Any]:
    try:
        value = orjson.loads(part)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise click.UsageError("--filter is neither KEY=VALUE nor a JSON object")
    return value


def _pair(part: str) -> dict[str, Any]:
    key, equals, value = part.partition("=")
    if not key or not equals:
        raise click.UsageError("--filter is neither KEY=VALUE nor a JSON object")
    return {key: _scalar(value)}


def _scalar(value: str) -> Any:
    """``7``, ``true`` and ``"7"`` as JSON reads them; anything else is text."""
    try:
        return orjson.loads(value)
    except ValueError:
        return value
