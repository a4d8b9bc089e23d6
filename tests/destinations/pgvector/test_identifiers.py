"""Names from the API stay apart, fit, and are readable where they can be."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from vectorferry.connector.plugin import MODALITIES, Modality
from vectorferry.destinations.pgvector._catalogue import MAX_BYTES, Catalogue, allocate, fold
from vectorferry.destinations.pgvector._storage import VectorStorage


def test_a_usual_name_is_only_folded() -> None:
    assert allocate("multimodal-v1", "video__{}".format, lambda _: False) == "multimodal_v1"


def test_a_taken_name_gets_a_hash_of_the_original() -> None:
    first = allocate("Multimodal.V1", "video__{}".format, {"multimodal_v1"}.__contains__)
    second = allocate("multimodal v1", "video__{}".format, {"multimodal_v1"}.__contains__)
    assert first != second
    assert all(name.startswith("multimodal_v1_") for name in (first, second))


def test_names_without_a_usable_letter_still_get_one() -> None:
    assert fold("日本語") == "unnamed"


@given(st.lists(st.text(min_size=1), unique=True, max_size=12), st.text("abc_", min_size=1, max_size=54))
def test_any_names_get_different_identifiers_that_fit(names: list[str], base: str) -> None:
    taken: set[str] = set()
    for name in names:
        identifier = allocate(name, f"{base[:40]}__{{}}_hnsw".format, taken.__contains__)
        assert identifier not in taken
        assert len(f"{base[:40]}__{identifier}_hnsw".encode()) <= MAX_BYTES
        assert identifier.isascii()
        taken.add(identifier)


STORAGE = VectorStorage("vector", 3, "cosine", "hnsw", 16, 64)
TRICKY = ["x", "X", "x_match", "x-hnsw", "_x", "x__x", "x 3", "ｘ", "\ud800", "'\";--", "video", "", "é" * 80, "e" * 80]
TABLES = {"assets", "video", "image", "text", "audio", "video_x"}
"""The last one as somebody may have called the table of a modality."""


@given(
    st.lists(
        st.tuples(st.sampled_from(MODALITIES), st.sampled_from(TRICKY) | st.text(st.characters(codec=None))),
        unique=True,
        max_size=15,
    )
)
def test_no_two_named_vectors_share_a_table_a_view_or_a_function(named: list[tuple[Modality, str]]) -> None:
    catalogue = Catalogue({})
    for modality, name in named:
        entry = catalogue.new_entry(modality, name, modality.value, STORAGE, lambda names: bool(names & TABLES))
        catalogue = Catalogue({**catalogue, entry.key: entry})
    taken = [name for entry in catalogue.values() for name in entry.names]
    assert len(taken) == len({*taken}) >= 5 * len(named)
    assert all(re.fullmatch("[a-z_][a-z0-9_]{0,62}", name) for name in taken)
    assert not TABLES & {*taken}
