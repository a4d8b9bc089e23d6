"""What is wrong with the configuration is said before anything is sent."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import httpx
import orjson
import pytest
from pydantic import ValidationError

from vectorferry.connector.plugin import ConfigurationError, SchemaMapping
from vectorferry.connector.sandbox import Sandbox
from vectorferry.destinations import PineconeSettings

from ...builders import DIMENSION, asset, batch, dense, feature, sparse
from ...pinecone import pinecone_destination


@pytest.mark.parametrize("key", ["secret\nkey", "schlüssel", "secret\x00key", "secretkey\n", " ", ""])
def test_a_key_that_cannot_travel_is_not_shown(sandbox: Sandbox, postgres_url: str, schema: str, key: str) -> None:
    with (
        closing(pinecone_destination(sandbox, postgres_url, schema, api_key=key)) as destination,
        pytest.raises(ConfigurationError, match=r"destinations\[\].api_key is empty, or holds") as caught,
    ):
        destination.prepare(SchemaMapping())
    assert not key.strip() or key.strip() not in str(caught.value)


def settings(**given: object) -> PineconeSettings:
    return PineconeSettings.model_validate({"api_key": "secret", **given})


def test_two_destinations_never_write_the_same_indexes() -> None:
    first = settings(vectors=["one"])
    with pytest.raises(ValueError, match="two Pinecone destinations write the same indexes"):
        first.beside([settings(name="second", vectors=["two"])])
    for other in (settings(index_prefix="second"), settings(api_key="of another project")):
        assert first.beside([other]) == first


def test_no_index_is_made_that_nobody_has_asked_for(sandbox: Sandbox, postgres_url: str, schema: str) -> None:
    """Each is billed. Names that `modalities` has are asked for, and so is what is there."""
    named = SchemaMapping.model_validate({"video": {"vectors": {"model-v1": {}}}})
    vectors = {"model-v1": dense(1.0), "model-v2": dense(2.0)}
    both = batch(asset("a", feature("f", vectors, mapping=named)))
    with closing(pinecone_destination(sandbox, postgres_url, schema, vectors="configured")) as destination:
        for refused in (destination.planned, destination.prepare):
            with pytest.raises(
                ConfigurationError, match="bills an index for each named vector, and none is configured"
            ):
                refused(SchemaMapping())
        assert "set aside as over_limit" in " ".join(destination.planned(named).notes)
        destination.prepare(named)
        destination.apply(both)
        assert [index.vector_name for index in destination.status().tables] == ["model-v1"]
        ((_, rejected, _),) = destination.rejected()
        assert (rejected.reason, rejected.vector_name) == ("over_limit", "model-v2")
        assert "`vectors: all`" in rejected.detail
    with closing(pinecone_destination(sandbox, postgres_url, schema, vectors="all")) as destination:
        destination.prepare(named)
        assert destination.known("ads", ["a"]) == {}  # read again, since more is wanted now
        destination.apply(both)
    with closing(pinecone_destination(sandbox, postgres_url, schema, vectors="configured")) as destination:
        destination.prepare(SchemaMapping())  # what is there goes on, whether it is named or not
        destination.apply(both)
        assert [*destination.rejected()] == []
        assert len(destination.status().tables) == 2


@pytest.mark.parametrize("vectors", [[], "model-v1", [""], None, {"model-v1": {}}])
def test_vectors_are_said_in_one_of_three_ways(vectors: object) -> None:
    with pytest.raises(ValidationError) as refused:
        settings(vectors=vectors)
    (problem,) = refused.value.errors()
    assert problem["loc"] == ("vectors",)
    assert problem["msg"].endswith("should be a list of named vectors (at least one), `configured`, or `all`")


def test_an_index_is_made_as_it_is_meant_whatever_the_defaults_are(
    sandbox: Sandbox, postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Any] = []
    handle = httpx.HTTPTransport.handle_request

    def listening(transport: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        if (request.method, request.url.path) == ("POST", "/indexes"):
            sent.append(orjson.loads(request.read()))
        return handle(transport, request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", listening)
    with closing(pinecone_destination(sandbox, postgres_url, schema, vectors="all")) as destination:
        destination.prepare(SchemaMapping())
        destination.apply(batch(asset("a", feature("f", {"model-v1": dense(1.0), "words": sparse({3: 0.5})}))))
    assert [(body["read_capacity"], body["deletion_protection"]) for body in sent] == [
        ({"mode": "OnDemand"}, "disabled")
    ] * 2
    assert sorted(str(body["schema"]["fields"]) for body in sent) == [
        "{'_sparse_values': {'type': 'sparse_vector'}}",
        "{'_values': {'type': 'dense_vector', 'dimension': " + str(DIMENSION) + ", 'metric': 'cosine'}}",
    ]
