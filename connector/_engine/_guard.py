"""Refuses deletes that look like a mistake at the source rather than a wish of its owner. Pure."""

from __future__ import annotations

import math
import shlex
from fractions import Fraction

from connector._errors import GuardRefusedError
from connector._settings import DeleteGuard

__all__ = ["check_deletes", "exact", "refusal", "refusal_to_empty"]


def check_deletes(
    guard: DeleteGuard, held: int, missing: int, listed: int, lister: str = "the source", gone: str = ""
) -> None:
    """Raise `GuardRefusedError` when `missing` of the `held` assets are too many to delete.

    `listed` is how many assets a complete scan of `lister` saw; `gone` the collection, where it has none by that name
    any more. Exactly `guard.max_share` of the held assets may go;
    an empty listing and the loss of everything are allowed only by a `max_share` of 1.
    """
    if why := refusal(guard, held, missing, listed, lister, gone):
        raise GuardRefusedError(f"nothing was deleted: {why}")


def refusal(
    guard: DeleteGuard, held: int, missing: int, listed: int, lister: str = "the source", gone: str = ""
) -> str | None:
    """Why `check_deletes` would refuse, and what allows it; None when it would not, or where nothing is deleted."""
    if guard.mode == "keep":
        return None
    may_go = exact(guard.max_share) * held
    if missing <= may_go:
        return None
    # A share of few assets would have to be worked out by hand, so the advice there is the one that always works.
    less_than_one = 0 < may_go < 1
    share = 1 if less_than_one else math.ceil(100 * Fraction(missing, held)) / 100
    allowed = f"{guard.max_share:.0%} may" + (f", which is less than one of {held}" if less_than_one else "")
    # Only a run of all collections settles one that is gone, and a share would hold for each of them.
    allow = f"--allow-deletes-of {shlex.quote(gone)}" if gone else f"--allow-deletes {share:g}"
    return (
        f"{lister} {_seen(listed, gone)}, so {missing} of {held} assets would go, and at most {allowed}. "
        f"If they are really gone, allow it once with {allow}, or set deletes.max_share."
    )


def _seen(listed: int, gone: str) -> str:
    if gone:
        return f"no longer has the collection {gone}"
    return f"listed {listed} assets" if listed else "listed no asset at all"


def refusal_to_empty(guard: DeleteGuard, held: int) -> str | None:
    """Why a table of `held` rows would not be emptied because the source lists none, and what allows it; else None."""
    if not held or guard.max_share == 1 or guard.mode == "keep":
        return None
    return (
        f"the source listed no row at all, so all {held} would go. "
        "If they are really gone, allow it once with --allow-deletes 1, or set deletes.max_share."
    )


def exact(share: float) -> Fraction:
    return Fraction(repr(share))  # 0.29 as binary is a little less than 29 of 100
