"""A sync as one Dagster resource, which shows the names of secrets and never a key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from copy import deepcopy
from os import environ
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

import dagster as dg
from pydantic import BaseModel, Field, SecretStr

from vectorferry import SearchAnswer, SearchQuery, SyncSettings, Verification, parse_settings, search, verify
from vectorferry.connector.plugin import ConfigurationError, VectorferryError, resolve, resolve_part
from vectorferry.dagster._assets import targets_in, translator_in
from vectorferry.dagster._failures import fail
from vectorferry.dagster._local_data import check_local_data
from vectorferry.dagster._run import Selection, sync_partitions
from vectorferry.dagster._termination import ended_with_run
from vectorferry.destinations import PgvectorSettings

if TYPE_CHECKING:
    from psycopg import Connection

Keys: TypeAlias = tuple[Any, ...]
"""Of mappings, and places in lists."""

MASK: Final = "**********"
REFERENCE: Final = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*\}")


class VectorferryResource(dg.ConfigurableResource[Any]):
    """A sync as its file says it: `run` it in a step, or ask what it has loaded.

    ``${NAME}`` stays a name here; a run looks it up in its own environment. A key or address written into the file
    itself is shown as ``**********``; `run` uses it all the same, and the other calls ask for ``${NAME}`` instead.
    """

    source: dict[str, Any] = Field(description="What it reads from: `type` names the plug-in.")
    destinations: list[dict[str, Any]] = Field(description="What it writes to, each with its `type`.")
    options: dict[str, Any] = Field(default_factory=dict, description="Everything else that the sync's file says.")
    file: str = Field(default="configuration", description="The file that errors name.")

    @classmethod
    def of(cls, settings: SyncSettings) -> Self:
        """The resource of a sync, as `load_settings` reads it."""
        tree = settings.model_dump(mode="json", exclude_unset=True, by_alias=True)
        for path, text in _secrets(settings):
            if (holder := _holder(tree, path)) is not None:
                holder[path[-1]] = text if REFERENCE.fullmatch(text) else MASK
        source = {"type": settings.source.type, **tree.pop("source")}
        types = [{"type": each.type} for each in settings.destinations]
        destinations = [own | rest for own, rest in zip(types, tree.pop("destinations"), strict=True)]
        return cls(source=source, destinations=destinations, options=tree, file=settings.where)

    def settings(self, written: SyncSettings | None = None) -> SyncSettings:
        """What the resource says now: the launchpad, or a test, may have changed it. Where the mask still stands for a
        key, that of `written` is taken.

        Raises `ConfigurationError` when it does not fit the plug-ins, or a key is masked and not known.
        """
        tree = deepcopy({**self.options, "source": self.source, "destinations": self.destinations})
        for path, text in _secrets(written) if written else ():
            if (holder := _holder(tree, path)) is not None and holder[path[-1]] == MASK:
                holder[path[-1]] = text
        settings = parse_settings(tree, self.file)
        if masked := [path for path, text in _secrets(settings) if text == MASK]:
            names = ", ".join(".".join(map(str, path)) for path in masked)
            raise ConfigurationError(f"{self.file}: {names}: Dagster is not told what the file says; use ${{NAME}}")
        return settings

    def run(self, context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        """Sync the step's partitions into the selected assets of ``@vectorferry_assets``, and yield a result for each.

        Raises `dg.Failure`, or `dg.RetryRequested` for what may get better, once the finished partitions are recorded.
        """
        selection = self.selection(context)
        with ended_with_run(context):
            yield from sync_partitions(context, selection, translator_in(context))

    def selection(self, context: dg.AssetExecutionContext) -> Selection:
        """What a step of ``@vectorferry_assets`` is to sync. Raises `dg.Failure` where that cannot be."""
        targets = targets_in(context)
        (written,) = {id(target.settings): target.settings for target in targets.values()}.values()
        try:
            current = self.settings(written)
            resolve(current, environ)  # every variable is missed at once, and before anything is done
            selection = Selection(current, targets)
            check_local_data(context, selection.narrowed, list(targets))
        except VectorferryError as error:
            fail(context, {written.name: error}, total=1)
        return selection

    def search(self, query: SearchQuery, destination: str | None = None) -> SearchAnswer:
        """The nearest neighbours in the destination of this name or type; None: in the first one.

        Raises `ConfigurationError` for a question that it cannot be asked, and what destinations raise.
        """
        return search(self.settings(), query, destination)

    def verify(
        self, collections: Sequence[str] | None = None, *, sample: int | None = 1_000, source_sample: int = 0
    ) -> Verification:
        """Whether destinations hold what their books say, and what the source says for so many assets of it.

        Raises what `vectorferry.verify` raises.
        """
        return verify(self.settings(), collections=collections, sample=sample, source_sample=source_sample)

    @contextmanager
    def connection(self, destination: str | None = None) -> Iterator[Connection[Any]]:
        """A psycopg connection to the Postgres of the pgvector destination of this name (None: of the first one), in a
        transaction that is committed at the end of the block.

        Raises `ConfigurationError` where there is none, and `DestinationError` for what the database refuses.
        """
        settings = self.settings()
        for place, each in enumerate(settings.destinations):
            if isinstance(each, PgvectorSettings) and destination in (None, each.name):
                resolved = resolve_part(each, environ, settings.where, ("destinations", place))
                with closing(resolved.open(settings.name)) as opened, opened.connection() as connection:
                    yield connection
                return
        raise ConfigurationError(f"{settings.where}: no pgvector destination {destination or ''} to connect to")


def _holder(tree: Any, path: Keys) -> dict[str, Any] | None:
    """The mapping in which the last key of `path` is, or None when there is none."""
    for key in path[:-1]:
        below = isinstance(tree, list) and isinstance(key, int) and key < len(tree)
        if not below and not (isinstance(tree, dict) and key in tree):
            return None
        tree = tree[key]
    return tree if isinstance(tree, dict) and path[-1] in tree else None


def _secrets(settings: BaseModel, above: Keys = ()) -> Iterable[tuple[Keys, str]]:
    """Every secret in the settings and in settings within them, with the keys that lead to it."""
    for name, field in type(settings).model_fields.items():
        value, path = getattr(settings, name), (*above, field.alias or name)
        if isinstance(value, SecretStr):
            yield path, value.get_secret_value()
        for place, each in enumerate(value) if isinstance(value, tuple) else [(None, value)]:
            if isinstance(each, BaseModel):
                yield from _secrets(each, path if place is None else (*path, place))
