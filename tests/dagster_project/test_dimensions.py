"""A named vector with several dimensions has several tables, which Dagster shows as one number of rows."""

from __future__ import annotations

from vectorferry import Summary
from vectorferry.connector.plugin import Modality, SchemaMapping, Status, TableStatus
from vectorferry.dagster._metadata import partition_metadata, table_metadata


def vectors(name: str, dimension: int, state: str, **collections: int) -> TableStatus:
    details = {"storage": f"vector({dimension})", "state": state}
    return TableStatus(name, Modality.VIDEO, "model-v1", sum(collections.values()), collections, details)


STATUS = Status(
    destination="pgvector",
    location="here",
    assets={"ads": 3},
    tables=[
        TableStatus("video", Modality.VIDEO, None, 3, {"ads": 3}),
        vectors("video__model_v1", 1024, "retired"),
        vectors("video__model_v1_512", 512, "current", ads=2),
        vectors("video__model_v1_256", 256, "filling", ads=1),
    ],
    quarantined=0,
)


def test_the_rows_of_its_tables_are_added_up() -> None:
    assert partition_metadata(Summary("media"), [STATUS], Modality.VIDEO, "ads")["rows/model-v1"] == 3


def test_the_tables_that_hold_vectors_are_named() -> None:
    schema = table_metadata(SchemaMapping(), Modality.VIDEO, [STATUS])["dagster/column_schema"]
    kinds = [column.type for column in schema.columns if column.name == "model-v1"]
    assert kinds == ["vector(512)", "vector(256)"]
