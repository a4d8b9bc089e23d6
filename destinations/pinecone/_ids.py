"""What indexes, namespaces and records are called. Pure: the same names in every run, on every machine.

The rules are Pinecone's (https://docs.pinecone.io/reference/api/database-limits/identifier-limits): 512 ASCII
characters for record ids and namespaces, 45 of ``[a-z0-9-]`` for an index.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

from vectorferry.connector.plugin import ConfigurationError, Metric

PineconeMetric: TypeAlias = Literal["cosine", "euclidean", "dotproduct"]
_LONGEST_ID: Final = 512
_LONGEST_INDEX: Final = 45
_LONGEST_PREFIX: Final = 20
_LONGEST_TEMPLATE: Final = 200
_COLLECTION: Final = "{collection}"
_DEFAULT_NAMESPACE: Final = "__default__"
_SAFE: Final = re.compile(r"[ -\"$&-~]*")
_UNSAFE: Final = re.compile(rb"[^ -~]|[%#]")
_PRINTABLE: Final = re.compile(r"[ -~]*")
_CUT_ESCAPE: Final = re.compile(r"%.?$")
_FOLDED: Final = re.compile(r"[^a-z0-9]+")
_ENDS_LIKE_A_HASH: Final = re.compile(r"-[0-9a-f]{8}$")
_METRICS: Final[Mapping[Metric, PineconeMetric]] = {
    "cosine": "cosine",
    "l2": "euclidean",
    "inner_product": "dotproduct",
}


@dataclass(frozen=True, slots=True)
class IndexSpec:
    """What makes an index: a named vector, its dimension (None: sparse, 1 to 20,000 otherwise) and metric."""

    vector_name: str
    dimension: int | None
    metric: PineconeMetric

    def __lt__(self, other: IndexSpec) -> bool:
        return self._order < other._order

    @property
    def _order(self) -> tuple[str, int, str]:
        return self.vector_name, self.dimension or 0, self.metric


def record_id(asset_id: str, feature_id: str) -> str:
    """``asset#feature``, 1 to 512 printable ASCII characters, different for different features.

    Other characters, ``%`` and ``#`` are percent-encoded as UTF-8. What is longer ends in ``##`` and a hash of all of
    it, so it cannot be taken apart again: the ids are in the metadata.
    """
    return _bounded(f"{_escaped(asset_id)}#{_escaped(feature_id)}", _LONGEST_ID)


def owner_of(identifier: str, metadata: Mapping[str, Any]) -> tuple[str, str] | None:
    """The asset id and feature id of a record that Vectorferry wrote; None for anybody else's."""
    asset_id, feature_id = metadata.get("asset_id"), metadata.get("feature_id")
    if isinstance(asset_id, str) and isinstance(feature_id, str) and record_id(asset_id, feature_id) == identifier:
        return asset_id, feature_id
    return None


def check_template(template: str) -> None:
    """Raise `ValueError` for a namespace template that would not tell collections apart, or that Pinecone refuses."""
    if template.count(_COLLECTION) != 1:
        raise ValueError(f"must contain {_COLLECTION} exactly once, as in media-{_COLLECTION}")
    fixed = template.replace(_COLLECTION, "")
    if set("{}") & set(fixed):
        raise ValueError(f"{_COLLECTION} is the only thing in braces that it can contain")
    if not _PRINTABLE.fullmatch(fixed):
        raise ValueError(f"may hold only printable ASCII characters beside {_COLLECTION}")
    if len(template) > _LONGEST_TEMPLATE:
        raise ValueError(f"may have at most {_LONGEST_TEMPLATE} characters")


def namespace_name(template: str, collection: str) -> str:
    """The namespace of a collection, 1 to 512 printable ASCII characters, different for different collections.

    Never ``__default__``, which every client that names no namespace writes to. `template` has passed
    `check_template`.
    """
    room = _LONGEST_ID - len(template) + len(_COLLECTION)
    shown = _bounded(_escaped(collection) or "%", room)  # no escaped text ends in %
    name = template.replace(_COLLECTION, shown)
    if name == _DEFAULT_NAMESPACE:
        return template.replace(_COLLECTION, f"%{ord(shown[0]):02X}{shown[1:]}")
    return name


@lru_cache(maxsize=1_024)
def index_name(prefix: str, spec: IndexSpec) -> str:
    """``prefix-vector-dimension``, with the metric unless it is the usual one; at most 45 of ``[a-z0-9-]``.

    `prefix` has at most 20 such characters. Where the vector's name had to be changed or cut, a hash stands at the
    end, so that names never meet: no dimension, metric or ``sparse`` reads like one.
    """
    size = "sparse" if spec.dimension is None else str(spec.dimension)
    usual = "dotproduct" if spec.dimension is None else "cosine"
    folded = _folded(spec.vector_name)
    plain = f"{prefix}-{folded}-{size}" + ("" if spec.metric == usual else f"-{spec.metric}")
    if folded == spec.vector_name and len(plain) <= _LONGEST_INDEX:
        return plain
    end = f"-{size}-{_digest(f'{size} {spec.metric} {spec.vector_name}', 4)}"
    room = _LONGEST_INDEX - len(f"{prefix}-{end}")
    return f"{prefix}-{(folded or 'vector')[:room].rstrip('-')}{end}"


def index_prefix(sync_name: str) -> str:
    """What a sync's indexes begin with: its name with dashes; cut, with a hash, where it has more than 20 characters.

    Different for different syncs, so that two of them in one project never share an index.
    """
    plain = sync_name.replace("_", "-")
    if len(plain) <= _LONGEST_PREFIX and not plain.endswith("-") and not _ENDS_LIKE_A_HASH.search(plain):
        return plain
    return f"{plain[: _LONGEST_PREFIX - 9].rstrip('-')}-{_digest(sync_name, 4)}"


def pinecone_metric(metric: Metric) -> PineconeMetric:
    """Pinecone's name of a metric. Raises `ConfigurationError` for l1, which it does not have."""
    if metric not in _METRICS:
        raise ConfigurationError(
            f"Pinecone cannot compare vectors by {metric}: under `modalities`, set the vector's metric to cosine, l2 "
            "or inner_product, or name only other vectors in the Pinecone destination's `vectors`."
        )
    return _METRICS[metric]


def _escaped(text: str) -> str:
    """Printable ASCII without ``#``, different for different texts."""
    if _SAFE.fullmatch(text):
        return text
    return _UNSAFE.sub(lambda found: b"%%%02X" % found[0][0], text.encode("utf-8", "surrogatepass")).decode("ascii")


def _bounded(escaped: str, room: int) -> str:
    """Itself where it fits, else its beginning and a hash: no escaped text holds two ``#`` in a row."""
    if len(escaped) <= room:
        return escaped
    digest = f"##{_digest(escaped, 16)}"
    return _CUT_ESCAPE.sub("", escaped[: room - len(digest)]) + digest


def _folded(name: str) -> str:
    return _FOLDED.sub("-", name.lower()).strip("-")


def _digest(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()
