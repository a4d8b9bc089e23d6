"""What is wrong with the configuration is said before anything is sent."""

from __future__ import annotations

from contextlib import closing

import pytest

from vectorferry.connector.plugin import ConfigurationError, SchemaMapping
from vectorferry.connector.sandbox import Sandbox
from vectorferry.destinations import PineconeSettings

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
