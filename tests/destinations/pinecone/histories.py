"""What histories of a store consist of: features, fingerprints that follow them, and runs that are killed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import strategies as st

from vectorferry.connector.plugin import MappedFeature, Modality

from ...builders import feature

__all__ = ["Killed", "content", "features"]


class Killed(BaseException):
    """Nothing is cleaned up after it, as after a signal."""


def content(of: Sequence[MappedFeature]) -> str:
    """A fingerprint that comes back when the content does."""
    return str(sorted((one.feature_id, one.row_hash, sorted(one.vector_hashes.items())) for one in of))


def features(vectors: st.SearchStrategy[Mapping[str, Any]]) -> st.SearchStrategy[list[MappedFeature]]:
    """Those of one asset, each with such named vectors."""
    each: st.SearchStrategy[MappedFeature] = st.builds(
        lambda name, text, author, modality, named: feature(
            name, named, modality=modality, text=text, metadata={"author": author} if author else {}
        ),
        st.sampled_from(["f1", "f2"]),
        st.sampled_from(["old", "new"]),
        st.sampled_from(["", "ada"]),
        st.sampled_from([Modality.VIDEO, Modality.TEXT]),
        vectors,
    )
    return st.lists(each, max_size=2, unique_by=lambda one: one.feature_id)
