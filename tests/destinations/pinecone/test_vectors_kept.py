"""`vectors` says which named vectors are kept, and a slip of the pen there does not delete the others."""

from __future__ import annotations

import pytest

from vectorferry.connector.plugin import ConfigurationError
from vectorferry.connector.sandbox import Sandbox

from ...builders import asset, batch, dense, feature
from .conftest import Open

FEATURE = feature("f1", {"one": dense(1), "two": dense(2)})


def test_only_the_named_ones_are_kept(sandbox: Sandbox, open_pinecone: Open) -> None:
    open_pinecone().apply(batch(asset("a", FEATURE)))
    open_pinecone(vectors=["two"]).apply(batch(asset("a", FEATURE)))
    assert sandbox.pinecone.namespaces("media-one-8") == {"ads": 0}
    assert sandbox.pinecone.namespaces("media-two-8") == {"ads": 1}


def test_names_that_nothing_has_are_refused_before_anything_is_deleted(sandbox: Sandbox, open_pinecone: Open) -> None:
    open_pinecone().apply(batch(asset("a", FEATURE)))
    with pytest.raises(ConfigurationError, match=r"none of the vectors that are in Pinecone \(one, two\)"):
        open_pinecone(vectors=["tow"])
    assert sandbox.pinecone.namespaces("media-two-8") == {"ads": 1}
