"""What the configuration says about a pgvector destination."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from vectorferry.connector.plugin import DestinationSettings, Leg, Load, PathFromFile, SchemaMapping, Spelling
from vectorferry.destinations._postgres import EMBEDDED, SchemaName, check_url, holds_embedded, say_directory
from vectorferry.destinations.pgvector._destination import PgvectorDestination
from vectorferry.destinations.pgvector._scale import scale_legs


class PgvectorSettings(DestinationSettings):
    """Postgres with pgvector 0.8 or newer. Without a `url`, an embedded Postgres in `directory`."""

    type: Literal["pgvector"] = "pgvector"
    name: Annotated[
        str, Spelling(r"^[a-z][a-z0-9_-]{0,47}$", "a letter and then up to 47 letters, digits, - and _, all lowercase")
    ] = Field(default="pgvector", description="its label in summaries")
    url: SecretStr | None = Field(default=None, description="postgresql://user:password@host:5432/database")
    schema_name: SchemaName | None = Field(
        default=None, alias="schema", description="where the tables live; the sync's name when left out"
    )
    directory: PathFromFile = Field(default=EMBEDDED, description="data of the embedded Postgres")

    _url_is_an_address = field_validator("url")(check_url)
    _directory_is_said = model_validator(mode="before")(say_directory)

    @field_validator("schema_name")
    @classmethod
    def _schema_is_free(cls, schema: str | None) -> str | None:
        if schema and (schema.startswith("pg_") or schema == "information_schema"):
            raise ValueError("Postgres keeps this schema for itself; choose another")
        return schema

    index_memory_mb: int = Field(default=1024, ge=1, description="most memory that one index build may ask for")

    @property
    def data_directory(self) -> Path | None:
        """That of the embedded Postgres, if that is where it writes."""
        return None if self.url else self.directory

    def holds_data(self, folder: Path) -> bool:
        """Whether an embedded Postgres is there."""
        return holds_embedded(folder)

    def legs(self, load: Load, mapping: SchemaMapping) -> Sequence[Leg]:
        """Writing, and an index for each named vector."""
        return scale_legs(load, mapping, self.name, self.index_memory_mb)

    def open(self, sync_name: str) -> PgvectorDestination:
        """A destination for one sync; connects when it is first used."""
        return PgvectorDestination(
            schema=self.schema_name or sync_name,
            name=self.name,
            url=self.url.get_secret_value() if self.url else None,
            directory=self.directory,
            index_memory_mb=self.index_memory_mb,
        )
