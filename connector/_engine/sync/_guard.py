"""Refuses deletes that look like a mistake at the source rather than a wish of its owner. Pure."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable
from fractions import Fraction

from vectorferry.connector._config._settings import DeleteGuard, RunGuard
from vectorferry.connector._model._errors import GuardRefusedError


def check_deletes(
    guard: DeleteGuard, stored: int, missing: int, listed: int, lister: str = "the source", gone: str = ""
) -> None:
    """Raise `GuardRefusedError` when `missing` of the `stored` assets are too many to delete.

    `listed` is how many assets a complete scan of `lister` saw; `gone` the collection, where it has none by that name
    any more. Exactly `guard.max_share` of the held assets may go;
    an empty listing and the loss of everything are allowed only by a `max_share` of 1.
    """
    if why := refusal(guard, stored, missing, listed, lister, gone):
        raise GuardRefusedError(f"nothing was deleted: {why}")


def refusal(
    guard: DeleteGuard, stored: int, missing: int, listed: int, lister: str = "the source", gone: str = ""
) -> str | None:
    """Why `check_deletes` would refuse, and what allows it; None when it would not, or where nothing is deleted."""
    if guard.mode == "keep":
        return None
    may_go = exact(guard.max_share) * stored
    if missing <= may_go:
        return None
    # A share of few assets would have to be worked out by hand, so the advice there is the one that always works.
    less_than_one = 0 < may_go < 1
    share = 1 if less_than_one else math.ceil(100 * Fraction(missing, stored)) / 100
    allowed = f"{guard.max_share:.0%} may" + (f", which is less than one of {stored}" if less_than_one else "")
    # Only a run of all collections settles one that is gone, and a share would hold for each of them.
    allow = f"--allow-deletes-of {shlex.quote(gone)}" if gone else f"--allow-deletes {share:g}"
    if changes := changes_of(guard):
        return (
            f"{missing} of {stored} assets would go, but {lister} is {read_differently(changes)}: it may only not see "
            f"them. Check its settings, and that no other sync fills the same tables; or if they are really gone, "
            f"allow it once with {allow}."
        )
    return (
        f"{lister} {_listing(listed, gone)}, so {missing} of {stored} assets would go, and at most {allowed}. "
        f"If they are really gone, allow it once with {allow}, or set deletes.max_share."
    )


def _listing(listed: int, gone: str) -> str:
    if gone:
        return f"no longer has the collection {gone}"
    return f"listed {listed} assets" if listed else "listed no asset at all"


def refusal_of_rows(guard: DeleteGuard, stored: int, missing: int, listed: int) -> str | None:
    """Why `missing` of a table's `stored` rows would not be deleted, where the source lists `listed`, and what allows
    it; else None. Some rows may always go, but not after a change of who reads them; never all because none is listed.
    """
    if not missing or guard.mode == "keep":
        return None
    if changes := changes_of(guard):
        return (
            f"{missing} of {stored} rows would go, but the source is {read_differently(changes)}: it may only not see "
            "them. Check its settings, or if they are really gone, allow it once with --allow-deletes 1."
        )
    if listed or guard.max_share == 1:
        return None
    return (
        f"the source listed no row at all, so all {stored} would go. "
        "If they are really gone, allow it once with --allow-deletes 1, or set deletes.max_share."
    )


def read_differently(changes: Iterable[str]) -> str:
    """What is different about who reads, in half a sentence."""
    return f"not read as it was when this was last complete ({'; '.join(changes)})"


def changes_of(guard: DeleteGuard) -> tuple[str, ...]:
    """What is different about who reads, where a guard is there because of that."""
    return guard.changes if isinstance(guard, RunGuard) else ()


def exact(share: float) -> Fraction:
    """The share as it is written."""
    return Fraction(repr(share))  # 0.29 as binary is a little less than 29 of 100
