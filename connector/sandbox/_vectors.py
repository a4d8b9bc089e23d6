"""Where a served vector comes from: a text that a stand-in for an embedding model reads, cheap noise, or given bytes.

The stand-in is deterministic: texts that share words, word stems or meanings are near each other.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import orjson

from vectorferry.connector._model._records import DenseVector, SparseVector

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


class VectorSource(Protocol):
    """Something that gives a vector when it is asked for."""

    def json(self) -> Any:
        """What orjson prints for it."""

    def dense(self) -> DenseVector | None:
        """The dense vector that search compares, or None when there is none."""


@dataclass(frozen=True, slots=True)
class TextVector:
    """What `model` makes of `text`, in its own dimension unless another is named; `head` are given first numbers.

    `take` is 0 for what the model first made of the text; another one is as if it had been trained anew.
    """

    text: str
    model: str
    dimension: int | None = None
    take: int = 0
    head: tuple[float, ...] = ()

    def json(self) -> Any:
        dense = self.dense()
        return sparse_json(embed_sparse(self.text)) if dense is None else dense

    def dense(self) -> DenseVector | None:
        dimension = self.dimension or _DIMENSIONS[self.model]
        if dimension is None:
            return None
        vector = embed_in(self.text, f"{self.model}/{self.take}" if self.take else self.model, dimension)
        if self.head:
            vector = vector.copy()
            vector[: len(self.head)] = self.head
        return vector


@dataclass(frozen=True, slots=True)
class NoiseVector:
    """Two stretches of one shared pool of noise, added and normalised: far cheaper than a generator per vector."""

    seed: int
    dimension: int

    def json(self) -> Any:
        return self.dense()

    def dense(self) -> DenseVector | None:
        pool = _noise(self.dimension)
        first, second = self._offsets()
        total = pool[first : first + self.dimension] + pool[second : second + self.dimension]
        total /= np.sqrt(np.dot(total, total))
        return total

    def _offsets(self) -> tuple[int, int]:
        mixed = (self.seed + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        return mixed >> 48, mixed >> 20 & 0xFFFF


@dataclass(frozen=True, slots=True)
class RawVector:
    """Exactly these bytes of JSON, valid or not."""

    value: orjson.Fragment

    def json(self) -> Any:
        return self.value

    def dense(self) -> DenseVector | None:
        return None


def made_again(vector: VectorSource, dimension: int) -> VectorSource:
    """Another vector of the same thing, in this dimension; one that somebody put there stays."""
    match vector:
        case TextVector():
            return replace(vector, dimension=dimension, take=vector.take + 1)
        case NoiseVector():
            return NoiseVector(vector.seed + 1_000_003, dimension)
        case _:
            return vector


def sparse_json(vector: SparseVector) -> dict[str, Any]:
    """A sparse vector as Mixpeek prints one: ``{"indices": [...], "values": [...]}``."""
    return {"indices": vector.indices, "values": vector.values}


def raw_json(value: Any) -> orjson.Fragment:
    """Bytes stay as they are; anything else becomes JSON, with NaN and Infinity written as such."""
    return orjson.Fragment(_written(value))


def raw_value(value: Any) -> Any:
    """As `raw_json`, but plain JSON comes back as Python values, so that filters and routes can read it."""
    written = _written(value)
    try:
        parsed = orjson.loads(written)
    except orjson.JSONDecodeError:
        return orjson.Fragment(written)
    return parsed if orjson.dumps(parsed) == written else orjson.Fragment(written)


def _written(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, np.ndarray) and np.isfinite(value).all():
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    plain = value.tolist() if isinstance(value, np.ndarray) else value
    return json.dumps(plain, separators=(",", ":")).encode()


_POOL = 65_536


@lru_cache(maxsize=8)
def _noise(dimension: int) -> DenseVector:
    return np.random.default_rng(20_241_107).standard_normal(_POOL + dimension, dtype=np.float32)
