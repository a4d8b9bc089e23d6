"""How much of what could be tried is tried in the normal line; the rest is for the marker and the profile ``long``."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings

__all__ = ["examples", "family", "register_profiles"]

_MORE: Final = 10


def register_profiles() -> None:
    """Let no property depend on the machine's speed, nor on luck, and make known the profiles with more examples.

    A change is judged by the same examples each time; `search` looks for new ones, as many as `long` has.
    """
    settings.register_profile(
        "normal", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True, database=None
    )
    settings.register_profile("long", settings.get_profile("normal"), max_examples=100 * _MORE)
    settings.register_profile("search", settings.get_profile("long"), derandomize=False)
    settings.load_profile("normal")


def examples(few: int, many: int | None = None) -> int:
    """`few`, or `many` (ten times as many). For properties whose examples are dear; others have Hypothesis' hundred."""
    return few if settings.get_current_profile_name() == "normal" else many or few * _MORE


def family(members: Iterable[Any], always: Collection[int] = (0,)) -> list[Any]:
    """The members of a family as parameters: those in these places for the normal line, the others for the long one.

    A member that is a tuple is several arguments.
    """
    return [
        pytest.param(
            *(member if isinstance(member, tuple) else (member,)), marks=[] if place in always else pytest.mark.long
        )
        for place, member in enumerate(members)
    ]
