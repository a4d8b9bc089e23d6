"""``vectorferry demo``: two syncs from a sandbox, three questions, and where to go from there."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import yaml
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from vectorferry.connector._config import load_settings, parse_settings
from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._engine import run_sync
from vectorferry.connector._engine._opening import opened
from vectorferry.connector._model._errors import DestinationError
from vectorferry.connector._model._records import Modality
from vectorferry.connector._protocols._destination import Destination, SearchAnswer, SearchQuery
from vectorferry.connector._reports._summary import Summary
from vectorferry.connector.cli._console import plain, print_json, program, results
from vectorferry.connector.cli._options import AsJson
from vectorferry.connector.cli._progress import progress_bar
from vectorferry.connector.cli._search import show_answer
from vectorferry.connector.cli._summary_view import show_summary
from vectorferry.connector.sandbox import Sandbox, embed_text, running_sandbox


class DemoSource(StrEnum):
    """Whose sample media the demo syncs."""

    MIXPEEK = "mixpeek"
    MIXPEEK_DOCUMENTS = "mixpeek-documents"
    TWELVELABS = "twelvelabs"


class DemoDestination(StrEnum):
    """Where the demo syncs to."""

    PGVECTOR = "pgvector"
    PINECONE = "pinecone"
    BOTH = "both"


def demo(
    source: Annotated[
        DemoSource, typer.Option(help="Where to sync from: a local stand-in for this service.")
    ] = DemoSource.MIXPEEK,
    destination: Annotated[
        DemoDestination, typer.Option(help="Where to sync to; Pinecone is a local stand-in.")
    ] = DemoDestination.PGVECTOR,
    fresh: Annotated[bool, typer.Option("--fresh", help="Remove what an earlier demo stored first.")] = False,
    as_json: AsJson = False,
) -> None:
    """Sync sample media into an embedded Postgres, or a local Pinecone, and query it; no key needed."""
    report = demonstrate(results(quiet=as_json), source, destination, fresh=fresh)
    if as_json:
        print_json(report)
    raise typer.Exit(report["exit_code"])


@dataclass(frozen=True, slots=True)
class Sample:
    """One service's sample media: the sync that brings them, its file, and the vectors that are asked.

    `model` is what the sandbox embeds a text with so that it can be compared with the vectors of `vector_name`.
    """

    service: str
    sync_name: str
    config: Path
    title: str
    vector_name: str
    model: str


SAMPLES: Final = {
    "mixpeek": Sample("mixpeek", "demo", Path(".vectorferry/demo.yaml"), "Mixpeek", "multimodal-v1", "multimodal-v1"),
    "mixpeek-documents": Sample(
        "mixpeek-documents",
        "demo_mixpeek_documents",
        Path(".vectorferry/demo-mixpeek-documents.yaml"),
        "Mixpeek's documents",
        "multimodal_extractor_v1_multimodal_embedding",
        "multimodal-v1",
    ),
    "twelvelabs": Sample(
        "twelvelabs",
        "demo_twelvelabs",
        Path(".vectorferry/demo-twelvelabs.yaml"),
        "TwelveLabs",
        "marengo3.0-visual",
        "marengo3.0",
    ),
}

HEADER: Final = "# Written by `vectorferry demo`: sample media from a sandbox that runs as long as a sync does.\n"
PGVECTOR: Final = {"type": "pgvector"}


@contextmanager
def demo_sync(sample: Sample, destination: str) -> Iterator[SyncSettings]:
    """Settings for ``pgvector``, ``pinecone`` or ``both``; a local Pinecone answers until the block ends.

    Those of pgvector are in a file that stays, so that every other command goes on from the demo. The local Pinecone
    is gone afterwards, and so no file speaks of it.
    """
    if destination != "pinecone":
        sample.config.parent.mkdir(exist_ok=True)
        described = yaml.safe_dump(_described(sample, [{**PGVECTOR, "directory": "postgres"}]), sort_keys=False)
        sample.config.write_text(HEADER + described, encoding="utf-8")
    if destination == "pgvector":
        yield load_settings(sample.config)
        return
    with running_sandbox() as sandbox:
        pinecone = _pinecone(sandbox)
        stores = [PGVECTOR, pinecone] if destination == "both" else [pinecone]
        yield parse_settings(_described(sample, stores), "the demo")


def _described(sample: Sample, destinations: list[dict[str, Any]]) -> dict[str, Any]:
    source = {"type": "sandbox", "service": sample.service}
    return {"name": sample.sync_name, "source": source, "destinations": destinations}


def _pinecone(sandbox: Sandbox) -> dict[str, Any]:
    return {"type": "pinecone", "api_key": sandbox.api_key, "host": sandbox.url, "vectors": "all"}


# What the demo does and shows: two syncs from a sandbox, three questions, and where to go from there.


WORDS: Final = "a dog leaps over a fence"
OPENING: Final = 10
ROWS: Final = 3

STORED: Final = """\
With what is stored now:
  {program} status -c {config}
  {program} search -c {config} --vector-name {vector_name} \\
    --like {feature_id}

"""

OWN: Final = """\
With your own media: write vectorferry.yaml, give it your key, and sync. Give it the `url`
of your own Postgres, and everybody can ask there.
  {program} init{source_option}
  export {variable}=…
  {program} sync

Step by step, to the first SQL and to Dagster: docs/tutorial.md
"""

PINECONE: Final = """\
In Pinecone: add `- {type: pinecone, api_key: "${PINECONE_API_KEY}", vectors: all}` as a destination; docs/pinecone.md
(the Pinecone of this demo was a local stand-in, which is gone now)
"""


def demonstrate(console: Console, source: str, destination: str, *, fresh: bool) -> Mapping[str, Any]:
    """Run the demo in the working directory and return what happened as JSON values.

    `source` is one of `SAMPLES`, `destination` ``pgvector``, ``pinecone`` or ``both``.
    """
    sample = SAMPLES[source]
    with demo_sync(sample, destination) as settings, ExitStack() as stack:
        # Held open all the while, so that the embedded Postgres starts and stops only once.
        stores = stack.enter_context(opened(settings))
        for store in stores:
            _prepare(settings, store)
            if fresh:
                _forget(store)
        _title(f"1. Sync everything that a local stand-in for {sample.title} holds", console)
        show_summary(first := _sync(settings), console)
        _title("2. Sync again: nothing has changed there", console)
        show_summary(second := _sync(settings), console, brief=True)
        answers = [answer for store in stores for answer in _ask_all(store, sample, console, named=len(stores) > 1)]
    _show_next(answers, sample, destination, console)
    return {
        "first_sync": first.to_dict(),
        "second_sync": second.to_dict(),
        "questions": [
            {"question": text, "statement": answer.statement, "rows": answer.rows} for text, answer in answers
        ],
        "exit_code": max(first.exit_code, second.exit_code),
    }


def _prepare(settings: SyncSettings, store: Destination) -> None:
    """Without a warning that what an earlier demo wrote to its local Pinecone is gone: it is meant to be."""
    logging.disable(logging.WARNING)
    try:
        store.prepare(settings.modalities)
    finally:
        logging.disable(logging.NOTSET)


def _forget(store: Destination) -> None:
    """Only the demo's own assets: other syncs may share the embedded Postgres."""
    for collection in store.status().assets:
        store.remove(collection, list(store.asset_ids(collection)))


def _sync(settings: SyncSettings) -> Summary:
    with progress_bar() as progress:
        return run_sync(settings, progress=progress)


def _ask_all(
    destination: Destination, sample: Sample, console: Console, *, named: bool
) -> list[tuple[str, SearchAnswer]]:
    """Each question follows from the answer before it; `named` says which of several stores is asked."""
    asked = f"3. In {destination.name}: which" if named else "3. Which"
    video, words = partial(SearchQuery, Modality.VIDEO, sample.vector_name, limit=ROWS), embed_text(WORDS, sample.model)
    in_words = _ask(destination, f"{asked} video segments are near “{WORDS}”?", video(vector=words), console)
    if not in_words[1].rows:
        again = f"vectorferry demo --source {sample.service} --fresh"
        raise DestinationError(f"the demo finds none of its own videos; run `{again}`")
    best = in_words[1].rows[0]["feature_id"]
    alike = _ask(destination, "4. Which segments are most like the first of these?", video(like=best), console)
    openings = video(like=best, filters={"start_time": {"lt": OPENING}})
    filtered = _ask(destination, f"5. … and begin within the first {OPENING} seconds?", openings, console)
    return [in_words, alike, filtered]


def _ask(destination: Destination, text: str, query: SearchQuery, console: Console) -> tuple[str, SearchAnswer]:
    _title(text, console)
    answer = destination.search(query)
    show_answer(answer, console)
    return text, answer


def _title(text: str, console: Console) -> None:
    console.print()
    console.print(Rule(Text(text), align="left", style="none"))


def _show_next(answers: list[tuple[str, SearchAnswer]], sample: Sample, destination: str, console: Console) -> None:
    _title("Next", console)
    feature_id = plain(answers[0][1].rows[0]["feature_id"])
    stored = "" if destination == "pinecone" else STORED
    source_option = "" if sample.service == "mixpeek" else f" --source {sample.service}"
    text = (stored + OWN).format(
        program=program(),
        config=sample.config,
        vector_name=sample.vector_name,
        feature_id=feature_id,
        source_option=source_option,
        variable=f"{sample.service.upper()}_API_KEY",
    )
    console.print(text + (PINECONE if destination != "pgvector" else ""), markup=False, soft_wrap=True)
