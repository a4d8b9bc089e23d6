"""Vectors of another length than the others of their name are named, and set aside where the mapping says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from vectorferry import Summary
from vectorferry.connector._engine._mapper import Mapper
from vectorferry.connector.plugin import (
    Asset,
    Destination,
    Feature,
    Modality,
    ModalityMapping,
    Reason,
    Rejected,
    SchemaMapping,
    SparseVector,
    Vector,
    VectorMapping,
)
from vectorferry.connector.testing import MemoryDestination, MemorySource, plan, sync
from vectorferry.destinations import PgvectorDestination

from .conftest import Open, both_stores_are_long, pinecone_is_long

NAME = "model-v1"
STRAY = 6
ALL = 200
ONLY = SchemaMapping(video=ModalityMapping(vectors={NAME: VectorMapping(dimension=8)}))
ADVICE = "Unless the model is changing, set modalities.{}.vectors.model-v1.dimension to 8, which sets them aside"


def dense(dimension: int) -> Vector:
    return np.full(dimension, 0.5, dtype=np.float32)


def media(sizes: Mapping[str, int], version: int = 1) -> list[Asset]:
    """An asset with one segment for each of these, whose vector has this length."""
    return [
        Asset(
            name, f"v{version}", "video", features=(Feature(f"{name}/s", "video", {"text": name}, {NAME: dense(size)}),)
        )
        for name, size in sizes.items()
    ]


def sizes(first: int, others: int, strays: int = STRAY) -> dict[str, int]:
    """The first assets in the order of their ids have vectors of one length, the others of another one."""
    return {f"a{number:04}": first if number < strays else others for number in range(ALL)}


async def run(source: MemorySource, destination: Destination, **more: Any) -> tuple[Summary, list[str]]:
    summary = await sync(source, [destination], name="m", **more)
    (told,) = summary.destinations.values()
    return summary, told.notes


def places(destination: Destination) -> dict[int, str]:
    """What a note calls the place of each length."""
    if isinstance(destination, MemoryDestination):
        return {4: "memory", 8: "memory"}
    if isinstance(destination, PgvectorDestination):
        made = {table.storage: table.table for table in destination.vector_tables()}
        return {size: f"the table {made[f'vector({size})']}" for size in (4, 8)}
    indexes = {table.details["dimension"]: table.name for table in destination.status().tables}
    return {size: f"the index {indexes[size]}, one more that Pinecone counts and bills" for size in (4, 8)}


@both_stores_are_long
async def test_six_vectors_of_half_the_length_are_named(opened: Open) -> None:
    source, destination = MemorySource({"c": media(sizes(4, 8))}), opened()
    summary, notes = await run(source, destination)
    of, modality = ("vectors", "<modality>") if destination.name == "pinecone" else ("video vectors", "video")
    told = f"6 of 200 {of} of model-v1 have 4 dimensions, not 8: stored in {places(destination)[4]}. "
    assert notes == [told + ADVICE.format(modality)]
    assert summary.exit_code == 0
    assert f"{destination.name}: {notes[0]}" in summary.to_dict()["notes"]
    announced = await plan(source, [opened()], name="m")
    assert notes[0] in announced.destinations[destination.name].notes
    _, again = await run(source, opened())
    assert again == [], "what is there for good is not told with every run"
    source.assets["c"]["late"] = media({"late": 4})[0]
    _, later = await run(source, opened())
    assert later[0].startswith("7 of 201 ")


@both_stores_are_long
async def test_the_mapping_sets_them_aside_alone(opened: Open) -> None:
    source = MemorySource({"c": media(sizes(4, 8))})
    await run(source, opened())
    announced = await plan(source, [opened()], name="m", mapping=ONLY)
    (planned,) = announced.destinations.values()
    assert any(note.endswith("dimension is 8: they are set aside when they are read again") for note in planned.notes)
    destination: Any = opened()
    summary, notes = await run(source, destination, mapping=ONLY)
    assert (summary.exit_code, notes) == (3, [])
    (told,) = summary.destinations.values()
    assert told.quarantined == STRAY
    assert {(each.asset_id, each.feature_id, each.vector_name, each.reason) for each in told.applied.rejected} == {
        (f"a{number:04}", f"a{number:04}/s", NAME, Reason.DIMENSION) for number in range(STRAY)
    }
    details = {record.detail for _, record, _ in destination.rejected("c")}
    assert details == {"vector 'model-v1' has 4 dimensions, and the mapping says dimension: 8"}
    counts = {table.name: table.rows for table in destination.status().tables if table.rows}
    if destination.name != "pinecone":  # a record there is a vector: without one, a feature has none
        assert counts["video"] == ALL
    if destination.name != "memory":
        assert ALL - STRAY in counts.values()
        assert STRAY not in counts.values()
    summary, _ = await run(source, opened(), mapping=ONLY)
    assert summary.collections["c"].unchanged == ALL


@pinecone_is_long
async def test_a_model_that_changes_is_no_stray(opened: Open) -> None:
    source = MemorySource({"c": media(sizes(8, 8))})
    assert (await run(source, opened()))[1] == []
    source.assets["c"] = {each.asset_id: each for each in media(sizes(4, 8, ALL // 2), version=2)}
    _, notes = await run(source, opened())
    assert len(notes) <= 1
    source.assets["c"] = {each.asset_id: each for each in media(sizes(4, 8, ALL - STRAY), version=3)}
    _, notes = await run(source, opened())
    assert len(notes) == 1
    assert "6 of 200" in notes[0]
    assert "have 8 dimensions, not 4" in notes[0]
    assert "Unless the model is changing" in notes[0]
    source.assets["c"] = {each.asset_id: each for each in media(sizes(4, 4), version=4)}
    assert (await run(source, opened()))[1] == []
    (planned,) = (await plan(source, [opened()], name="m")).destinations.values()
    assert [note for note in planned.notes if "Unless the model is changing" in note] == []


async def test_strays_that_came_first_no_longer_hold_the_plain_view(postgres_url: str, schema: str) -> None:
    destination = PgvectorDestination(schema, postgres_url)
    source = MemorySource({"c": media(sizes(4, 8))})
    await run(source, destination)
    assert {table.storage: table.state for table in destination.vector_tables()} == {
        "vector(4)": "current",
        "vector(8)": "filling",
    }
    await run(source, destination, mapping=ONLY)
    assert {table.storage: table.state for table in destination.vector_tables()} == {
        "vector(4)": "retired",
        "vector(8)": "current",
    }
    destination.close()


def loaded(
    mapping: SchemaMapping, vectors: Mapping[str, Vector], modality: str = "video"
) -> tuple[set[str], list[Rejected]]:
    asset = Asset("a", "v1", features=(Feature("f", modality, {}, vectors),))
    record = Mapper(mapping, frozenset(Modality)).map(asset).record
    assert not isinstance(record, Rejected)
    return {name for each in record.features for name in each.vectors}, list(record.rejected)


def test_the_other_vectors_of_a_feature_are_loaded() -> None:
    names, rejected = loaded(ONLY, {NAME: dense(4), "other": dense(4)})
    assert names == {"other"}
    assert [(each.vector_name, each.reason, each.feature_id) for each in rejected] == [(NAME, Reason.DIMENSION, "f")]
    assert loaded(ONLY, {NAME: dense(8), "other": dense(4)}) == ({NAME, "other"}, [])
    assert loaded(ONLY, {NAME: dense(4)}, "image") == ({NAME}, [])


def test_a_sparse_vector_is_of_no_dimension() -> None:
    sparse = SparseVector(np.array([1], np.int32), np.array([1], np.float32))
    names, rejected = loaded(ONLY, {NAME: sparse})
    assert names == set()
    assert rejected[0].detail == "vector 'model-v1' is sparse, and the mapping says dimension: 8"
    with pytest.raises(ValidationError, match="sparse vectors have no dimension"):
        VectorMapping(dimension=8, storage="sparsevec")


def test_only_a_dimension_that_is_set_has_assets_read_again() -> None:
    plain = SchemaMapping(video=ModalityMapping(vectors={NAME: VectorMapping(metric="l2")}))
    other = SchemaMapping(video=ModalityMapping(vectors={NAME: VectorMapping(dimension=4)}))
    assert plain.digest() == SchemaMapping().digest()
    assert len({each.digest() for each in (plain, ONLY, other)}) == 3
