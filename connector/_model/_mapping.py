"""The schema mapping: which fields of each modality become typed columns, and how its vectors are stored."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

import orjson
from pydantic import Field, PrivateAttr, field_validator, model_validator

from vectorferry.connector._model._errors import QuarantineError
from vectorferry.connector._model._records import MODALITIES, Modality, Reason, Vector
from vectorferry.connector._model._settings_base import Settings, Spelling
from vectorferry.connector._model._vectors import dense_dimension

ColumnType: TypeAlias = Literal["text", "integer", "bigint", "double precision", "boolean", "timestamptz", "jsonb"]
Metric: TypeAlias = Literal["cosine", "l2", "inner_product", "l1"]
Storage: TypeAlias = Literal["vector", "halfvec", "sparsevec"]
IndexMethod: TypeAlias = Literal["hnsw", "ivfflat", "none"]
Quantization: TypeAlias = Literal["halfvec", "binary"]

Identifier = Annotated[
    str, Spelling(r"^[a-z_][a-z0-9_]{0,54}$", "up to 55 lowercase letters, digits and _, with no digit first")
]

# No `_` in front and no `__`: the sync's own tables and those of named vectors are called that way.
TableName = Annotated[
    str,
    Spelling(
        r"^[a-z][a-z0-9]*(_[a-z0-9]+)*$",
        "up to 40 lowercase letters and digits with a letter first, and single _ between them",
        max_length=40,
    ),
]

Language = Annotated[
    str, Spelling(r"^[a-z_]{1,63}$", "the name of a text search configuration of Postgres, such as english or simple")
]

FieldPath = Annotated[
    str, Spelling(r"^[^.]+(\.[^.]+)*$", "names with a dot between them, such as metadata.author", max_length=500)
]

SYSTEM_COLUMNS: Final = frozenset({"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"})
"""Postgres has these in every table."""

RESERVED_COLUMNS: Final = SYSTEM_COLUMNS | {
    *("feature_id", "asset_id", "collection", "feature_key", "metadata", "extra", "row_hash", "deleted_at"),
    *("embedding", "distance"),
}


class ColumnMapping(Settings):
    """A typed column: `path` is a dotted path into the feature (``metadata.author``, ``json_output.emotions.0``), or
    into its asset (``asset.metadata.campaign``)."""

    path: FieldPath
    type: ColumnType = "text"
    index: bool = Field(default=False, description="whether searches filter by it: Postgres gets an index on it")
    full_text: Language | None = Field(
        default=None, description="the language of its words, such as english: they can be searched in Postgres"
    )

    @model_validator(mode="after")
    def _words_are_text(self) -> Self:
        if self.full_text is not None and self.type != "text":
            raise ValueError(f"full_text is for columns of type text, and this one is {self.type}")
        return self


class VectorMapping(Settings):
    """How one named vector is stored and compared. `storage` left out: chosen from kind and dimension. `dimension` left
    out: vectors of any dimension are stored, each in a place of its own; else others are set aside. With a
    `quantization`, the index keeps a smaller form of each vector, and what it finds is compared by the whole ones.
    `lists` left out: from the rows that are there when an IVFFlat index is built."""

    metric: Metric = "cosine"
    storage: Storage | None = None
    index: IndexMethod = "hnsw"
    quantization: Quantization | None = Field(default=None, description="what the index keeps in place of the vectors")
    dimension: int | None = Field(default=None, ge=1, le=20_000, description="the only one that is stored")
    m: int = Field(default=16, ge=2, le=100, description="HNSW links per layer")
    ef_construction: int = Field(default=64, ge=4, le=1000, description="HNSW build candidates")
    lists: int | None = Field(default=None, ge=1, le=32_768, description="IVFFlat lists")

    @model_validator(mode="after")
    def _dimension_is_of_dense_vectors(self) -> Self:
        if self.dimension is not None and self.storage == "sparsevec":
            raise ValueError("sparse vectors have no dimension: leave out `dimension`, or `storage`")
        return self

    @model_validator(mode="after")
    def _index_can_be_built(self) -> Self:
        if self.index == "none" and self.quantization is not None:
            raise ValueError("quantization is of an index, and there is none: leave one of them out")
        if self.storage == "sparsevec" and self.quantization is not None:
            raise ValueError("sparse vectors are not quantized: leave out `quantization`")
        if self.index == "ivfflat" and self.storage == "sparsevec":
            raise ValueError("ivfflat takes no sparse vectors: choose index: hnsw")
        if self.index == "ivfflat" and self.metric == "l1" and self.quantization != "binary":
            raise ValueError("ivfflat does not compare by l1: choose index: hnsw, or another metric")
        if self.index != "ivfflat" and self.lists is not None:
            raise ValueError(f"lists is for index: ivfflat, and this one is {self.index}")
        return self

    def takes_dimension(self, dimension: int | None) -> bool:
        """Whether vectors of this dimension are stored; None, of sparse ones and where it is not known, is."""
        return dimension is None or self.dimension in (None, dimension)

    def check_dimension(self, name: str, vector: Vector) -> None:
        """Raise `QuarantineError` with `Reason.DIMENSION` for a vector of another dimension, or a sparse one where a
        dimension is said."""
        dimension = dense_dimension(vector)
        if self.dimension is None or (dimension is not None and self.takes_dimension(dimension)):
            return
        kind = "is sparse" if dimension is None else f"has {dimension} dimensions"
        message = f"vector {name!r} {kind}, and the mapping says dimension: {self.dimension}"
        raise QuarantineError(Reason.DIMENSION, message)


DEFAULT_VECTOR: Final = VectorMapping()


class ModalityMapping(Settings):
    """What one modality adds to the defaults."""

    table: TableName | None = None
    columns: dict[Identifier, ColumnMapping] = Field(default_factory=dict)
    vectors: dict[str, VectorMapping] = Field(default_factory=dict)

    @field_validator("columns")
    @classmethod
    def _columns_are_free(cls, columns: dict[str, ColumnMapping]) -> dict[str, ColumnMapping]:
        if reserved := sorted(columns.keys() & RESERVED_COLUMNS):
            raise ValueError(f"{', '.join(reserved)}: every table has such a column already; choose another name")
        return columns

    def vector(self, vector_name: str) -> VectorMapping:
        """How this named vector is stored."""
        return self.vectors.get(vector_name, DEFAULT_VECTOR)


def _columns(**types: ColumnType) -> dict[str, ColumnMapping]:
    return {name: ColumnMapping(path=name, type=kind) for name, kind in types.items()}


DEFAULT_COLUMNS: Final[Mapping[Modality, Mapping[str, ColumnMapping]]] = {
    Modality.VIDEO: _columns(
        start_time="double precision",
        end_time="double precision",
        interval_sec="double precision",
        transcription="text",
        text="text",
        description="text",
        json_output="jsonb",
        created_at="timestamptz",
    ),
    Modality.IMAGE: _columns(
        text="text",
        description="text",
        caption="text",
        json_output="jsonb",
        detect="jsonb",
        created_at="timestamptz",
    ),
    Modality.TEXT: _columns(
        start_time="double precision",
        end_time="double precision",
        text="text",
        created_at="timestamptz",
    ),
    Modality.AUDIO: _columns(
        start_time="double precision",
        end_time="double precision",
        transcription="text",
        text="text",
        description="text",
        json_output="jsonb",
        created_at="timestamptz",
    ),
}
"""The fields that Mixpeek's documented examples show, per modality, and the times of what TwelveLabs heard being said.

Audio is never shown filled: like video."""


class SchemaMapping(Settings):
    """The mapping of every modality: the defaults, and those of the source, with what the user added on top."""

    video: ModalityMapping = ModalityMapping()
    image: ModalityMapping = ModalityMapping()
    text: ModalityMapping = ModalityMapping()
    audio: ModalityMapping = ModalityMapping()

    _source_columns: Mapping[Modality, Mapping[str, ColumnMapping]] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _tables_are_apart(self) -> Self:
        tables = ["assets", *map(self.table, MODALITIES)]
        if clash := next((table for table in tables if tables.count(table) > 1), None):
            raise ValueError(f"two tables would be called {clash}: choose another `table` for one of them")
        return self

    def with_source_columns(self, columns: Mapping[Modality, Mapping[str, ColumnMapping]]) -> SchemaMapping:
        """The same over a source that has these by default: what the user has mapped under such a name stays."""
        mapping = self.model_copy()
        mapping._source_columns = columns
        return mapping

    def tables(self) -> dict[str, Modality]:
        """The modality whose rows are in each table."""
        return {self.table(modality): modality for modality in MODALITIES}

    def modality(self, modality: Modality) -> ModalityMapping:
        """What the user said about this modality."""
        mapping: ModalityMapping = getattr(self, modality)
        return mapping

    def table(self, modality: Modality) -> str:
        """The name of this modality's table."""
        return self.modality(modality).table or modality.value

    def columns(self, modality: Modality) -> dict[str, ColumnMapping]:
        """The typed columns of this modality, defaults first, in a stable order."""
        of_source = self._source_columns.get(modality, {})
        return {**DEFAULT_COLUMNS[modality], **of_source, **self.modality(modality).columns}

    def vector(self, modality: Modality, vector_name: str) -> VectorMapping:
        """How this named vector is stored."""
        return self.modality(modality).vector(vector_name)

    def digest(self) -> str:
        """Changes when rows would be mapped differently, so that a run knows to map them again."""
        of_rows = {"path", "type"}
        shape: dict[str, Any] = {
            m.value: {n: c.model_dump(include=of_rows) for n, c in self.columns(m).items()} for m in MODALITIES
        }
        if dimensions := {m.value: each for m in MODALITIES if (each := self._dimensions(m))}:
            shape["dimensions"] = dimensions
        return hashlib.blake2b(orjson.dumps(shape), digest_size=8).hexdigest()

    def _dimensions(self, modality: Modality) -> dict[str, int]:
        """The only dimension that is stored of some named vectors."""
        vectors = self.modality(modality).vectors.items()
        return {name: vector.dimension for name, vector in sorted(vectors) if vector.dimension is not None}


def ledger_fingerprint(fingerprint: str, mapping_digest: str, turn: str = "") -> str:
    """What ledgers hold of an asset: changes with the source's fingerprint, and when the mapping changes. What changes
    with the asset's turn stands apart from that, after a dot."""
    content = _digest(f"{mapping_digest}\0{fingerprint}", 16)
    return f"{content}.{_digest(turn, 4)}" if turn else content


def _digest(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size).hexdigest()
