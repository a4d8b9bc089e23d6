"""The stand-in for an embedding model: deterministic, normalised, near for alike texts."""

from __future__ import annotations

import numpy as np
import pytest

from vectorferry.connector.sandbox import embed_text


def _likeness(one: str, other: str, model: str = "multimodal-v1") -> float:
    return float(np.dot(embed_text(one, model), embed_text(other, model)))


@pytest.mark.parametrize(("model", "dimension"), [("multimodal-v1", 1408), ("baai-bge-m3", 1024), ("clip-v1", 512)])
def test_vectors_are_float32_units_of_the_documented_dimension(model: str, dimension: int) -> None:
    vector = embed_text("a dog on a meadow", model)
    assert vector.shape == (dimension,)
    assert vector.dtype == np.float32
    assert float(np.linalg.norm(vector)) == pytest.approx(1.0, abs=1e-6)


def test_the_numbers_are_the_same_for_ever() -> None:
    # Written down once: ids and vectors in people's stores must not change with numpy or Python.
    assert embed_text("dog")[:3].tolist() == pytest.approx(FIRST_OF_DOG, abs=1e-7)


def test_alike_texts_are_near_and_others_are_not() -> None:
    assert _likeness("a dog jumping over a bar", "dogs jump over the bars") > 0.99
    assert _likeness("a puppy leaps", "the dog jumped") > 0.99
    assert _likeness("a dog jumping over a bar", "a dog sleeping on a sofa") > 0.3
    assert abs(_likeness("a dog jumping over a bar", "interest rates and inflation")) < 0.15


def test_a_text_without_words_has_a_vector_too() -> None:
    assert float(np.linalg.norm(embed_text(""))) == pytest.approx(1.0, abs=1e-6)
    assert not np.array_equal(embed_text("…"), embed_text("!"))


def test_models_disagree_and_wrong_ones_are_refused() -> None:
    assert abs(float(np.dot(embed_text("dog", "multimodal-v1"), embed_text("dog", "multimodal")))) < 0.15
    with pytest.raises(ValueError, match="sparse"):
        embed_text("dog", "splade-v3")
    with pytest.raises(KeyError):
        embed_text("dog", "nope")


def test_a_vector_cannot_be_changed_by_whoever_gets_it() -> None:
    with pytest.raises(ValueError, match="read-only"):
        embed_text("dog")[0] = 1.0


FIRST_OF_DOG = [-0.05469153, 0.00449663, -0.00512406]
