"""What becomes of an asset that is read: all of it, nothing for now, or a reason to set it aside."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from connector._errors import QuarantineError, VectorferryError
from connector._records import Asset, Listing, Reason, Rejected
from connector.http import RefusedError, UnreadableError, one_line, segment

__all__ = ["LeftOutError", "check_id", "outcome"]

log = logging.getLogger(__name__)


class LeftOutError(VectorferryError):
    """This run leaves the asset as it is, and the next one looks at it again."""


async def outcome(listing: Listing, read: Callable[[Listing], Awaitable[Asset]]) -> Asset | Rejected | None:
    """The asset; None when it is left out; a `Rejected` when the service gave no usable answer for it
    (`Reason.UNREADABLE`) or it cannot be read as it is."""
    try:
        return await read(listing)
    except LeftOutError as why:
        log.warning("Asset %s is left out, the next run looks again: %s.", one_line(listing.asset_id), why)
        return None
    except QuarantineError as error:
        return Rejected(listing.asset_id, Reason(error.reason), str(error))
    except (UnreadableError, RefusedError) as error:
        return Rejected(listing.asset_id, Reason.UNREADABLE, str(error))


def check_id(asset_id: str) -> None:
    """Raises `QuarantineError` for an id that cannot be part of an address."""
    try:
        segment(asset_id)
    except ValueError:
        raise QuarantineError(Reason.BAD_ID, "the asset id cannot be part of an address") from None
