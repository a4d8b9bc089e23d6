"""Media in versions, so that a test can change the source and change it back to what it was, times included."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from vectorferry.connector.sandbox import Sandbox, SandboxSettings
from vectorferry.connector.sandbox._faults import Action

__all__ = ["ASSETS", "PARTS", "VERSIONS", "Content", "Service", "Wrong", "asset_name", "words"]

ASSETS: Final = 12

Content: TypeAlias = Mapping[int, int]
"""Which assets there are, by number, and in which version."""

Part: TypeAlias = Mapping[str, Any]
"""What one piece of an asset is about: its name, the first number of its vector, and what is said about it."""

PARTS: Final = ("same", "retold", "untagged", "redrawn", "dropped", "added")

VERSIONS: Final[Sequence[Sequence[Part]]] = (
    [
        {"part": "same"},
        {"part": "retold", "author": "ada"},
        {"part": "untagged", "tag": "blue"},
        {"part": "redrawn", "value": 1.0},
        {"part": "dropped"},
    ],
    [
        {"part": "same"},
        {"part": "retold", "author": "grace"},
        {"part": "untagged"},
        {"part": "redrawn", "value": 2.0},
        {"part": "added"},
    ],
    [{"part": "same"}, {"part": "redrawn", "value": 3.0}],
)
"""The second leaves a record as it is, changes metadata, takes a key away, changes vectors, drops one and adds one; the
third drops some of both."""

Wrong: TypeAlias = tuple[str, Action, Sequence[str]]
"""What is wrong with an answer, how it is made so, and the routes whose answers can be wrong in this way."""


def asset_name(number: int) -> str:
    """A name that sorts like the number."""
    return f"asset-{number:02}"


def words(part: Part) -> Mapping[str, Any]:
    """What is said about a part, beyond its name and its numbers."""
    return {key: value for key, value in part.items() if key not in {"part", "value"}}


class Service(ABC):
    """A service that a sandbox serves, with what differs from one to the other: all that these tests know of it."""

    name: str
    collection: str
    listing: str
    """The route that lists assets."""

    reading: Sequence[str]
    """The routes that an asset is read from; the first answers with what is in it."""

    recovers: bool = False
    """Whether an asset that does not come once is asked for in another way."""

    wrong: Sequence[Wrong]

    plausible: Sequence[Wrong]
    """Answers that nobody can tell from right ones: they hold less than there is, or something else."""

    @abstractmethod
    def serve(self, sandbox: Sandbox, content: Content) -> None:
        """Let the source hold this, and nothing else."""

    @abstractmethod
    def source(self, url: str, api_key: str) -> dict[str, Any]:
        """The settings of a source that reads from a sandbox at this address, a few requests at a time."""

    @abstractmethod
    def generated(self, assets: int, features: int) -> SandboxSettings:
        """A sandbox of two collections with so many assets together, each with so many features of modality video."""

    def __str__(self) -> str:
        return self.name
