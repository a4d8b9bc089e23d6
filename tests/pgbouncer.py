"""PgBouncer in front of a Postgres, as Debian packages it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from psycopg import pq
from sqlalchemy.engine import make_url

from vectorferry.destinations._embedded._programs import Account

from .waiting import wait_until

__all__ = ["PoolMode", "pgbouncer"]

PoolMode = Literal["transaction", "session", "statement"]


@contextmanager
def pgbouncer(
    url: str, directory: Path, size: int, mode: PoolMode = "transaction", **settings: int | str | Path
) -> Iterator[str]:
    """The address of a pool with so many connections to a Postgres that is reached through a socket, and with further
    settings. Skips where there is no PgBouncer."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        pytest.skip("there is no pgbouncer here: apt-get install pgbouncer")
    server, port = make_url(url), _free_port()
    log, file = directory / f"pgbouncer-{port}.log", directory / f"pgbouncer-{port}.ini"
    file.write_text(
        "[databases]\n"
        f"* = host={server.query['host']} port={server.query['port']} user={server.username}\n"
        "[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        f"pool_mode = {mode}\ndefault_pool_size = {size}\n"
        + "".join(f"{name} = {value}\n" for name, value in settings.items())
    )
    owner = Path(str(server.query["host"])).stat()
    account = Account(owner.st_uid, owner.st_gid) if os.geteuid() == 0 else Account()
    with log.open("wb") as output:
        process = subprocess.Popen([program, file], cwd="/", stdout=output, stderr=output, **account.of_process)
    address = f"postgresql://anybody@127.0.0.1:{port}/{server.database}"
    try:
        wait_until(lambda: process.poll() is not None or pq.PGconn.ping(address.encode()) == pq.Ping.OK)
        assert process.poll() is None, log.read_text()
        yield address
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
