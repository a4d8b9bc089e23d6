"""What stands under ``attributes:`` on its way from YAML to the component, without being repeated in an error."""

from __future__ import annotations

from functools import cache
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

__all__ = ["Attributes", "unjudged"]


class Attributes(BaseModel):
    """Takes anything. Dagster prints every value that a model refuses, and it may be a key: the settings refuse later.

    Its JSON schema is that of the `strict` model, for editors and ``dg check yaml``.
    """

    model_config = ConfigDict(extra="allow")

    strict: ClassVar[type[BaseModel]]

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(cls.strict.__pydantic_core_schema__)


@cache
def unjudged(strict: type[BaseModel]) -> type[Attributes]:
    """A model that takes anything and says of itself what `strict` says."""
    return type(strict.__name__, (Attributes,), {"strict": strict, "__module__": __name__})
