"""Pinecone's own SDK makes, finds, changes and deletes indexes."""

from __future__ import annotations

import httpx
import pytest
from pinecone import ConflictError, ForbiddenError, NotFoundError, UnauthorizedError
from pinecone import Pinecone as Client

from tests.connector.sandbox.pinecone.serving import PLACE, World, record, world


def test_an_index_is_made_described_and_listed(here: World) -> None:
    here.pinecone.create_index(
        name="clips", dimension=1408, metric="dotproduct", spec=PLACE, tags={"team": "media"}, timeout=-1
    )
    made = here.pinecone.describe_index("clips")
    assert (made.name, made.status.ready, made.status.state) == ("clips", True, "Ready")
    assert made.schema.fields["_values"].dimension == 1408
    assert made.schema.fields["_values"].metric == "dotproduct"
    assert (made.deployment.cloud, made.deployment.region) == ("aws", "us-east-1")
    assert (made.deletion_protection, made.tags) == ("disabled", {"team": "media"})
    assert here.pinecone.has_index("clips")
    assert [one.name for one in here.pinecone.list_indexes()] == ["clips"]


def test_a_sparse_index_has_no_dimension(here: World) -> None:
    here.pinecone.create_index(name="words", vector_type="sparse", metric="dotproduct", spec=PLACE)
    assert list(here.pinecone.describe_index("words").schema.fields) == ["_sparse_values"]
    stats = here.open("words").describe_index_stats()
    assert (stats.vector_type, stats.metric, stats.dimension) == ("sparse", "dotproduct", None)


def test_every_index_has_a_port_and_records_of_its_own(here: World) -> None:
    first, second = here.index("first"), here.index("second", dimension=2)
    first.upsert(vectors=[record("a")])
    second.upsert(vectors=[record("a", [1, 2]), record("b", [3, 4])])
    assert len({here.pinecone.describe_index(name).host for name in ("first", "second")}) == 2
    assert first.describe_index_stats().total_vector_count == 1
    assert second.describe_index_stats().total_vector_count == 2


def test_a_deleted_index_is_gone_at_once_with_its_port(here: World) -> None:
    here.index()
    plain = here.http("clips")
    here.pinecone.delete_index("clips")
    assert not here.pinecone.has_index("clips")
    with pytest.raises(httpx.TransportError):
        _ask_until_it_fails(plain)


def test_a_name_can_be_used_again_and_starts_empty(here: World) -> None:
    here.index().upsert(vectors=[record("a")])
    here.pinecone.delete_index("clips")
    assert here.index(dimension=2).describe_index_stats().total_vector_count == 0


def test_a_taken_name_is_a_conflict_and_an_unknown_one_not_found(here: World) -> None:
    here.index()
    with pytest.raises(ConflictError, match="already exists"):
        here.index()
    for call in (here.pinecone.describe_index, here.pinecone.delete_index):
        with pytest.raises(NotFoundError, match="Index nothing not found"):
            call("nothing")


def test_a_protected_index_stays_until_it_is_unprotected(here: World) -> None:
    here.index(deletion_protection="enabled")
    with pytest.raises(ForbiddenError, match="Deletion protection"):
        here.pinecone.delete_index("clips")
    here.pinecone.configure_index("clips", deletion_protection="disabled")
    here.pinecone.delete_index("clips")
    assert not here.pinecone.has_index("clips")


def test_tags_are_merged_and_an_empty_one_is_removed(here: World) -> None:
    here.index(tags={"team": "media", "old": "1"})
    here.pinecone.configure_index("clips", tags={"env": "prod", "old": ""})
    assert here.pinecone.describe_index("clips").tags == {"team": "media", "env": "prod"}


def test_a_project_has_room_for_so_many_indexes() -> None:
    with world(max_indexes=2) as here:
        here.index("a")
        here.index("b")
        with pytest.raises(ForbiddenError):
            here.index("c")


@pytest.mark.parametrize("name", ["", "Upper", "a" * 46, "-a", "a-", "a_b", "ä"])
def test_names_that_pinecone_does_not_take(here: World, name: str) -> None:
    schema = {"fields": {"_values": {"type": "dense_vector", "dimension": 4, "metric": "cosine"}}}
    deployment = {"deployment_type": "managed", "cloud": "aws", "region": "us-east-1"}
    refused = here.http().post("/indexes", json={"name": name, "schema": schema, "deployment": deployment})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "INVALID_ARGUMENT")
    assert here.sandbox.pinecone.indexes() == []


@pytest.mark.parametrize("dimension", [0, 20_001, None, "4"])
def test_dimensions_that_pinecone_does_not_take(here: World, dimension: object) -> None:
    schema = {"fields": {"_values": {"type": "dense_vector", "dimension": dimension, "metric": "cosine"}}}
    deployment = {"deployment_type": "managed", "cloud": "aws", "region": "us-east-1"}
    refused = here.http().post("/indexes", json={"name": "a", "schema": schema, "deployment": deployment})
    assert refused.status_code == 422
    assert refused.json()["error"]["code"] == "UNPROCESSABLE_ENTITY"


def test_a_wrong_key_is_refused_on_both_planes(here: World) -> None:
    here.index()
    with Client(api_key="wrong", host=here.sandbox.url) as stranger:
        with pytest.raises(UnauthorizedError):
            stranger.list_indexes()
        with pytest.raises(UnauthorizedError):
            here.open("clips", stranger).describe_index_stats()


def test_an_unknown_version_of_the_api_is_refused(here: World) -> None:
    assert here.http(version="next").get("/indexes").status_code == 400


def test_a_missing_field_is_named(here: World) -> None:
    refused = here.http(version="2025-10").post("/indexes", json={"name": "a", "dimension": 3})
    assert refused.status_code == 422
    assert "spec: Field required" in refused.json()["error"]["message"]


def _ask_until_it_fails(plain: httpx.Client) -> None:
    while True:
        plain.post("/describe_index_stats", json={})
