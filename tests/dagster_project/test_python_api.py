"""The decorator, the translator and the resource, as somebody uses them who writes Python and no YAML."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from tests.dagster_project.plugins import ShelfSource
from tests.dagster_project.running import failure_of, recorded
from tests.dagster_project.test_project import sync_into
from vectorferry import Modality, SearchQuery, SyncSettings, parse_settings
from vectorferry.connector.plugin import ConfigurationError, DestinationError, SourceError
from vectorferry.dagster import (
    CollectionPartitions,
    Target,
    VectorferryResource,
    VectorferryTranslator,
    build_vectorferry_specs,
    vectorferry_assets,
)

SHELF: dict[str, Any] = {
    "name": "media",
    "source": {"type": "shelf", "collections": ["ads"]},
    "destinations": [{"type": "box"}],
}


class Shouting(VectorferryTranslator):
    """Keys of its own, and owners."""

    def get_asset_spec(self, target: Target) -> dg.AssetSpec:
        spec = super().get_asset_spec(target)
        return spec.replace_attributes(key=["RAW", *spec.key.path], owners=["team:search"])

    def get_source_spec(self, settings: SyncSettings) -> dg.AssetSpec:
        return super().get_source_spec(settings).replace_attributes(key=["RAW", "source"])


@pytest.fixture
def settings() -> SyncSettings:
    return parse_settings(SHELF, "media.yaml")


def assets_of(settings: SyncSettings, translator: VectorferryTranslator | None = None) -> dg.AssetsDefinition:
    @vectorferry_assets(settings, translator=translator, op_tags={"team": "search"})
    def media(context: dg.AssetExecutionContext, vectorferry: VectorferryResource) -> Iterator[Any]:
        yield from vectorferry.run(context)
        context.log.info("done")

    return media


@pytest.mark.usefixtures("source", "box")
def test_a_body_of_one_s_own_runs_a_sync(settings: SyncSettings, instance: dg.DagsterInstance) -> None:
    result = dg.materialize(
        [assets_of(settings)],
        partition_key="ads",
        instance=instance,
        resources={"vectorferry": VectorferryResource.of(settings)},
    )
    assert result.success
    assert recorded(instance, "media/video")["ads"]["inserted"] == 6


@pytest.mark.usefixtures("source", "box")
def test_a_translator_says_how_tables_and_source_look(settings: SyncSettings, instance: dg.DagsterInstance) -> None:
    specs = build_vectorferry_specs(settings, Shouting())
    assert specs[0].key.to_user_string() == "RAW/media/video"
    assert {dep.asset_key.to_user_string() for spec in specs for dep in spec.deps} == {"RAW/source"}
    assert {owner for spec in specs for owner in spec.owners} == {"team:search"}
    resources = {"vectorferry": VectorferryResource.of(settings)}
    assets = [assets_of(settings, Shouting())]
    assert dg.materialize(assets, partition_key="ads", instance=instance, resources=resources).success
    assert recorded(instance, "RAW/media/video")["ads"]["inserted"] == 6
    (observed,) = instance.fetch_observations(dg.AssetKey(["RAW", "source"]), limit=2).records
    assert observed.partition_key == "ads"


@pytest.mark.usefixtures("box")
def test_a_failure_is_reported_as_by_the_component(
    settings: SyncSettings, source: ShelfSource, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vectorferry.dagster._failures.RETRIES", dg.RetryPolicy(max_retries=0))
    source.errors["ads"] = SourceError("503 for an hour")
    resources = {"vectorferry": VectorferryResource.of(settings)}
    result = dg.materialize(
        [assets_of(settings)], partition_key="ads", instance=instance, resources=resources, raise_on_error=False
    )
    assert "503 for an hour" in failure_of(result)


def test_a_step_that_is_no_sync_is_told_what_it_lacks(settings: SyncSettings) -> None:
    @dg.asset
    def other(context: dg.AssetExecutionContext, vectorferry: VectorferryResource) -> None:
        list(vectorferry.run(context))

    with pytest.raises(ConfigurationError, match="decorate its body with @vectorferry_assets"):
        dg.materialize([other], resources={"vectorferry": VectorferryResource.of(settings)})


def test_a_downstream_asset_asks_for_neighbours_in_three_lines(
    postgres_url: str, schema: str, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres_url)
    settings = parse_settings(sync_into("${DATABASE_URL}", schema), "media.yaml")
    told: dict[str, Any] = {}

    @dg.asset(deps=[["media", "video"]])
    def neighbours(vectorferry: VectorferryResource) -> dg.MaterializeResult[Any]:
        with vectorferry.connection() as connection:
            told["first"] = connection.execute(f"SELECT min(feature_id) FROM {schema}.video").fetchall()[0][0]
        answer = vectorferry.search(SearchQuery(Modality.VIDEO, "multimodal-v1", like=told["first"], limit=3))
        told["hits"] = answer.rows
        told["verified"] = vectorferry.verify()
        with pytest.raises(DestinationError), vectorferry.connection() as connection:
            connection.execute("SELECT * FROM no_such_table")
        return dg.MaterializeResult(metadata={"hits": len(answer.rows)})

    resources = {"vectorferry": VectorferryResource.of(settings)}
    media = assets_of(settings)
    assert dg.materialize([media], partition_key="quickstart", instance=instance, resources=resources).success
    assert dg.materialize([neighbours], instance=instance, resources=resources).success
    assert len(told["hits"]) == 3
    assert told["verified"].exit_code == 0


def test_where_no_postgres_is_a_connection_is_refused(settings: SyncSettings) -> None:
    with (
        pytest.raises(ConfigurationError, match=r"media\.yaml: no pgvector destination"),
        VectorferryResource.of(settings).connection(),
    ):
        pass


@pytest.mark.filterwarnings("ignore::dagster.BetaWarning")  # of its own evaluation
@pytest.mark.usefixtures("source", "box")
@pytest.mark.long
def test_what_is_downstream_is_asked_for_per_collection(instance: dg.DagsterInstance) -> None:
    settings = parse_settings({**SHELF, "source": {"type": "shelf", "collections": ["ads", "news"]}}, "media.yaml")

    @dg.asset(
        deps=[["media", "video"]],
        partitions_def=CollectionPartitions.of(settings),
        automation_condition=dg.AutomationCondition.eager(),
    )
    def report() -> None: ...

    media = assets_of(settings)
    defs = dg.Definitions([media, report], resources={"vectorferry": VectorferryResource.of(settings)})
    before = dg.evaluate_automation_conditions(defs, instance)
    assert before.get_num_requested(report.key) == 0
    assert dg.materialize([media], partition_key="news", instance=instance, resources=defs.resources).success
    after = dg.evaluate_automation_conditions(defs, instance, cursor=before.cursor)
    assert set(after.get_requested_partitions(report.key)) == {"news"}
