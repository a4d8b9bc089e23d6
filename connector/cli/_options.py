"""Options that several commands share, and what they choose: collections and destinations."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import click
import orjson
import typer

from vectorferry.connector._config import resolve_part
from vectorferry.connector._config._settings import SyncSettings
from vectorferry.connector._engine._opening import list_collections, naming_option
from vectorferry.connector._model._errors import ConfigurationError
from vectorferry.connector._model._near import closest
from vectorferry.connector._model._records import Modality
from vectorferry.connector._protocols._source import SourceSettings
from vectorferry.connector._reports._summary import first_of

DEFAULT_CONFIG = Path("vectorferry.yaml")
CONFIG_VARIABLE: Final = "VECTORFERRY_CONFIG"


class Number(click.FloatRange):
    """A number within bounds. click's own type lets "nan" pass them, which is neither less nor more than any bound."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Raise `click.BadParameter` for what is no number, or out of bounds."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


def _config_in_use(path: Path) -> Path:
    """The file that the environment names, where none is given and none is here."""
    elsewhere = os.environ.get(CONFIG_VARIABLE)
    if not elsewhere or path != DEFAULT_CONFIG or path.exists():
        return path
    if not Path(elsewhere).exists():
        raise ConfigurationError(f"{CONFIG_VARIABLE} names {elsewhere}, which is not there: correct it, or use -c FILE")
    return Path(elsewhere)


ConfigFile = Annotated[
    Path,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        callback=_config_in_use,
        help=f"The sync's configuration; without it and {DEFAULT_CONFIG}, what {CONFIG_VARIABLE} names.",
    ),
]

NewConfigFile = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The file to write.")]

SyncName = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="Which sync, where the file describes several.")
]

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]

AllowDeletes = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE", click_type=Number(0, 1), help="Allow up to this share of a collection to be deleted."
    ),
]

AllowDeletesOf = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-deletes-of",
        metavar="ID",
        help="Allow everything of this collection to be deleted, also when it is gone; may be repeated.",
    ),
]

Collections = Annotated[
    list[str] | None,
    typer.Option("--collection", metavar="ID", help="Only this collection, by id or by name; may be repeated."),
]

WhichDestination = Annotated[
    str | None, typer.Option("--destination", metavar="NAME", help="Only this destination, by name or type.")
]

AssetStore = Annotated[
    str | None, typer.Option("--destination", metavar="NAME", help="Which one; else the first that keeps assets.")
]

Modalities = Annotated[
    list[Modality] | None, typer.Option("--modality", help="Only features of this modality; may be repeated.")
]

StoredCollections = Annotated[
    list[str] | None, typer.Option("--collection", metavar="ID", help="Only this collection, by id; may be repeated.")
]

Full = Annotated[bool, typer.Option("--full", help="List everything, even if the source could list just the changes.")]

LockWait = Annotated[
    float,
    typer.Option(
        "--lock-wait",
        metavar="SECONDS",
        click_type=Number(0),
        help="How long to wait where another sync is writing a collection.",
    ),
]

WaitVisible = Annotated[
    bool, typer.Option("--wait-visible", help="Wait until queries see what was written, where that takes a while.")
]

VisibleTimeout = Annotated[
    float,
    typer.Option(
        "--visible-timeout",
        metavar="SECONDS",
        click_type=Number(0.1),
        help="Fail --wait-visible when it takes longer.",
    ),
]


def allowing_deletes(
    settings: SyncSettings, share: float | None, collections: Sequence[str] | None = None
) -> SyncSettings:
    """The settings with this share in the delete guard, unless it is None, and no guard for these collections."""
    if share is None and not collections:
        return settings
    return settings.model_copy(update={"deletes": settings.deletes.allowing(share, collections or ())})


def pairs(option: str, parts: Sequence[str]) -> dict[str, Any]:
    """Values by key, from what was given for an option that may be repeated: ``KEY=VALUE`` or a JSON object each."""
    values: dict[str, Any] = {}
    for part in parts:
        values |= _object(option, part) if part.lstrip().startswith("{") else _pair(option, part)
    return values


def _object(option: str, part: str) -> dict[str, Any]:
    try:
        value = orjson.loads(part)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise click.UsageError(f"{option} is neither KEY=VALUE nor a JSON object")
    return value


def _pair(option: str, part: str) -> dict[str, Any]:
    key, equals, value = part.partition("=")
    if not key or not equals:
        raise click.UsageError(f"{option} is neither KEY=VALUE nor a JSON object")
    return {key: _scalar(value)}


def _scalar(value: str) -> Any:
    """``7``, ``true`` and ``"7"`` as JSON reads them; anything else is text."""
    try:
        return orjson.loads(value)
    except ValueError:
        return value


# The collections that a command names, among those that the source has.


COLLECTIONS_NAMED = 20


def collection_ids(settings: SyncSettings, names: Sequence[str] | None) -> Sequence[str] | None:
    """The ids of the collections that a command names, by id or by name; None for all, when it names none.

    Raises `ConfigurationError` for one that this sync does not have: a typo would else list nothing.
    """
    if not names:
        return None
    source = resolve_part(settings.source, os.environ, settings.where, ("source",))
    known = list_collections(source)
    ids = {name: name if name in known else _id_of(name, source) for name in names}
    if unknown_names := [name for name, collection in ids.items() if collection not in known]:
        raise ConfigurationError(
            f"--collection {unknown_names[0]}: not in this sync's source, which has: "
            f"{first_of(known, COLLECTIONS_NAMED) or 'none'}{closest(unknown_names[0], known)}"
        )
    return [collection for collection in dict.fromkeys(ids.values()) if collection is not None]


def _id_of(name: str, source: SourceSettings) -> str | None:
    """The id of the one collection of this name, in a source that takes names in its settings; where there is none, or
    several, the source names those that there are."""
    if "collections" not in type(source).model_fields:
        return None
    with naming_option(name):
        return next(iter(list_collections(source.model_copy(update={"collections": (name,)}))), None)
