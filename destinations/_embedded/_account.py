"""Whom the server runs as. Postgres refuses to run as root, so root hands it to a user without rights."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ._wheel import wheel_utilities

__all__ = ["Account", "server_account"]

_NAME: Final = "pgserver"


@dataclass(frozen=True)
class Account:
    """A user and a group, by number; `None` for both stays who we are."""

    user: int | None = None
    group: int | None = None

    @property
    def of_process(self) -> dict[str, Any]:
        """What makes `subprocess` start a process as this user, and with no further groups."""
        return {} if self.user is None else {"user": self.user, "group": self.group, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give a path to this user."""
        if self.user is not None and self.group is not None:
            os.chown(path, self.user, self.group, follow_symlinks=False)

    def let_through_to(self, path: Path) -> None:
        """Let this user pass, but not look into, the directories above a path."""
        if self.user is None:
            return
        for directory in {*path.parents, *path.resolve().parents}:
            status = directory.stat()
            if status.st_uid != self.user and not status.st_mode & stat.S_IXOTH:
                directory.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXOTH)


def server_account(data: Path) -> Account:
    """Ourselves; for root the owner of the data that is there, or a user of its own, made when missing."""
    if os.geteuid() != 0:
        return Account()
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    entry = wheel_utilities().ensure_user_exists(_NAME)
    return Account(entry.pw_uid, entry.pw_gid)
