"""Everybody who uses the embedded Postgres can rely on it, and it is gone with the last of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vectorferry.destinations import EmbeddedPostgres

from ..forking import Forked
from ..waiting import wait_until
from .embedded_processes import HOLD, answers, held_elsewhere, moved, run_python, servers

FORGET = HOLD.replace("sys.stdin.read()", "")

FORK = """
import os, sys, pathlib, psycopg
from vectorferry import destinations
server = destinations.EmbeddedPostgres(pathlib.Path(sys.argv[1]))
if os.fork() == 0:
    server.close()
    sys.exit()
os.wait()
with psycopg.connect(server.url) as connection:
    print(connection.execute("SELECT 'answered'").fetchone()[0])
"""

OPEN_OFTEN = """
import sys, pathlib, psycopg
from vectorferry import destinations
for _ in range(6):
    with destinations.EmbeddedPostgres(pathlib.Path(sys.argv[1])) as server:
        psycopg.connect(server.url).close()
print("done")
"""

ADOPT_WITHOUT_REAPING = f"""
import ctypes, pathlib, subprocess, sys
from vectorferry import destinations
PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
hold = subprocess.Popen([sys.executable, "-c", {HOLD!r}, sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
hold.stdout.readline()
hold.kill()
hold.wait()
destinations.EmbeddedPostgres(pathlib.Path(sys.argv[1])).close()
print("done")
"""


@pytest.mark.long
def test_two_users_in_one_process_share_it(made_directory: Path) -> None:
    first = EmbeddedPostgres(made_directory)
    second = EmbeddedPostgres(made_directory)
    assert first.url == second.url
    first.close()
    first.close()
    assert answers(second.url)
    second.close()
    assert servers(made_directory) == []


@pytest.mark.long
def test_two_directories_in_one_process_do_not_mix(made_directory: Path, passable_path: Path) -> None:
    with EmbeddedPostgres(made_directory) as a:
        with EmbeddedPostgres(passable_path / "b") as b:
            assert servers(made_directory) != servers(passable_path / "b")
            assert answers(b.url)
        assert servers(passable_path / "b") == []
        assert answers(a.url)


def test_another_process_keeps_it_alive(made_directory: Path) -> None:
    with held_elsewhere(made_directory):
        (running,) = servers(made_directory)
        with EmbeddedPostgres(made_directory) as server:
            assert answers(server.url)
        assert servers(made_directory) == [running]
    assert servers(made_directory) == []


def test_what_a_process_forgets_is_closed_when_it_ends(made_directory: Path) -> None:
    done = run_python(FORGET, made_directory)
    assert done.stdout.startswith("postgresql://")
    assert servers(made_directory) == []


def test_a_forked_child_does_not_take_it_along(made_directory: Path) -> None:
    assert run_python(FORK, made_directory).stdout == "answered\n"
    assert servers(made_directory) == []


def test_a_killed_user_does_not_keep_it_alive(made_directory: Path) -> None:
    with held_elsewhere(made_directory) as holder:
        holder.send_signal(signal.SIGKILL)
    (orphan,) = servers(made_directory)
    with EmbeddedPostgres(made_directory) as server:
        assert servers(made_directory) == [orphan]
        assert answers(server.url)
    assert servers(made_directory) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process adopt orphans")
@pytest.mark.long
def test_nobody_waits_for_a_process_that_stays_a_zombie(made_directory: Path) -> None:
    assert run_python(ADOPT_WITHOUT_REAPING, made_directory).stdout == "done\n"


def test_a_killed_server_is_started_again_for_the_next_user(made_directory: Path) -> None:
    with EmbeddedPostgres(made_directory):
        (running,) = servers(made_directory)
        os.kill(running, signal.SIGKILL)
        wait_until(lambda: servers(made_directory) == [])
        with EmbeddedPostgres(made_directory) as server:
            assert answers(server.url)


@pytest.mark.long
def test_many_may_come_and_go_at_once(passable_path: Path) -> None:
    command = [sys.executable, "-c", OPEN_OFTEN, str(passable_path / "data")]
    users = [Forked(command, stdout=subprocess.PIPE) for _ in range(3)]
    assert [user.communicate()[0] for user in users] == ["done\n"] * 3
    assert servers(passable_path / "data") == []


@pytest.mark.long
def test_a_removed_directory_is_no_error(made_directory: Path) -> None:
    server = EmbeddedPostgres(made_directory)
    (running,) = servers(made_directory)
    with moved(made_directory, "elsewhere"):
        server.close()
    os.kill(running, signal.SIGINT)
    wait_until(lambda: servers(made_directory) == [])
