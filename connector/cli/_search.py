"""``vectorferry search``: one similarity query, and its answer for people."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import click
import numpy as np
import orjson
import typer
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from vectorferry.connector._config import load_settings
from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._config._yaml import read_bounded
from vectorferry.connector._engine import Found, FoundHit, run_source_search
from vectorferry.connector._model._errors import ConfigurationError, QuarantineError
from vectorferry.connector._model._json import parse_json
from vectorferry.connector._model._records import Modality, Vector
from vectorferry.connector._model._vectors import decode_vector
from vectorferry.connector._protocols._destination import SearchAnswer, SearchQuery
from vectorferry.connector.cli._console import cell, make_table, plain, print_json, printable, results, show_table
from vectorferry.connector.cli._options import DEFAULT_CONFIG, AsJson, ConfigFile, SyncName, destination_index, opened

__all__ = ["read_vector", "search", "show_answer", "show_hits"]


NEARNESS: Final = ("distance", "score")
"""What a store answers: pgvector a distance, which is small for what is near, Pinecone a score."""


TEXTS: Final = ("description", "caption", "transcription", "text")


VECTOR: Final = re.compile(r"([\[{])([^,'\]}]+,[^,'\]}]+),[^'\]}]{40,}([\]}])")


def show_answer(answer: SearchAnswer, console: Console) -> None:
    """The statement with any long vector cut short, then the rows."""
    shown = _shortened(answer.statement)
    console.print(_coloured(shown, answer.language), soft_wrap=True)
    if shown != answer.statement:
        console.print(Text("(the vector is cut short here; --json prints it whole)", style="dim"))
    if answer.rows:
        show_table(_table(answer), console)
    else:
        console.print(Text("\nno rows\n"))


def _coloured(statement: str, language: str) -> Text:
    """Lines are left as they are, so that they can be copied."""
    lines = "\n".join(printable(line) for line in statement.splitlines())
    coloured = Syntax("", language, theme="ansi_dark", background_color="default").highlight(lines)
    coloured.rstrip()
    return coloured


def _shortened(statement: str) -> str:
    """The 1,408 numbers of a query vector are of no use on a screen; ``--json`` has them all."""
    return VECTOR.sub(r"\1\2,…\3", statement)


def _table(answer: SearchAnswer) -> Table:
    nearness = next((name for name in NEARNESS if name in answer.rows[0]), NEARNESS[0])
    table = make_table(nearness, "feature", "collection", numbers=(nearness,), cut=("feature",))
    for row in answer.rows:
        feature = cell(plain(row_text(row), 400)).append(f"\n{plain(row.get('feature_id', ''))}", style="dim")
        when = seconds(row.get("start_time"), row.get("end_time"))
        table.add_row(_number(row.get(nearness)), feature, place(row.get("collection", ""), when))
    return table


def row_text(row: Mapping[str, Any]) -> str:
    """What a feature's columns say in words."""
    return str(next((row[name] for name in TEXTS if row.get(name)), ""))


def place(name: object, when: str) -> Text:
    """Where something is: the collection or asset, and the seconds below it."""
    return cell(plain(name, 36)).append(f"\n{when}", style="dim")


def seconds(start: object, end: object) -> str:
    """``4–6.5 s``, in tenths; empty where either is not known."""
    return (
        f"{_tenths(start)}–{_tenths(end)} s" if isinstance(start, int | float) and isinstance(end, int | float) else ""
    )


def _tenths(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, int | float) else ""


# The hits of a source's own search for people, each with what is stored of it.


def show_hits(found: Found, console: Console) -> None:
    """One line per hit and one for the stored feature that it overlaps most."""
    for line in _heading(found):
        console.print(Text(line), soft_wrap=True)
    if not found.hits:
        console.print(Text("\nno hits\n"))
        return
    table = make_table("rank", "hit", "asset", numbers=("rank",), cut=("hit",))
    for one in found.hits:
        hit = one.hit
        words = cell(plain(hit.text or _stored_text(one), 400))
        if found.looked_up:
            words.append(f"\n{_feature(one)}", style="dim")
        table.add_row(str(hit.rank), words, place(hit.asset_id, seconds(hit.start, hit.end)))
    show_table(table, console)


def _heading(found: Found) -> Iterator[str]:
    yield f"hits of the source's own search in {plain(found.collection)}"
    if found.note:
        yield f"{plain(found.destination or '')}: its rows cannot be read: {plain(found.note)}"
    elif found.destination:
        yield f"with the features that {plain(found.destination)} holds of them"
    else:
        yield "no destination of this sync can say what it holds of them"


def _feature(one: FoundHit) -> str:
    if one.rows:
        return plain(one.rows[0]["feature_id"])
    return "not synced" if one.asset is None else "no feature at that time"


def _stored_text(one: FoundHit) -> str:
    """What the first of its features that says anything says."""
    return next(filter(None, map(row_text, one.rows)), "")


# A query vector from a file.


MAX_BYTES: Final = 5_000_000


SHAPES: Final = 'a JSON list of numbers, {"indices": [...], "values": [...]}, or a one-dimensional .npy array'


def read_vector(path: Path) -> Vector:
    """The vector in a JSON or ``.npy`` file: dense float32 ``(dimension,)``, or sparse.

    Raises `ConfigurationError` when the file is missing, too large or holds anything else.
    """
    content = read_bounded(path, MAX_BYTES, "a file holds one vector")
    try:
        return decode_vector(_array(content) if path.suffix == ".npy" else parse_json(content))
    except QuarantineError as error:
        raise ConfigurationError(f"{path}: {error}; give {SHAPES}") from None
    except (ValueError, EOFError):
        raise ConfigurationError(f"{path}: cannot be decoded; give {SHAPES}") from None


def _array(content: bytes) -> Any:
    return np.load(io.BytesIO(content), allow_pickle=False).tolist()


# ``vectorferry search``: one similarity query.


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
    """Find the nearest features, and show what finds them: SQL, or the call to Pinecone; or ask the source."""

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
