"""The one base that every settings object shares."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["Settings"]


class Settings(BaseModel):
    """Immutable, an unknown key is an error, and validation errors never repeat the input (it may be a key)."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
