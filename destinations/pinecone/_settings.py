"""What the configuration says about a Pinecone destination."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    Field,
    PrivateAttr,
    SecretStr,
    StringConstraints,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from vectorferry.connector.http import check_base_url
from vectorferry.connector.plugin import (
    MODALITIES,
    DestinationSettings,
    Leg,
    Load,
    PathFromFile,
    SchemaMapping,
    Settings,
    Spelling,
    closest,
)
from vectorferry.destinations._postgres import EMBEDDED, SchemaName, check_url, holds_embedded, say_directory
from vectorferry.destinations.pgvector import PgvectorSettings
from vectorferry.destinations.pinecone._destination import PineconeDestination
from vectorferry.destinations.pinecone._ids import check_template, index_prefix
from vectorferry.destinations.pinecone._layout import Layout
from vectorferry.destinations.pinecone._manifest import Manifest
from vectorferry.destinations.pinecone._metadata import MetadataOptions
from vectorferry.destinations.pinecone._project import ProjectSettings
from vectorferry.destinations.pinecone._requests import WriteRates, WriterLimits
from vectorferry.destinations.pinecone._scale import scale_legs

_SHARE: Final = 0.97
"""Of what is allowed. Of 100 requests in any second, at exactly 100 a second, every one that is a millisecond late
makes another one too many."""

VectorName = Annotated[str, StringConstraints(min_length=1, max_length=255)]


class ManifestSettings(Settings):
    """Where the record of what is in Pinecone is kept: a Postgres, with or without pgvector."""

    url: SecretStr | None = Field(default=None, description="postgresql://user:password@host:5432/database")
    schema_name: SchemaName | None = Field(
        default=None, alias="schema", description="where its tables live; the sync's name when left out"
    )
    directory: PathFromFile = Field(default=EMBEDDED, description="data of the embedded Postgres")

    _url_is_an_address = field_validator("url")(check_url)
    _directory_is_said = model_validator(mode="before")(say_directory)


class RateSettings(Settings):
    """What Pinecone takes in a second, as it documents it; it raises its limits on request."""

    requests: int = Field(
        default=100, ge=1, le=1_000_000, description="upserts, updates and deletes each, into a namespace"
    )
    upserted_mb: int = Field(
        default=50, ge=1, le=1_000_000, description="of upserts into a namespace; a number has 4 bytes"
    )
    deleted_records: int = Field(default=5_000, ge=1, le=10_000_000, description="from an index, by all processes")

    def below(self) -> WriteRates:
        """A little less, as the other side counts by its own clock."""
        return WriteRates(_SHARE * self.requests, _SHARE * 1e6 * self.upserted_mb, _SHARE * self.deleted_records)


class PineconeSettings(DestinationSettings):
    """Pinecone: an index per named vector, a namespace per collection. Its manifest is kept in Postgres."""

    type: Literal["pinecone"] = "pinecone"
    name: Annotated[
        str, Spelling(r"^[a-z][a-z0-9-]{0,31}$", "a letter and then up to 31 letters, digits and -, all lowercase")
    ] = Field(default="pinecone", description="its label in summaries")
    api_key: SecretStr = Field(description="the project's API key; write ${NAME} to take it from the environment")
    host: str = Field(default="https://api.pinecone.io", description="the control plane's address")
    cloud: Literal["aws", "gcp", "azure"] = Field(default="aws", description="where missing indexes are made")
    region: Annotated[str, Spelling(r"^[a-z0-9-]{1,40}$", "lowercase letters, digits and -, such as us-east-1")] = (
        Field(default="us-east-1", description="the cloud's region")
    )
    index_prefix: (
        Annotated[
            str,
            Spelling(
                r"^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$", "up to 20 lowercase letters, digits and -, with no - at an end"
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="what the names of its indexes begin with; the sync's name when left out",
    )
    namespace: str = Field(default="{collection}", description="the namespace of a collection; holds {collection}")
    vectors: Literal["configured", "all"] | Annotated[tuple[VectorName, ...], Field(min_length=1)] = Field(
        default="configured",
        description="only these named vectors; configured: new indexes only for those in `modalities`; all: for any",
    )
    hybrid: dict[VectorName, VectorName] = Field(
        default_factory=dict, description="by dense vector, the sparse one that goes into the same record"
    )
    metadata: MetadataOptions = MetadataOptions()
    concurrency: int = Field(default=16, ge=1, le=64, description="most requests in flight")
    request_bytes: int = Field(default=2_000_000, ge=50_000, le=4_000_000, description="most bytes of one request")
    rates: RateSettings = Field(default=RateSettings(), description="most that is written in a second")
    manifest: ManifestSettings | None = Field(
        default=None, description="left out: in the sync's own pgvector schema, else in the embedded Postgres"
    )

    _folder: Path | None = PrivateAttr(default=None)

    @field_validator("host")
    @classmethod
    def _host_is_safe(cls, host: str) -> str:
        return host if host.startswith("${") else check_base_url(host, allow_http=None)

    @field_validator("vectors", mode="wrap")
    @classmethod
    def _vectors_are_said_in_one_of_three_ways(cls, value: Any, validated: ValidatorFunctionWrapHandler) -> Any:
        try:
            return validated(value)
        except ValidationError:
            near = closest(value, ("configured", "all")) if isinstance(value, str) else ""
            raise ValueError(
                f"should be a list of named vectors (at least one), `configured`, or `all`{near}"
            ) from None

    @field_validator("namespace")
    @classmethod
    def _namespace_tells_collections_apart(cls, template: str) -> str:
        check_template(template)
        return template

    def model_post_init(self, context: Any, /) -> None:
        """Remember where paths begin, for a manifest of which nothing is said."""
        if isinstance(context, Mapping):
            self._folder = context.get("folder")

    def beside(self, others: Sequence[DestinationSettings]) -> Self:
        """With the manifest in the sync's first pgvector schema, unless it was given a place of its own.

        Raises `ValueError` when another one writes the same indexes: each would take the other's records for its own.
        """
        if any(isinstance(other, PineconeSettings) and other._written == self._written for other in others):
            raise ValueError("two Pinecone destinations write the same indexes: give one of them an `index_prefix`")
        first = next((other for other in others if isinstance(other, PgvectorSettings)), None)
        if self.manifest is not None or (first is None and self._folder is None):
            return self
        place = (
            ManifestSettings(url=first.url, schema=first.schema_name, directory=first.directory)
            if first
            else ManifestSettings.model_validate({}, context={"folder": self._folder})
        )
        return self.model_copy(update={"manifest": place})

    @property
    def data_directory(self) -> Path | None:
        """That of the embedded Postgres, if that is where its manifest is."""
        place = self.manifest or ManifestSettings()
        return None if place.url else place.directory

    def holds_data(self, folder: Path) -> bool:
        """Whether an embedded Postgres is there."""
        return holds_embedded(folder)

    def vector_names(self, mapping: SchemaMapping) -> tuple[str, ...]:
        """Those that the configuration names; a run may find others, unless `vectors` says that there are none."""
        mapped = [name for modality in MODALITIES for name in mapping.modality(modality).vectors]
        names = dict.fromkeys([*self._only, *mapped])
        in_other_records = {*self.hybrid.values()}
        return tuple(n for n in names if (not self._only or n in self._only) and n not in in_other_records)

    def legs(self, load: Load, mapping: SchemaMapping) -> Sequence[Leg]:  # noqa: ARG002 - all are stored alike
        """Writing, into one namespace at a time."""
        return scale_legs(load, self.name, self.request_bytes, set(self._only))

    def open(self, sync_name: str) -> PineconeDestination:
        """A destination for one sync; connects when it is first used."""
        return PineconeDestination(
            self._project(sync_name), self._layout(sync_name), self._manifest(sync_name), self.name
        )

    @property
    def _only(self) -> tuple[str, ...]:
        """The named vectors that are listed, if they are."""
        return self.vectors if isinstance(self.vectors, tuple) else ()

    @property
    def _written(self) -> tuple[str, str, str | None]:
        return self.host, self.api_key.get_secret_value(), self.index_prefix

    def _prefix(self, sync_name: str) -> str:
        return self.index_prefix or index_prefix(sync_name)

    def _project(self, sync_name: str) -> ProjectSettings:
        return ProjectSettings(
            api_key=self.api_key.get_secret_value(),
            host=self.host,
            prefix=self._prefix(sync_name),
            cloud=self.cloud,
            region=self.region,
            limits=WriterLimits(
                concurrency=self.concurrency, request_bytes=self.request_bytes, rates=self.rates.below()
            ),
        )

    def _layout(self, sync_name: str) -> Layout:
        return Layout(
            prefix=self._prefix(sync_name),
            namespace=self.namespace,
            vectors=frozenset(self._only),
            makes_any=self.vectors == "all",
            hybrid=self.hybrid,
            metadata=self.metadata,
        )

    def _manifest(self, sync_name: str) -> Manifest:
        place = self.manifest or ManifestSettings()
        url = place.url.get_secret_value() if place.url else None
        return Manifest(place.schema_name or sync_name, self.name, url, place.directory)
