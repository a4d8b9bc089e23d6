"""How what was submitted moves on while it is looked at."""

from __future__ import annotations

from typing import Final, Protocol

__all__ = ["INDEXING", "UPLOADING", "looked_at", "upcoming"]

UPLOADING: Final = ("processing", "ready")
INDEXING: Final = ("pending", "queued", "indexing", "ready")


class Moving(Protocol):
    """Something that goes through states."""

    status: str
    upcoming: tuple[str, ...]

    def enter(self, status: str) -> None:
        """Change the state."""


def upcoming(states: tuple[str, ...], polls: int | None) -> tuple[str, ...]:
    """What follows the first of `states`, look by look, when each lasts this many; None: nothing ever does."""
    if polls is None:
        return ()
    return tuple(state for state in states[:-1] for _ in range(polls))[1:] + states[-1:]


def looked_at(thing: Moving) -> None:
    """Move on after an answer."""
    if thing.upcoming:
        status, *rest = thing.upcoming
        thing.upcoming = tuple(rest)
        if status != thing.status:
            thing.enter(status)
