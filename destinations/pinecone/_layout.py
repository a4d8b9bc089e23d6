"""Which index and namespace a named vector goes to. Pure.

Limits: https://docs.pinecone.io/reference/api/database-limits and the 2026-07 specification.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np

from vectorferry.connector.plugin import (
    MODALITIES,
    ConfigurationError,
    DenseVector,
    MappedFeature,
    Metric,
    QuarantineError,
    Reason,
    SchemaMapping,
    SparseVector,
    Vector,
    canonical_json,
    vector_bytes,
)
from vectorferry.destinations.pinecone._ids import IndexSpec, index_name, namespace_name, pinecone_metric
from vectorferry.destinations.pinecone._metadata import MetadataOptions

_MAX_DIMENSION: Final = 20_000
_MAX_SPARSE_ELEMENTS: Final = 2_048


@dataclass(slots=True, eq=False)  # as `DesiredFeature`
class DesiredRecord:
    """One record of one index: a dense vector, a sparse one, or both. `digest` changes when either does."""

    index: str
    spec: IndexSpec
    digest: bytes
    dense: DenseVector | None = None
    sparse: SparseVector | None = None

    @property
    def vector_bytes(self) -> int:
        """How much the numbers of the vectors take."""
        dense = 0 if self.dense is None else self.dense.nbytes
        return dense if self.sparse is None else dense + vector_bytes(self.sparse)


@dataclass(frozen=True, slots=True)
class Layout:
    """How a sync is laid out in a Pinecone project.

    `vectors` are the named vectors that are kept (empty: all); with none, it `makes_any` index that a vector needs, or
    only for those that the mapping names: each is billed. `hybrid` names by dense vector the sparse one that goes into
    the same record.
    """

    prefix: str
    namespace: str = "{collection}"
    vectors: frozenset[str] = frozenset()
    hybrid: Mapping[str, str] = field(default_factory=dict)
    metadata: MetadataOptions = field(default_factory=MetadataOptions)
    makes_any: bool = True

    @property
    def fixed(self) -> Mapping[str, str]:
        """What cannot change once there are records: they would not be found again."""
        return {"index_prefix": self.prefix, "namespace": self.namespace}

    def digest(self, mapping: SchemaMapping) -> str:
        """Changes when the same features would become other records, so that they are read and compared again."""
        metrics = {
            f"{modality}.{name}": vector.metric
            for modality in MODALITIES
            for name, vector in mapping.modality(modality).vectors.items()
        }
        limits = [] if self.makes_any or self.vectors else ["configured"]
        choices = [sorted(self.vectors), dict(self.hybrid), self.metadata.model_dump(mode="json"), metrics, *limits]
        return hashlib.blake2b(canonical_json(choices), digest_size=8).hexdigest()

    def check(self, mapping: SchemaMapping) -> None:
        """Raise `ConfigurationError` for a metric that Pinecone lacks, or a hybrid that no metric allows."""
        for modality in MODALITIES:
            for name, vector in mapping.modality(modality).vectors.items():
                if self.keeps(name):
                    _check_metric(f"modalities.{modality}.vectors.{name}", vector.metric)
        for dense in self.hybrid:
            if all(mapping.vector(modality, dense).metric != "inner_product" for modality in MODALITIES):
                raise ConfigurationError(
                    f"hybrid.{dense}: records with a dense and a sparse vector need the metric inner_product; "
                    f"set it for {dense} under `modalities`, or take it out of `hybrid`."
                )

    def namespace_of(self, collection: str) -> str:
        """Where the records of a collection are, in every index."""
        return namespace_name(self.namespace, collection)

    def records(self, feature: MappedFeature, mapping: SchemaMapping) -> Iterator[DesiredRecord]:
        """The records of a feature, one per index. Its vectors have been checked (`unfit_vectors`)."""
        joined = self._joined(feature, mapping) if self.hybrid else {}
        for name, vector in feature.vectors.items():
            if self.keeps(name) and name not in joined.values():
                yield self._record(feature, mapping, name, vector, joined.get(name))

    def unfit_vectors(
        self, feature: MappedFeature, mapping: SchemaMapping, indexed: Collection[str]
    ) -> Mapping[str, QuarantineError]:
        """By name, the vectors that Pinecone would refuse, or bill an index for that nobody has asked for, and why.
        There are indexes for those that are `indexed`."""
        problems = {}
        for name, vector in feature.vectors.items():
            if self.keeps(name):
                problem = _problem(name, vector) if name in indexed or self.makes(name, mapping) else _unasked(name)
                if problem:
                    problems[name] = problem
        return problems

    def names_in(self, record: DesiredRecord) -> list[str]:
        """The named vectors that a record holds."""
        name = record.spec.vector_name
        return [name, self.hybrid[name]] if record.dense is not None and record.sparse is not None else [name]

    def check_any(self, mapping: SchemaMapping, indexed: Collection[str]) -> None:
        """Raise `ConfigurationError` where no vector at all could be written, so that nobody pays for what nobody has
        asked for. There are indexes for those that are `indexed`."""
        if not (self.makes_any or self.vectors or indexed or self._configured(mapping)):
            raise ConfigurationError(
                "destinations[].vectors: Pinecone bills an index for each named vector, and none is configured. "
                "List the names (`vectors: [multimodal-v1]`), or say `vectors: all`."
            )

    def makes(self, name: str, mapping: SchemaMapping) -> bool:
        """Whether an index is made for this named vector where there is none."""
        return self.makes_any or name in self.vectors or name in self._configured(mapping)

    def _configured(self, mapping: SchemaMapping) -> set[str]:
        mapped = {name for modality in MODALITIES for name in mapping.modality(modality).vectors}
        return {*mapped, *self.hybrid, *self.hybrid.values()}

    def keeps(self, name: str) -> bool:
        """Whether this named vector is kept at all."""
        return not self.vectors or name in self.vectors or name in self.hybrid.values()

    def _joined(self, feature: MappedFeature, mapping: SchemaMapping) -> dict[str, str]:
        """By dense vector, the sparse one of this feature that goes into the same record."""
        return {
            dense: sparse
            for dense, sparse in self.hybrid.items()
            if self.keeps(dense)
            and mapping.vector(feature.modality, dense).metric == "inner_product"
            and isinstance(feature.vectors.get(dense), np.ndarray)
            and isinstance(feature.vectors.get(sparse), SparseVector)
        }

    def _record(
        self, feature: MappedFeature, mapping: SchemaMapping, name: str, vector: Vector, partner: str | None
    ) -> DesiredRecord:
        digest = feature.vector_hashes[name]
        if isinstance(vector, SparseVector):
            index, spec = _place(self.prefix, name, None, "inner_product")
            return DesiredRecord(index, spec, digest, sparse=vector)
        index, spec = _place(self.prefix, name, len(vector), mapping.vector(feature.modality, name).metric)
        sparse = feature.vectors[partner] if partner else None
        assert not isinstance(sparse, np.ndarray)
        if partner:
            digest = hashlib.blake2b(digest + feature.vector_hashes[partner], digest_size=16).digest()
        return DesiredRecord(index, spec, digest, dense=vector, sparse=sparse)


@lru_cache(maxsize=1_024)  # asked for every vector
def _place(prefix: str, name: str, dimension: int | None, metric: Metric) -> tuple[str, IndexSpec]:
    """The index of a vector, and what it has to be like."""
    spec = IndexSpec(name, dimension, pinecone_metric(metric))
    return index_name(prefix, spec), spec


def _unasked(name: str) -> QuarantineError:
    return QuarantineError(
        Reason.OVER_LIMIT,
        f"vector {name}: a new index would be billed. If it is wanted, name it under `modalities`, or in `vectors` of "
        "the destination, or say `vectors: all`",
    )


def _problem(name: str, vector: Vector) -> QuarantineError | None:
    values = vector.values if isinstance(vector, SparseVector) else vector
    # Most often ends at the first number. Numpy looks at all of them, and lets other threads run meanwhile.
    if not any(values):
        return QuarantineError(
            Reason.ZERO_VECTOR, f"vector {name}: Pinecone takes no vector whose numbers are all zero"
        )
    if isinstance(vector, SparseVector) and len(values) > _MAX_SPARSE_ELEMENTS:
        detail = f"vector {name}: {len(values):,} elements; Pinecone takes at most {_MAX_SPARSE_ELEMENTS:,}"
        return QuarantineError(Reason.TOO_LARGE, detail)
    if not isinstance(vector, SparseVector) and len(vector) > _MAX_DIMENSION:
        detail = f"vector {name}: {len(vector):,} dimensions; Pinecone takes at most {_MAX_DIMENSION:,}"
        return QuarantineError(Reason.DIMENSION, detail)
    return None


def _check_metric(where: str, metric: Metric) -> None:
    try:
        pinecone_metric(metric)
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from None
