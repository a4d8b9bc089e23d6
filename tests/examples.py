"""How many examples a property is tried with: few in the normal line, ten times as many with the profile ``long``."""

from __future__ import annotations

from typing import Final

from hypothesis import HealthCheck, settings

__all__ = ["examples", "register_profiles"]

_MORE: Final = 10


def register_profiles() -> None:
    """Let no property depend on the machine's speed, and make known what `--hypothesis-profile long` means."""
    settings.register_profile("normal", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("long", settings.get_profile("normal"), max_examples=100 * _MORE)
    settings.load_profile("normal")


def examples(few: int) -> int:
    """`few`, or many. For properties whose examples are dear; the others have Hypothesis' hundred."""
    return few * _MORE if settings.get_current_profile_name() == "long" else few
