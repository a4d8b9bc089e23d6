"""Refuses deletes that look like a mistake at the source rather than a wish of its owner. Pure."""

from __future__ import annotations

import math
from fractions import Fraction

from connector._errors import GuardRefusedError
from connector._settings import DeleteGuard

__all__ = ["check_deletes"]


def check_deletes(guard: DeleteGuard, held: int, missing: int, listed: int) -> None:
    """Raise `GuardRefusedError` when `missing` of the `held` assets are too many to delete.

    `listed` is how many assets a complete scan saw. Exactly `guard.max_share` of the held assets may go; an empty
    listing and the loss of everything are allowed only by a `max_share` of 1.
    """
    if missing <= _exact(guard.max_share) * held:
        return
    share = math.ceil(100 * Fraction(missing, held)) / 100
    seen = f"the source listed {listed} assets" if listed else "the source listed no asset at all"
    raise GuardRefusedError(
        f"nothing was deleted: {seen}, so {missing} of {held} assets would go, and at most {guard.max_share:.0%} may. "
        f"If they are really gone, allow it once with --allow-deletes {share:g}, or set deletes.max_share."
    )


def _exact(share: float) -> Fraction:
    return Fraction(repr(share))  # 0.29 as binary is a little less than 29 of 100
