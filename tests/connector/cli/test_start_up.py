"""Ctrl-C while the command starts: at random moments, and none of them shows a traceback.

A moment is the n-th thing that Python imports or opens, as its audit events tell, so that a slow machine tries the same
ones. Until the command has read its first two files Python says what it says in any program: KeyboardInterrupt.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.connector.cli.executable import EXECUTABLE, environment
from tests.examples import family
from tests.waiting import PATIENCE, wait_until

MOMENTS = 20
FIRST = 20
EVENTS = ("import", "open", "compile", "exec", "os.listdir", "socket.__new__", "socket.connect", "sqlite3.connect")

AUDITED = """
import atexit, os, signal, sys

moment, begun, count = int(os.environ["MOMENT"]), False, 0

def heard(event, arguments):
    global begun, count
    if event not in {events}:
        return
    begun = begun or (event == "import" and arguments[0] == "vectorferry")
    count += begun
    if begun and count == moment:
        os.kill(os.getpid(), signal.{name})

def tell():
    with open(os.environ["COUNTED"], "w") as file:
        file.write(str(count))

if not moment:
    atexit.register(tell)
sys.addaudithook(heard)
"""


@pytest.fixture
def site(passable_path: Path, configured: Callable[..., None]) -> Path:
    """Where Python finds plug-ins, and what signals itself."""
    configured("assets: 2")
    return passable_path / "site"


def started(site: Path, moment: int, name: str = "SIGINT") -> subprocess.CompletedProcess[str]:
    """A sync, which gets the signal at this moment; at 0 it gets none, and counts them."""
    (site / "sitecustomize.py").write_text(AUDITED.replace("{events}", repr(EVENTS)).replace("{name}", name))
    environ = environment(site) | {"MOMENT": str(moment), "COUNTED": str(site / "counted")}
    return subprocess.run(
        [EXECUTABLE, "sync", "--json"],
        env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def check(done: subprocess.CompletedProcess[str], number: int) -> None:
    """One line, one JSON object, and the exit code; or it was done already."""
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 128 + number)
    assert json.loads(done.stdout)["exit_code"] == done.returncode
    assert len(done.stderr.splitlines()) == (done.returncode != 0)


@pytest.mark.parametrize("name", family(["SIGINT", "SIGTERM"], always=()))
def test_no_moment_of_the_start_shows_a_traceback(site: Path, name: str) -> None:
    assert started(site, 0, name).returncode == 0
    moments = int((site / "counted").read_text())
    assert moments > 1_000
    for moment in [FIRST, *random.Random(16).sample(range(FIRST, moments), MOMENTS)]:
        check(started(site, moment, name), getattr(signal, name))


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="Linux tells what a process has loaded")
@pytest.mark.parametrize("library", ["orjson", "_pydantic_core", "numpy", "multidict"])
def test_no_signal_from_outside_does(site: Path, library: str) -> None:
    """Sent by another process as soon as this much has been loaded."""
    with subprocess.Popen(
        [EXECUTABLE, "sync", "--json"], env=environment(site), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        maps = Path(f"/proc/{process.pid}/maps")
        wait_until(lambda: library in maps.read_text() or process.poll() is not None)
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=PATIENCE)
    check(subprocess.CompletedProcess("sync", process.returncode, printed, said), signal.SIGINT)
