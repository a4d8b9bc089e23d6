"""Settings as typed values: what one YAML file, or one Dagster component, says about a sync."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from vectorferry.connector._config._registry import DestinationSettings, destination_settings, source_settings
from vectorferry.connector._model._errors import ConfigurationError
from vectorferry.connector._model._limits import SourceLimits
from vectorferry.connector._model._mapping import SchemaMapping
from vectorferry.connector._model._settings_base import Settings, Spelling
from vectorferry.connector._protocols._source import SourceSettings

DeleteMode: TypeAlias = Literal["prune", "tombstone", "keep"]


def _not_of_postgres(name: str) -> str:
    if name.startswith("pg_") or name == "information_schema":
        raise ValueError("a name that Postgres keeps for itself; choose another")
    return name


SyncName = Annotated[
    str,
    Spelling(r"^[a-z][a-z0-9_]{0,47}$", "a letter and then up to 47 letters, digits and _, all of them lowercase"),
    AfterValidator(_not_of_postgres),
]
"""Also the schema's, unless the destination has another one."""


class BatchLimits(Settings):
    """When a batch is full: whichever limit is met first. An asset is never split."""

    rows: int = Field(default=10_000, ge=1, le=100_000, description="features per batch")
    bytes: int = Field(default=32_000_000, ge=1_000, le=1_000_000_000, description="bytes of vectors and text")
    seconds: float = Field(default=15, ge=0, le=3_600, description="how long assets wait for others to be written with")


class DeleteGuard(Settings):
    """What happens to assets that the source no longer has, and which deletes look like a mistake."""

    mode: DeleteMode = Field(
        default="prune", description="prune removes, tombstone hides, keep leaves assets as they are"
    )
    max_share: float = Field(default=0.2, ge=0, le=1, description="share of a collection's assets")
    unguarded: tuple[str, ...] = Field(
        default=(), description="ids of collections of which everything may go, also the last asset"
    )

    def of(self, collection: str) -> DeleteGuard:
        """The guard as it is for one collection."""
        return self.model_copy(update={"max_share": 1.0}) if collection in self.unguarded else self

    def allowing(self, share: float | None, collections: Sequence[str] = ()) -> RunGuard:
        """The guard of a run for which somebody has said that up to this share may go (None: nothing was said of it),
        and everything of these collections."""
        return RunGuard(
            mode=self.mode,
            max_share=self.max_share if share is None else share,
            unguarded=self.unguarded,
            allowed=share is not None,
            allowed_collections=tuple(collections),
        )


class RunGuard(DeleteGuard):
    """A guard that holds for one run, or less. `allowed`: somebody has allowed deletes for this run, be it for some
    collections only. `changes`: what is different about who reads the source since a destination was last complete, so
    that nothing may go."""

    allowed: bool = False
    allowed_collections: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()

    def of(self, collection: str) -> DeleteGuard:
        """The guard as it is for one collection."""
        if collection in self.allowed_collections:
            return self.model_copy(update={"max_share": 1.0, "allowed": True})
        return super().of(collection)


class IncrementalScans(Settings):
    """How often a source that can list its changes is listed in full all the same, which is what finds deletes."""

    full_every: int = Field(default=24, ge=1, le=100_000, description="every so many runs, the scan is a full one")


class Schedule(Settings):
    """When Dagster syncs every known collection, and how many of them in one run. A text is taken for `cron`."""

    cron: str = Field(description="cron expression of five fields")
    timezone: str | None = Field(default=None, description="such as Europe/Berlin; UTC where nothing is said")
    per_run: Literal["all"] | Annotated[int, Field(ge=1, le=100_000)] = Field(
        default="all", description="collections that one run syncs: all, or at most so many"
    )


def _schedule(value: object) -> object:
    if not isinstance(value, str | Mapping | Schedule | None):
        raise PydanticCustomError("schedule", "should be text, or a mapping with `cron`")
    return {"cron": value} if isinstance(value, str) else value


def _typed(value: object, info: ValidationInfo, find: Callable[[str], type[Settings]]) -> object:
    """A mapping becomes the settings class that its ``type`` names; anything else is for pydantic to judge."""
    if not isinstance(value, Mapping):
        return value
    try:
        settings = find(str(value.get("type", "")))
    except ConfigurationError as error:
        raise PydanticCustomError("plug_in", "{reason}", {"reason": str(error)}) from error
    return settings.model_validate(value, context=info.context)


def _source(value: object, info: ValidationInfo) -> object:
    return _typed(value, info, source_settings)


def _destination(value: object, info: ValidationInfo) -> object:
    return _typed(value, info, destination_settings)


AnySource = Annotated[SerializeAsAny[SourceSettings], BeforeValidator(_source)]
AnyDestination = Annotated[SerializeAsAny[DestinationSettings], BeforeValidator(_destination)]


class SyncSettings(Settings):
    """One sync: a source, its destinations, and how modalities are mapped.

    `source` and each of `destinations` may be given as a mapping whose ``type`` names the plug-in.
    """

    name: SyncName
    source: AnySource
    destinations: tuple[AnyDestination, ...] = Field(min_length=1)
    modalities: SchemaMapping = Field(default_factory=SchemaMapping)
    batch: BatchLimits = BatchLimits()
    limits: SourceLimits = SourceLimits()
    deletes: DeleteGuard = DeleteGuard()
    incremental: IncrementalScans = IncrementalScans()
    schedule: Annotated[Schedule | None, BeforeValidator(_schedule)] = Field(
        default=None, description="cron expression, or `cron`, `timezone` and `per_run`; used by Dagster only"
    )
    _where: str = PrivateAttr(default="configuration")

    @field_validator("destinations")
    @classmethod
    def _destinations_know_each_other(
        cls, destinations: tuple[DestinationSettings, ...]
    ) -> tuple[DestinationSettings, ...]:
        names = [name for each in destinations if (name := getattr(each, "name", None))]
        if clash := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two destinations are named {clash!r}: give one of them another `name`")
        return tuple(
            each.beside([*destinations[:place], *destinations[place + 1 :]]) for place, each in enumerate(destinations)
        )

    @model_validator(mode="after")
    def _source_and_mapping_fit(self) -> SyncSettings:
        self.source.keep_within(self.limits)
        # The mapping may be somebody's object, over another source as well.
        self.__dict__["modalities"] = self.modalities.with_source_columns(self.source.default_columns)
        return self

    def model_post_init(self, context: Any, /) -> None:
        """Remember the place that the validation context names."""
        if isinstance(context, Mapping) and "where" in context:
            self._where = str(context["where"])

    @property
    def where(self) -> str:
        """The file these settings came from, for error messages."""
        return self._where
