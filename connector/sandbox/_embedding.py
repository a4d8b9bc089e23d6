"""A deterministic stand-in for embedding models: texts that share words, word stems or meanings are near each other."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from functools import lru_cache

import numpy as np

from vectorferry.connector._model._records import DenseVector, SparseVector

__all__ = [
    "MODELS",
    "embed_in",
    "embed_sparse",
    "embed_text",
    "words_of",
]


_STOP_WORDS = (
    "a an and are as at be been but by for from has have he her his how i in into is it its of on or our out over "
    "she so than that the their them then there these they this to up was we were what when which while who with "
    "you your"
)


_STOP = frozenset(_STOP_WORDS.split())


_SYNONYMS = (
    "dog puppy hound shepherd aussie terrier collie canine",
    "cat kitten",
    "jump leap hop vault",
    "run sprint race",
    "car automobile vehicle taxi",
    "road street highway lane",
    "city town downtown urban",
    "night evening dusk midnight",
    "cook fry simmer bake roast",
    "chef baker",
    "food meal dish",
    "surf surfer surfboard",
    "sea ocean",
    "film movie video clip",
    "speak talk say",
    "speaker lecturer professor presenter",
    "lecture talk lesson class",
    "picture photo photograph image",
    "shoe sneaker boot",
    "people person man woman crowd",
    "happy joyful cheerful glad",
    "sad gloomy sorrowful",
    "song music melody tune",
    "bike bicycle",
    "child kid toddler",
)


def _stem(word: str) -> str:
    for ending in ("ings", "ing", "ers", "ies", "ied", "es", "ed", "er", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiols":
        word = word[:-1]
    return word.rstrip("e") if len(word) > 3 else word


_CONCEPTS = {_stem(word): group.split()[0] for group in reversed(_SYNONYMS) for word in group.split()}


@lru_cache(maxsize=16_384)
def concept(word: str) -> str | None:
    """The concept behind a lower-case word, or None for one that says nothing."""
    if word in _STOP:
        return None
    stem = _stem(word)
    return _CONCEPTS.get(stem, stem)


# A deterministic stand-in for embedding models: texts that share words, word stems or meanings are near.


MODELS: dict[str, int | None] = {
    "multimodal-v1": 1408,
    "multimodal": 1408,
    "vertex-multimodal": 1408,
    "baai-bge-m3": 1024,
    "text": 1024,
    "vuse-generic-v1": 768,
    "clip-v1": 512,
    "image": 512,
    "openai-clip-vit-base-patch32": 512,
    "splade-v3": None,
    "naver-splade-v3": None,
    "keyword": None,
}
"""Model name to dimension, as Mixpeek documented them in its first generation; None for sparse models."""


MARENGO = {"marengo3.0": 512, "marengo2.7": 1024}
"""TwelveLabs' model name to dimension: 1024 until version 2.7, 512 from 3.0 on."""


_DIMENSIONS = {**MODELS, **MARENGO}


_SPARSE_SIZE = 30_522


_WORD = re.compile(r"[a-z0-9]+")


def embed_text(text: str, model: str = "multimodal-v1") -> DenseVector:
    """The unit vector of `text`: shape ``(dimension,)``, float32, read-only. `model` is of `MODELS` or `MARENGO`.

    The same text always gives the same bits. A text without a single word has a vector of its own.
    Raises `KeyError` for a model that is unknown, `ValueError` for a sparse one.
    """
    dimension = _DIMENSIONS[model]
    if dimension is None:
        raise ValueError(f"{model} is a sparse model: use embed_sparse")
    return embed_in(text, model, dimension)


@lru_cache(maxsize=4_096)
def embed_in(text: str, model: str, dimension: int) -> DenseVector:
    """As `embed_text`, for a model that has this dimension."""
    counts = _concepts(text) or Counter({f"\0{text}": 1})
    total = np.zeros(dimension, dtype=np.float32)
    for word, count in sorted(counts.items()):
        total += np.float32(np.sqrt(count)) * _direction(word, model, dimension)
    unit = (total / np.linalg.norm(total)).astype(np.float32)
    unit.setflags(write=False)
    return unit


@lru_cache(maxsize=4_096)
def embed_sparse(text: str) -> SparseVector:
    """One weight per word: indices ascending in a vocabulary of 30,522, values ``1 + ln(count)`` as float32."""
    weights = {_index(word): 1.0 + float(np.log(count)) for word, count in _concepts(text).items()}
    indices = np.array(sorted(weights), dtype=np.int32)
    values = np.array([weights[index] for index in sorted(weights)], dtype=np.float32)
    return SparseVector(indices, values)


def words_of(text: str) -> frozenset[str]:
    """The concepts that a text names, each once."""
    return frozenset(_concepts(text))


def _concepts(text: str) -> Counter[str]:
    words = (concept(word) for word in _WORD.findall(text.lower()))
    return Counter(word for word in words if word is not None)


@lru_cache(maxsize=8_192)
def _direction(word: str, model: str, dimension: int) -> DenseVector:
    # Sums of three bytes are near enough to a gaussian, and unlike numpy's generators the same for ever.
    stream = hashlib.shake_256(f"{model}\0{word}".encode()).digest(dimension * 3)
    thrown = np.frombuffer(stream, dtype=np.uint8).reshape(dimension, 3).sum(axis=1, dtype=np.int32)
    direction: DenseVector = ((thrown - 382.5) / (128.0 * np.sqrt(dimension))).astype(np.float32)
    return direction


def _index(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest()) % _SPARSE_SIZE
