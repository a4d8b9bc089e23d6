"""``vectorferry search``: one similarity query, and its answer for people."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import click
import numpy as np
import typer
from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from vectorferry.connector._config import load_settings
from vectorferry.connector._config._load import read_bounded, read_documents
from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._engine import SourceHits, StoredHit, run_search, run_source_search
from vectorferry.connector._model._errors import ConfigurationError, QuarantineError
from vectorferry.connector._model._json import parse_json
from vectorferry.connector._model._records import Modality, Vector
from vectorferry.connector._model._vectors import decode_vector
from vectorferry.connector._protocols._destination import SearchAnswer, SearchQuery
from vectorferry.connector._protocols._source import RetrieverQuery, SourceQuery
from vectorferry.connector.cli._console import cell, make_table, plain, print_json, printable, results, show_table
from vectorferry.connector.cli._options import DEFAULT_CONFIG, AsJson, ConfigFile, SyncName, pairs


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
    retriever: Annotated[
        str | None, typer.Option(metavar="ID", help="Ask this retriever of the source's, by id or by name.")
    ] = None,
    stages: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Ask a retriever that is made of these stages (YAML), once.")
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(metavar="JSON", help="With --retriever or --stages: a JSON object, or KEY=VALUE; repeatable."),
    ] = None,
    collection: Annotated[
        str | None,
        typer.Option("--collection", metavar="ID", help="Where the source is to look; else the only one."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="With --text: what the source looks at (visual, a model's name); repeatable."),
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
    if [like, vector, text, retriever, stages].count(None) != 4:
        raise click.UsageError(
            "give one of --like FEATURE_ID, --vector FILE, --text WORDS, --retriever ID, --stages FILE"
        )
    filters = pairs("--filter", filter_ or ())
    if retriever is not None or stages is not None:
        _refuse("--retriever and --stages", {"--vector-name": vector_name, "--option": option})
        given = pairs("--inputs", inputs or ())
        to_ask = read_stages(stages) if stages else RetrieverQuery(retriever or "")
        to_ask = replace(to_ask, inputs=given, limit=limit, filters=filters)
        _ask_source(load_settings(config, name), to_ask, collection, destination, as_json)
        return
    if text is not None:
        _refuse("--text", {"--vector-name": vector_name, "--inputs": inputs})
        if not text.strip():
            raise click.UsageError("--text is empty")
        question = SourceQuery(text, limit, option or (), filters)
        _ask_source(load_settings(config, name), question, collection, destination, as_json)
        return
    _refuse("--like and --vector", {"--collection": collection, "--option": option, "--inputs": inputs})
    query = SearchQuery(
        modality=modality,
        vector_name=vector_name,
        vector=read_vector(vector) if vector else None,
        like=like,
        limit=limit,
        filters=filters,
    )
    answer = run_search(load_settings(config, name), query, destination)
    if as_json:
        print_json({"statement": answer.statement, "rows": answer.rows})
    else:
        show_answer(answer, results())


def _refuse(way: str, options: Mapping[str, object]) -> None:
    """Options that belong to another way of searching would be left out of account without a word."""
    for option, value in options.items():
        if value:
            raise click.UsageError(f"{option} does not go with {way}")


def _ask_source(
    settings: SyncSettings,
    query: SourceQuery | RetrieverQuery,
    collection: str | None,
    destination: str | None,
    as_json: bool,
) -> None:
    answer = run_source_search(settings, query, collection=collection, destination_name=destination, environ=os.environ)
    if as_json:
        print_json(answer.to_dict())
    else:
        show_hits(answer, results())


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


def show_hits(answer: SourceHits, console: Console) -> None:
    """One line per hit and one for the stored feature that it overlaps most."""
    for line in _heading(answer):
        console.print(Text(line), soft_wrap=True)
    if not answer.hits:
        console.print(Text("\nno hits\n"))
        return
    table = make_table("rank", "hit", "asset", numbers=("rank",), cut=("hit",))
    for stored_hit in answer.hits:
        hit = stored_hit.hit
        words = cell(plain(hit.text or _stored_text(stored_hit), 400))
        if answer.looked_up:
            words.append(f"\n{_feature(stored_hit)}", style="dim")
        table.add_row(str(hit.rank), words, place(hit.asset_id, seconds(hit.start, hit.end)))
    show_table(table, console)


def _heading(answer: SourceHits) -> Iterator[str]:
    yield f"hits of the source's own search in {plain(answer.collection)}"
    if answer.note:
        yield f"{plain(answer.destination or '')}: its rows cannot be read: {plain(answer.note)}"
    elif answer.destination:
        yield f"with the features that {plain(answer.destination)} holds of them"
    else:
        yield "no destination of this sync can say what it holds of them"


def _feature(stored_hit: StoredHit) -> str:
    if stored_hit.rows:
        return plain(stored_hit.rows[0]["feature_id"])
    if stored_hit.asset is None:
        return "not synced"
    return "the asset without this feature" if stored_hit.hit.feature_id else "no feature at that time"


def _stored_text(stored_hit: StoredHit) -> str:
    """What the first of its features that says anything says."""
    return next(filter(None, map(row_text, stored_hit.rows)), "")


# The stages of a retriever, from a file.


def read_stages(path: Path) -> RetrieverQuery:
    """The stages in a YAML or JSON file: a list of them, or a mapping with `stages` and an `input_schema`.

    Raises `ConfigurationError` when the file is missing or holds anything else.
    """
    if not path.exists():
        raise ConfigurationError(f"{path}: no such file")
    documents = read_documents(path)
    whole = documents[0] if len(documents) == 1 else None
    stages, schema = (whole.get("stages"), whole.get("input_schema")) if isinstance(whole, dict) else (whole, None)
    named = isinstance(stages, list) and all(isinstance(each, dict) and each.get("stage_name") for each in stages)
    if not stages or not named or not isinstance(schema, dict | None):
        raise ConfigurationError(
            f"{path}: should be a list of stages, each a mapping with a `stage_name` and a `config`, or a mapping with "
            "`stages` and an `input_schema`"
        )
    return RetrieverQuery(stages=stages, schema=schema or {})


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
