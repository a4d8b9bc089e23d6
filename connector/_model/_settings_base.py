"""The one base that every settings object shares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from annotated_types import GroupedMetadata
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    StringConstraints,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)


class Settings(BaseModel):
    """Immutable, an unknown key is an error, and validation errors never repeat the input (it may be a key)."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _from_its_file(path: Path, info: ValidationInfo) -> Path:
    folder = info.context.get("folder") if isinstance(info.context, Mapping) else None
    return Path(folder, path.expanduser()) if folder is not None else path.expanduser()


PathFromFile: TypeAlias = Annotated[Path, AfterValidator(_from_its_file)]
"""A path that begins at the folder of the file that names it, or without a file at the working directory. A component
file of Dagster's is a part of a project, so that its paths begin at the project's folder. A default is not validated:
`model_validate` has to be given it."""


@dataclass(frozen=True, slots=True)
class Spelling(GroupedMetadata):
    """How a text has to be spelled: a pattern, and the same in words, since a regular expression is no message.

    For ``Annotated[str, Spelling(...)]``.
    """

    pattern: str
    words: str
    max_length: int | None = None

    def __iter__(self) -> Iterator[Any]:
        """What pydantic reads."""
        yield from StringConstraints(pattern=self.pattern, max_length=self.max_length)
        yield WrapValidator(self._worded)

    def _worded(self, value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError as error:
            if error.errors(include_url=False, include_input=False)[0]["type"] == "string_type":
                raise
            raise ValueError(f"should be {self.words}") from None
