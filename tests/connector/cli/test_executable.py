"""The real command in processes of its own: start-up, signals, terminals."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.connector.cli.executable import EXECUTABLE, environment, run
from tests.examples import family
from tests.forking import Forked, run_to_end
from tests.waiting import PATIENCE, wait_until
from vectorferry.connector.cli._app import COMMANDS, app
from vectorferry.connector.cli._signals import INTERRUPTED

HEAVY = ("dagster", "pandas", "pinecone", "psycopg", "sqlalchemy", "aiohttp", "httpx", "numpy", "pydantic", "yaml")

Configure = Callable[..., None]


@pytest.fixture
def environ(passable_path: Path) -> dict[str, str]:
    """This process's environment, with the plug-ins that a test configures."""
    return environment(passable_path / "site")


def test_help_imports_nothing_heavy(environ: dict[str, str]) -> None:
    script = (
        "import sys; from vectorferry.connector.cli import main\n"
        "try: main()\n"
        f"finally: print('heavy:', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "--help"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    for command in COMMANDS:
        assert f" {command} " in done.stdout
    assert "heavy: []" in done.stdout


def test_a_destination_loads_no_other_one(environ: dict[str, str]) -> None:
    script = "import sys, vectorferry.destinations.pgvector; assert 'pinecone' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], env=environ, timeout=PATIENCE, check=True)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_a_command_what_the_command_says(name: str) -> None:
    said = CliRunner().invoke(app, [name, "--help"])
    assert said.exit_code == 0
    assert " ".join(COMMANDS[name].split()) in " ".join(said.stdout.split())


def test_the_version_is_the_package_s(environ: dict[str, str]) -> None:
    assert run("--version", environ=environ, how=subprocess.Popen).stdout.startswith("vectorferry 0.")


@pytest.mark.parametrize(
    ("mishap", "exit_code"), [("interrupt", 130), ("terminate", 143), ("terminate in a task", 143)]
)
def test_a_signal_ends_a_run_with_one_line(
    configured: Configure, environ: dict[str, str], mishap: str, exit_code: int
) -> None:
    configured(f"mishap: {mishap}")
    done = run("sync", environ=environ)
    assert done.returncode == exit_code
    assert done.stderr == "vectorferry: interrupted; what was committed stays, run again to go on\n"
    assert Path("closed").exists()


@pytest.mark.long
def test_a_job_in_the_background_can_be_terminated(configured: Configure, environ: dict[str, str]) -> None:
    configured("mishap: terminate in a task")
    done = subprocess.run(
        ["sh", "-c", f"trap '' INT; exec {EXECUTABLE} sync"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, len(done.stderr.splitlines())) == (143, 1)


def begin(
    *arguments: str, environ: Mapping[str, str], how: Callable[..., subprocess.Popen[str]] = Forked
) -> subprocess.Popen[str]:
    return how([EXECUTABLE, *arguments], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_run_that_nothing_can_interrupt_ends_all_the_same(configured: Configure, environ: dict[str, str]) -> None:
    configured("mishap: hang")
    with begin("sync", "--json", environ=environ) as process:
        wait_until(Path("hangs").exists)
        process.send_signal(signal.SIGTERM)
        printed, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143
    assert said == f"vectorferry: {INTERRUPTED}\n"
    assert json.loads(printed) == {"error": INTERRUPTED, "exit_code": 143}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_start_up_shows_no_traceback(
    environ: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    begun = tmp_path / "importing"
    (tmp_path / "orjson.py").write_text(f"import time\nopen({str(begun)!r}, 'w').close()\ntime.sleep(3_600)\n")
    slow = {**environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{environ['PYTHONPATH']}"}
    with begin("sync", "--json", environ=slow, how=subprocess.Popen) as process:
        wait_until(begun.exists)
        process.send_signal(number)
        printed, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number
    assert said == "vectorferry: interrupted before anything was done\n"
    assert json.loads(printed) == {"error": "interrupted before anything was done", "exit_code": 128 + number}


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    family([(["sync"], 141), (["sync", "--json"], 141), (["--help"], 141), (["--jsn"], 2)], always=(1,)),
)
def test_a_reader_that_has_gone_is_no_failure(
    configured: Configure, environ: dict[str, str], arguments: list[str], exit_code: int
) -> None:
    configured()
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [EXECUTABLE, *arguments], env=environ, stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert done.returncode == exit_code
    assert "Traceback" not in done.stderr
    assert exit_code == 2 or done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "exit_code", "said"),
    [
        (["sync", "--json"], 3, ""),
        (["--version"], 1, "vectorferry: done, but the output could not be written: No space left on device\n"),
    ],
)
def test_what_a_command_amounts_to_counts_for_more_than_its_output(
    configured: Configure, environ: dict[str, str], arguments: list[str], exit_code: int, said: str
) -> None:
    configured("spoilt: 1")
    with (
        open("/dev/full", "w") as full,
        Forked([EXECUTABLE, *arguments], env=environ, stdout=full, stderr=subprocess.PIPE) as process,
    ):
        _, told = process.communicate(timeout=PATIENCE)
    assert (process.returncode, told) == (exit_code, said)


def test_a_log_file_on_a_full_disk_is_told_once_and_ends_nothing(
    configured: Configure, environ: dict[str, str]
) -> None:
    configured()
    done = run("sync", "--json", "-q", "--log-file", "/dev/full", environ=environ)
    assert (done.returncode, json.loads(done.stdout)["exit_code"]) == (0, 0)
    lacking = "the log file /dev/full lacks lines from here on, which could not be written"
    assert done.stderr == f"vectorferry: {lacking}: No space left on device\n"


def test_a_terminal_that_says_its_width_is_nothing_shows_what_others_show(
    configured: Configure, environ: dict[str, str]
) -> None:
    configured()
    assert "2 assets listed" in run("sync", environ={**environ, "COLUMNS": "0", "LINES": "0"}).stdout


@pytest.mark.parametrize("where", family(["/dev/full", "&-"]))
@pytest.mark.long
def test_nobody_has_to_hear_what_is_wrong(environ: dict[str, str], where: str) -> None:
    command = f"exec {EXECUTABLE} status -c nothing.yaml 2>{where}"
    assert subprocess.run(["sh", "-c", command], env=environ, check=False).returncode == 2


def test_a_crash_shows_its_traceback_only_when_asked_to(configured: Configure, environ: dict[str, str]) -> None:
    configured("mishap: crash")
    assert len(run("sync", environ=environ).stderr.splitlines()) == 1
    done = run_to_end([EXECUTABLE, "sync", "--json"], env={**environ, "VECTORFERRY_DEBUG": "1"})
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert json.loads(done.stdout) == {"error": "unexpected ZeroDivisionError", "exit_code": 1}


def test_a_name_that_is_not_utf_8_is_reported_as_any_other(environ: dict[str, str]) -> None:
    done = run("status", "-c", os.fsdecode(b"\xff.yaml"), "--json", environ=environ)
    assert done.returncode == 2
    assert "no such file" in json.loads(done.stdout)["error"]


@pytest.mark.parametrize("options", family([[], ["--json"]]), ids=str)
@pytest.mark.long
def test_a_terminal_without_utf_8_gets_the_result_all_the_same(
    configured: Configure, environ: dict[str, str], options: list[str]
) -> None:
    configured("collections: [filmö]")
    done = run("sync", *options, environ={**environ, "PYTHONIOENCODING": "ascii"}, how=subprocess.Popen)
    assert (done.returncode, done.stderr) == (0, "")
    if options:
        assert list(json.loads(done.stdout)["collections"]) == ["filmö"]
    else:
        assert "film?: 2 assets listed" in done.stdout


def test_a_terminal_gets_a_progress_bar_and_the_result_stays_plain(
    configured: Configure, environ: dict[str, str]
) -> None:
    configured("assets: 5")
    ours, theirs = pty.openpty()
    with Forked(
        [EXECUTABLE, "sync", "--json"], env={**environ, "TERM": "xterm"}, stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = read_terminal(ours)
        assert process.stdout
        printed = process.stdout.read()
    assert process.returncode == 0
    assert "5/5" in shown
    assert "films" in shown
    assert printed.startswith("{")
    assert "\x1b" not in printed


def read_terminal(descriptor: int) -> str:
    """Everything until the other end is closed, which Linux reports as an error."""
    shown = b""
    with os.fdopen(descriptor, "rb", buffering=0) as terminal, contextlib.suppress(OSError):
        while chunk := terminal.read(65_536):
            shown += chunk
    return shown.decode()
