"""What is in a file that nobody has described: scenes that are about its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from posixpath import basename
from typing import Final

from vectorferry.connector.sandbox._twelvelabs._things import Segment
from vectorferry.connector.sandbox._twelvelabs._vectors import MarengoVector

__all__ = ["LENGTH", "SCENES", "about", "imagined"]

SCENES: Final = 4
LENGTH: Final = 6.0


def about(filename: str) -> str:
    """The words of a file's name."""
    return basename(filename).rpartition(".")[0].replace("-", " ").replace("_", " ")


def imagined(filename: str, options: Sequence[str], model_name: str, dimension: int) -> Iterator[Segment]:
    """Four scenes of six seconds for each option."""
    for option in options:
        for scene in range(SCENES):
            vector = MarengoVector(f"{about(filename)} {option} scene {scene + 1}", model_name, dimension)
            yield Segment(scene * LENGTH, (scene + 1) * LENGTH, option, vector)
