"""The embedded Postgres starts for whoever needs it and is gone with the last of them."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest

from connector import DestinationError
from destinations import EmbeddedPostgres

from ..waiting import wait_until

HOLD = """
import sys, pathlib, destinations
server = destinations.EmbeddedPostgres(pathlib.Path(sys.argv[1]))
print(server.url, flush=True)
sys.stdin.read()
"""


def servers(directory: Path) -> list[int]:
    """Process ids of the postmasters of this data directory."""
    running = psutil.process_iter(["name", "cmdline"])
    named = [process for process in running if process.info["name"] == "postgres"]
    return [process.pid for process in named if str(directory) in (process.info["cmdline"] or [])]


def test_it_runs_while_open_and_keeps_its_data(passable_path: Path) -> None:
    directory = passable_path / "made on demand" / "data"
    with EmbeddedPostgres(directory) as server, psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
    assert servers(directory) == []
    with EmbeddedPostgres(directory) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchone() == (7,)
    assert servers(directory) == []


def test_two_users_in_one_process_share_it(passable_path: Path) -> None:
    first = EmbeddedPostgres(passable_path / "data")
    second = EmbeddedPostgres(passable_path / "data")
    assert first.url == second.url
    first.close()
    with psycopg.connect(second.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    second.close()
    assert servers(passable_path / "data") == []


def test_a_killed_user_does_not_keep_it_alive(passable_path: Path) -> None:
    directory = passable_path / "data"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().startswith("postgresql://")
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert servers(directory) != []
    EmbeddedPostgres(directory).close()
    wait_until(lambda: servers(directory) == [])


def test_what_went_wrong_is_said_with_the_place_to_look(passable_path: Path) -> None:
    (passable_path / "file").touch()
    with pytest.raises(DestinationError, match=r"(?s)did not start: .* set `url`"):
        EmbeddedPostgres(passable_path / "file" / "data")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_can_after_root_did(passable_path: Path) -> None:
    EmbeddedPostgres(passable_path / "roots").close()
    nobody = pwd.getpwnam("nobody")
    home = passable_path / "nobodys"
    home.mkdir()
    os.chown(home, nobody.pw_uid, nobody.pw_gid)
    if not _can_run_python(nobody.pw_uid):
        pytest.skip("this Python lies where no other user may go")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", HOLD, str(home / "data")],
        input="",
        capture_output=True,
        text=True,
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        env=environment,
        cwd=home,
        check=False,
    )
    assert done.stdout.startswith("postgresql://"), done.stderr
    assert servers(home / "data") == []


def _can_run_python(user: int) -> bool:
    try:
        return subprocess.run([sys.executable, "-c", ""], user=user, check=False).returncode == 0
    except PermissionError:
        return False
