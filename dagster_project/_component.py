"""A whole sync as one YAML component.

Dagster reads the annotations of steps as they stand, so this file does not postpone their evaluation.
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import dagster as dg
from dagster.components.resolved.core_models import OpSpec
from dagster.components.resolved.errors import ResolutionException
from dagster.components.utils.translation import TranslationFn, TranslationFnResolver
from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, PrivateAttr, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from vectorferry import SyncSettings, parse_settings
from vectorferry.connector.plugin import ConfigurationError, project_folder
from vectorferry.dagster._assets import VectorferryTranslator, vectorferry_assets
from vectorferry.dagster._automation import sync_job, sync_schedule
from vectorferry.dagster._checks import build_vectorferry_checks, checks_job, checks_schedule, parse_checks
from vectorferry.dagster._failures import RETRIES_TAG
from vectorferry.dagster._resources import VectorferryResource
from vectorferry.dagster._scaffold import SyncScaffolder
from vectorferry.dagster._security import security_check
from vectorferry.dagster._sensors import SensorName, changes_sensor, discovery_sensor, outside_sensor
from vectorferry.dagster._targets import Target, targets_of


def _say(description: str) -> dg.Resolver:
    """What editors show of an attribute; Dagster's schema drops pydantic's description where there is a default."""
    resolver: dg.Resolver = dg.Resolver.default(description=description)
    return resolver


def _translation() -> dg.Resolver:
    """A function of the asset and the table or index behind it, which templates know as `spec` and `target`."""
    resolver: dg.Resolver = TranslationFnResolver[Target](lambda target: {"target": target})
    resolver.description = "How the assets look: `key`, `key_prefix`, `group_name`, `tags`, `owners`, `description`, …"
    return resolver


class Freshness(dg.Model, dg.Resolvable):
    """How long ago the last run of an asset may be. Dagster looks at no single partition; the check `fresh` does."""

    fail_after_hours: float
    warn_after_hours: float | None = None

    def policy(self) -> dg.FreshnessPolicy:
        """What Dagster watches."""
        warn = timedelta(hours=self.warn_after_hours) if self.warn_after_hours else None
        return dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=self.fail_after_hours), warn_window=warn)


class SyncOp(OpSpec):
    """The step that fills the assets."""

    retries: int | None = None


@dg.scaffold_with(SyncScaffolder)
class VectorferrySync(dg.Component, dg.Model, dg.Resolvable):
    """Syncs media assets and their named vectors from an API into Postgres and other stores.

    The attributes are those of a ``vectorferry.yaml``. ``${NAME}`` is looked up when a run starts, so that this loads
    with its secrets unset.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", hide_input_in_errors=True)

    name: Annotated[str, _say("The sync's name: the first part of asset keys, and the schema in Postgres.")]
    source: Annotated[dict[str, Any], _say("`type` names the plug-in; the other keys are its settings.")]
    destinations: Annotated[list[dict[str, Any]], _say("One or more, each with its `type`.")]
    modalities: Annotated[dict[str, Any], _say("What differs from the default mapping.")] = Field(default_factory=dict)
    batch: Annotated[dict[str, Any], _say("When a batch is full: `rows`, `bytes`.")] = Field(default_factory=dict)
    limits: Annotated[dict[str, Any], _say("What a source may make at most: `vectors_per_modality` and others.")] = (
        Field(default_factory=dict)
    )
    deletes: Annotated[dict[str, Any], _say("Assets that are gone: `mode`, and the guard's `max_share`.")] = Field(
        default_factory=dict
    )
    incremental: Annotated[dict[str, Any], _say("Sources that list their changes: `full_every` so many runs.")] = Field(
        default_factory=dict
    )
    schedule: Annotated[
        str | dict[str, Any] | None,
        _say("When every known collection is synced: a cron expression, or `cron`, `timezone`, `per_run`."),
    ] = None

    translation: Annotated[TranslationFn[Target] | None, _translation()] = None
    freshness: Annotated[
        Freshness | None,
        _say(
            "How long ago any partition was last filled: `fail_after_hours`, `warn_after_hours`; see the check `fresh`."
        ),
    ] = None
    checks: Annotated[
        dict[str, Any],
        _say("Asset checks by name, `true` or their settings: `quarantine`, `unfinished`, `vectors`, `ledger`, …"),
    ] = Field(default_factory=dict)
    sensors: Annotated[
        list[SensorName],
        _say("Which sensors run from the start, beside those that the file implies: discovery, changes, outside."),
    ] = Field(default_factory=list)
    sample_rows: Annotated[
        int, _say("Rows shown in the metadata of a partition in which something was written: 3; 0 for none.")
    ] = 3
    embedding_map: Annotated[
        bool, _say("Whether a run that has written something draws a map of each table's vectors, as an image.")
    ] = False
    workers: Annotated[
        int | None,
        _say("Steps that share the work of a run, each where the location's executor puts it; none: the run itself."),
    ] = Field(default=None, ge=1)
    op: Annotated[
        SyncOp | None, _say("The step: `name`, `tags`, `pool`, `retries`, `backfill_policy`, `description`.")
    ] = None

    _where: str = PrivateAttr(default="defs.yaml")
    _folder: Path | None = PrivateAttr(default=None)

    @classmethod
    def model(cls) -> type[BaseModel]:
        """What Dagster reads the YAML into."""
        return _unjudged(super().model())

    @classmethod
    def resolve_from_model(cls, context: dg.ResolutionContext, model: BaseModel) -> Self:
        """The component that these attributes describe. Raises `ConfigurationError`, a line per problem."""
        written, where = dict(model.model_extra or {}), _file(context)
        own = {key: value for key, value in written.items() if key not in _beyond_settings(cls)}
        folder = _folder(context)
        parse_settings(context.resolve_value(own), where, folder)
        try:
            strict = super().model().model_validate(written)
            component: Self = super().resolve_from_model(context, strict)
        except (ValidationError, ResolutionException) as error:  # in what only Dagster is told
            raise _without_quotes(error, where) from None
        component._where, component._folder = where, folder
        return component

    def settings(self) -> SyncSettings:
        """The attributes as settings, ``${NAME}`` unresolved. Raises `ConfigurationError`."""
        given = {name: getattr(self, name) for name in SyncSettings.model_fields if name in self.model_fields_set}
        return parse_settings(given, self._where, self._folder)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002
        """Assets, job, schedule, discovery sensor and resource of the sync. Raises `ConfigurationError`."""
        settings, translator, resource_key = self.settings(), _Translator(self), f"{self.name}_vectorferry"

        op = self.op or SyncOp()
        retries = {} if op.retries is None else {RETRIES_TAG: str(op.retries)}

        @vectorferry_assets(
            settings,
            translator=translator,
            name=op.name,
            op_tags={**(op.tags or {}), **retries},
            pool=op.pool,
            backfill_policy=op.backfill_policy,
            description=op.description,
            required_resource_keys=[resource_key],
            workers=self.workers,
        )
        def sync(context: dg.AssetExecutionContext) -> Iterable[dg.MaterializeResult[Any]]:
            yield from self.execute(context, getattr(context.resources, resource_key))

        source = translator.get_source_spec(settings)
        checks = build_vectorferry_checks(
            settings, parse_checks(self.checks, self._where), translator=translator, resource_key=resource_key
        )
        targets = {self.get_asset_spec(target).key: target for target in targets_of(settings)}
        executor = dg.in_process_executor if self.workers is None else None
        job = sync_job(settings, list(sync.keys), checks, executor=executor)
        checking = [checks_job(settings, checks)] if checks else []
        return dg.Definitions(
            assets=[source, sync],
            asset_checks=[*checks, security_check(settings, source.key, resource_key)],
            jobs=[job, *checking],
            schedules=[
                sync_schedule(settings, job, sync.keys),
                *(checks_schedule(settings, each) for each in checking),
            ],
            sensors=[
                discovery_sensor(settings, job, sync.keys, resource_key, running="discovery" in self.sensors),
                changes_sensor(settings, job, sync.keys, resource_key, running="changes" in self.sensors),
                outside_sensor(settings, targets, resource_key, running="outside" in self.sensors),
            ],
            resources={resource_key: VectorferryResource.of(settings)},
        )

    def get_asset_spec(self, target: Target) -> dg.AssetSpec:
        """How one table or index looks as an asset. Override it for other keys, groups, owners or metadata."""
        spec = VectorferryTranslator().get_asset_spec(target)
        if self.freshness:
            spec = spec.replace_attributes(freshness_policy=self.freshness.policy())
        try:
            return self.translation(spec, target) if self.translation else spec
        except ResolutionException as error:
            raise _without_quotes(error, f"{self._where}: translation") from None

    def execute(
        self, context: dg.AssetExecutionContext, vectorferry: VectorferryResource
    ) -> Iterable[dg.MaterializeResult[Any]]:
        """Sync the partitions of the step into the selected tables and indexes. Override it to do something before or
        after."""
        yield from vectorferry.run(context)


class _Translator(VectorferryTranslator):
    """Asks the component, so that a subclass of it may override one method."""

    def __init__(self, component: "VectorferrySync") -> None:
        self._component = component
        self.sample_rows = component.sample_rows
        self.embedding_map = component.embedding_map

    def get_asset_spec(self, target: Target) -> dg.AssetSpec:
        return self._component.get_asset_spec(target)


def _beyond_settings(component: type[VectorferrySync]) -> set[str]:
    """What only Dagster is told: the component's further attributes, and those that a subclass has."""
    return component.model_fields.keys() - SyncSettings.model_fields.keys()


def _without_quotes(error: Exception, where: str) -> ConfigurationError:
    """The same without what Dagster and pydantic quote of the file, where there may be a key."""
    cause = (error.__cause__ or error.__context__ or error) if isinstance(error, ResolutionException) else error
    lines = _lines(cause) if isinstance(cause, ValidationError) else [str(cause)]
    return ConfigurationError("\n".join(f"{where}: {line}" for line in lines))


def _lines(error: ValidationError) -> Iterator[str]:
    """A line for each problem: the key, and what is wrong. Of alternatives, those that are models are told of."""
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        parts = [str(part) for part in problem["loc"]]
        if parts[-1:] != ["str"]:
            yield f"{'.'.join(part for part in parts if not part[:1].isupper())}: {problem['msg']}"


def _file(context: dg.ResolutionContext) -> str:
    """The YAML file, from the current folder if it is in there."""
    if context.source_position_tree is None:
        return "defs.yaml"
    path = Path(context.source_position_tree.position.filename)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _folder(context: dg.ResolutionContext) -> Path | None:
    """Where paths in the YAML file begin: at its project's folder. The sync that is installed with Vectorferry belongs
    to no project, but to whoever runs it, and where that is."""
    if context.source_position_tree is None:
        return None
    path = Path(context.source_position_tree.position.filename)
    return None if path.resolve().is_relative_to(Path(__file__).resolve().parent) else project_folder(path)


class _Attributes(BaseModel):
    """Takes anything. Dagster prints every value that a model refuses, and it may be a key: the settings refuse later.

    Its JSON schema is that of the `strict` model, for editors and ``dg check yaml``.
    """

    model_config = ConfigDict(extra="allow")

    strict: ClassVar[type[BaseModel]]

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(cls.strict.__pydantic_core_schema__)


@cache
def _unjudged(strict: type[BaseModel]) -> type[_Attributes]:
    """A model that takes anything and says of itself what `strict` says."""
    return type(strict.__name__, (_Attributes,), {"strict": strict, "__module__": __name__})
