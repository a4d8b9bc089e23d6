"""Where an embedded server may live: nobody else can have put it there, and the account that it runs as gets there."""

from __future__ import annotations

import os
import pwd
import secrets
import shlex
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from vectorferry.connector.plugin import DestinationError, SecurityFinding, pause
from vectorferry.destinations._embedded._programs import Account

if os.name == "posix":
    import fcntl
    import grp

STATE: Final = Path("/var/lib/vectorferry")
"""Root's data and programs, where the account that root's server runs as cannot reach them where they are."""


_GLANCE_SECONDS: Final = 0.01


def check_own(path: Path) -> None:
    """Raise `DestinationError` where somebody else could have made what is at this path, or could replace it.

    Every directory from the root on belongs to root or to us, and nobody else may write to it, except one with the
    sticky bit, in which everybody has entries of their own (``/tmp``). A link has the same owners, and so has the way
    that it points.
    """
    for component, problem in _replaceable(path):
        raise DestinationError(
            f"no embedded Postgres is made or used in {path}: {component} {problem}, "
            "who could put another one in its place.\n"
            "Set `directory` to a place of your own, run as that user, or set `url` to a Postgres."
        )


def _replaceable(path: Path) -> Iterator[tuple[Path, str]]:
    """What on the way there somebody else could have made, or could replace, and why; all that is there, once."""
    absolute, seen = Path(os.path.abspath(path)), set[Path]()
    for way in (absolute, Path(os.path.realpath(absolute))):
        for component in (*reversed(way.parents), way):
            try:
                status = component.lstat()
            except FileNotFoundError:
                break
            if component not in seen and (problem := _problem(status)):
                yield component, problem
            seen.add(component)


_PRIVATE: Final = ("log", "log.before", "server.lock", "users.lock")
_OF_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def check_directory(directory: Path, account: Account) -> Iterator[SecurityFinding]:
    """What others may do on the way to an embedded server, and with what is there. Starts nothing."""
    for component, problem in _replaceable(directory):
        move = "Set `directory` to a place of your own, or take the right away: chmod go-w"
        yield SecurityFinding(f"{component}", f"{problem}, who could put another server in its place", move)
    data = directory / "data"
    for path in (data.resolve(), *(directory / name for name in _PRIVATE)):
        if not path.exists() or path.is_symlink():
            continue
        status = path.stat()
        if status.st_mode & _OF_OTHERS:
            mode = f"has the mode {stat.S_IMODE(status.st_mode):o}, with rights for others than its owner"
            yield SecurityFinding(f"{path}", mode, f"chmod go= {shlex.quote(str(path))}")
        if status.st_uid not in {os.geteuid(), account.user}:
            yield SecurityFinding(f"{path}", f"belongs to {_name(status.st_uid)}", "Remove it, or run as that user.")


def check_data(data: Path, account: Account) -> None:
    """Raise `DestinationError` for data that is not the account's own: its settings name programs to run."""
    owner = data.lstat()
    if owner.st_uid != (os.geteuid() if account.user is None else account.user) or not stat.S_ISDIR(owner.st_mode):
        raise DestinationError(
            f"the data in {data} belongs to {_name(owner.st_uid)}, whose server is not ours to start.\n"
            f"{_advice(data, owner, account)}, set `directory` to a place of your own, or set `url` to a Postgres."
        )


def _advice(data: Path, owner: os.stat_result, account: Account) -> str:
    if owner.st_uid != os.geteuid() or account.user is None:
        return "Run as that user"
    # Root's server runs as another user, and what root copies or checks out belongs to root.
    return f"If it is your own copy, run chown -R {user_name(account) or account.user}: {shlex.quote(str(data))}"


def reachable(path: Path, account: Account) -> bool:
    """Whether the account can pass the directories above a path. Ours can go where we can."""
    return account.user is None or all(
        status.st_mode & stat.S_IXOTH or status.st_uid == account.user
        for status in (directory.stat() for directory in path.resolve().parents)
    )


def check_link(link: Path) -> None:
    """Raise `DestinationError` for a link that `place_for_data` has not led to."""
    if not link.is_symlink():
        return
    target = link.parent / link.readlink()
    if target.parent != STATE:
        raise DestinationError(f"{link} is a link to {target}, which no embedded Postgres has made; remove it.")
    check_own(target.parent)


def place_for_data(link: Path, account: Account) -> Path:
    """Where to make data that will be found at this path: there, or where the account can reach it, with a link to it.

    The link comes first: whoever is killed before the data is whole has left a place that the next start finds."""
    if link.is_symlink():
        return link.parent / link.readlink()
    if reachable(link, account):
        return link
    link.symlink_to(elsewhere := _state() / f"data-{secrets.token_hex(8)}")
    return elsewhere


def reachable_programs(directory: Path, account: Account) -> Path:
    """The directory with these programs: itself, or a copy of it that the account can reach."""
    server = directory / "postgres"
    if reachable(server, account) and (account.user is None or server.stat().st_mode & stat.S_IXOTH):
        return directory
    package, mark = directory.parents[1], server.stat()
    copied = _state() / f"programs-{mark.st_size:x}-{mark.st_mtime_ns:x}"
    with _alone_in(copied.parent):
        if copied.exists():
            return copied / directory.relative_to(package.parent)
        fresh = copied.with_name(f"{copied.name}.new")
        if fresh.exists():  # of one who was killed meanwhile
            shutil.rmtree(fresh)
        # The programs find their libraries beside the wheel's package, by a path relative to their own.
        libraries = package.with_name(f"{package.name}.libs")
        for tree in (directory.parent, libraries) if libraries.exists() else (directory.parent,):
            shutil.copytree(tree, fresh / tree.relative_to(package.parent), symlinks=True)
        for file in (fresh, *fresh.rglob("*")):
            if not file.is_symlink():
                mode = file.stat().st_mode
                file.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))
        fresh.rename(copied)
    return copied / directory.relative_to(package.parent)


def user_name(account: Account) -> str | None:
    """What the kernel's number of this user is called; None where it has no name, as in many containers."""
    try:
        return pwd.getpwuid(os.geteuid() if account.user is None else account.user).pw_name
    except KeyError:
        return None


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Nobody else who asks for this is in here meanwhile; the kernel lets others in when we die."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            pause(_GLANCE_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _state() -> Path:
    STATE.mkdir(mode=0o755, parents=True, exist_ok=True)
    check_own(STATE)
    return STATE


def _problem(status: os.stat_result) -> str | None:
    if status.st_uid not in {0, os.geteuid()}:
        return f"belongs to {_name(status.st_uid)}"
    if not stat.S_ISDIR(status.st_mode) or status.st_mode & stat.S_ISVTX:
        return None
    if status.st_mode & stat.S_IWOTH:
        return "can be written to by everybody"
    if status.st_mode & stat.S_IWGRP and (others := sorted(_others_in(status.st_gid))):
        return f"can be written to by the user {others[0]}"
    return None


def _others_in(group: int) -> Iterator[str]:
    """Who else is in a group, as far as it is known: many systems give everybody a group of their own."""
    if group == 0:
        return
    us = {"root", user_name(Account())}
    try:
        members: set[str] = set(grp.getgrgid(group).gr_mem)
    except KeyError:
        members = set()
    yield from {*members, *(entry.pw_name for entry in pwd.getpwall() if entry.pw_gid == group)} - us


def _name(user: int) -> str:
    try:
        return f"the user {pwd.getpwuid(user).pw_name}"
    except KeyError:
        return f"the user {user}"
