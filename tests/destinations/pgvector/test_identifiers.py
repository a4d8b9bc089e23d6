"""Names from the API stay apart, fit, and are readable where they can be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from destinations.pgvector._identifiers import MAX_BYTES, allocate, fold


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
