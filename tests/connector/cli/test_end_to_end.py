"""From an API over HTTP into a real Postgres, with nothing but the command."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.connector.cli.conftest import SECRET
from tests.connector.cli.executable import EXECUTABLE, run
from tests.forking import Forked
from tests.waiting import PATIENCE


@contextmanager
def sandbox_command(stop: signal.Signals) -> Iterator[str]:
    """`vectorferry sandbox`, from its first words until the signal; yields what it said."""
    with Forked([EXECUTABLE, "sandbox", "--port", "0"], stdout=subprocess.PIPE) as process:
        assert process.stdout
        said = ""
        while "with any of these" not in said:
            line = process.stdout.readline()
            assert line, f"ended early: {said}"
            said += line
        try:
            yield said
        finally:
            process.send_signal(stop)
            assert process.wait(timeout=PATIENCE) == 0


def configure(base_url: str, api_key: str, database: str, schema: str) -> None:
    Path("vectorferry.yaml").write_text(
        f"name: media\nsource: {{type: mixpeek, base_url: '{base_url}', api_key: '{api_key}'}}\n"
        f"destinations: [{{type: pgvector, url: '{database}', schema: {schema}}}]\n"
    )


def test_a_sync_from_the_sandbox_into_postgres(postgres_url: str, schema: str) -> None:
    with sandbox_command(signal.SIGINT) as said:
        url, documents, twelvelabs = re.findall(r"base_url: (\S+)", said)
        assert (documents, twelvelabs) == (f"{url}/mixpeek-documents", f"{url}/v1.3")
        configure(url, re.findall(r"api_key: (\S+)", said)[0], postgres_url, schema)
        first = json.loads(run("sync", "--collection", "example", "--json").stdout)
        assert first["exit_code"] == 0
        assert first["collections"].keys() == {"example"}
        again = run("sync", "-q", "--collection", "example")
        assert (again.returncode, again.stderr) == (0, "")
        assert "pgvector: nothing was written, everything is up to date" in again.stdout
        unknown = run("sync", "--collection", "exampl")
        assert unknown.returncode == 2
        assert "example" in unknown.stderr

        configure(url, "${SHELF_KEY}", postgres_url, schema)
        refused = run("sync")
        assert refused.returncode == 1
        assert refused.stderr.startswith("vectorferry: ")
        assert len(refused.stderr.splitlines()) <= 2

    configure("http://127.0.0.1:9", "key", f"postgresql://user:{SECRET}@127.0.0.1:9/db", schema)
    for command in ("sync", "status"):
        unreachable = run(command)
        assert unreachable.returncode == 1
        assert unreachable.stderr.startswith("vectorferry: ")
        assert len(unreachable.stderr.splitlines()) <= 2


def test_the_sandbox_ends_well_when_terminated() -> None:
    with sandbox_command(signal.SIGTERM) as said:
        assert "until you press Ctrl-C" in said


@pytest.mark.parametrize("port", ["0", "1"])
def test_an_address_that_cannot_be_listened_on_is_bad_usage(port: str) -> None:
    done = run("sandbox", "--host", "192.0.2.1", "--port", port)
    assert done.returncode == 2
    assert done.stderr.startswith("vectorferry: Cannot listen on 192.0.2.1")
