"""The servers that all peers write into, on ports of loopback: a Postgres with pgvector, and a local Pinecone."""

from __future__ import annotations

import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psutil
import psycopg
from pinecone import Pinecone, ServerlessSpec
from psycopg import pq, sql

from tests.sandbox_process import sandbox_process
from tests.waiting import wait_until
from vectorferry.connector.sandbox import GeneratedCatalogue, GeneratedIndexes, SandboxSettings
from vectorferry.destinations._embedded._place import reachable_programs
from vectorferry.destinations._embedded._programs import server_account, wheel_programs

from .states import Stored

__all__ = ["INDEX", "NAMESPACE", "PineconeServer", "PostgresServer", "pinecone_server", "postgres_server"]

INDEX: Final = "peers"
NAMESPACE: Final = "peers"


class PostgresServer:
    """A server with default settings, in which everybody gets a new database."""

    def __init__(self, port: int, process: psutil.Process) -> None:
        self.port = port
        self._process = process

    def new_database(self, name: str) -> None:
        """An empty one with the extension, in place of what was there."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            connection.execute("CHECKPOINT")
        with psycopg.connect(self.url(name), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")

    def url(self, database: str, port: int | None = None) -> str:
        """Its address, or that through a relay."""
        return f"postgresql://postgres:none@127.0.0.1:{port or self.port}/{database}"

    def rows(self, database: str, query: str) -> list[Stored]:
        """What the query gives; nothing where its tables are not there yet."""
        with psycopg.connect(self.url(database)) as connection:
            try:
                return list(connection.execute(query.encode()))
            except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
                return []

    def wait_until_alone(self, database: str) -> None:
        """Until the server has seen that a killed client's connections are gone."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            others = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
            wait_until(lambda: connection.execute(others, [database]).fetchone() == (0,))

    def cpu(self) -> float:
        """CPU seconds of all its processes, those that have ended included."""
        own = self._process.cpu_times()
        total = own.children_user + own.children_system
        for child in self._process.children():
            times = child.cpu_times()
            total += times.user + times.system
        return float(total)

    def version(self) -> str:
        """Of the server and its extension."""
        with psycopg.connect(self.url("postgres")) as connection:
            extension = "SELECT default_version FROM pg_available_extensions WHERE name = 'vector'"
            (server,) = connection.execute("SHOW server_version").fetchone() or ("?",)
            (vector,) = connection.execute(extension).fetchone() or ("?",)
        return f"PostgreSQL {server}, pgvector {vector}"


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run one until the block ends; its data go with it."""
    account = server_account()
    programs = reachable_programs(wheel_programs(), account)
    with tempfile.TemporaryDirectory(prefix="peers-") as directory:
        Path(directory).chmod(0o755)
        data = Path(directory) / "data"
        data.mkdir(mode=0o700)
        account.own(data)
        start = {"cwd": "/", "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **account.of_process}
        fresh = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]
        subprocess.run([programs / "initdb", *fresh, "-D", data], check=True, **start)
        port = _free_port()
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", f"port={port}", "-c", "unix_socket_directories="]
        with subprocess.Popen([programs / "postgres", "-D", data, *settings], **start) as process:
            server = PostgresServer(port, psutil.Process(process.pid))
            wait_until(lambda: pq.PGconn.ping(server.url("postgres").encode()) == pq.Ping.OK)
            try:
                yield server
            finally:
                process.send_signal(signal.SIGINT)  # ends sessions too


class PineconeServer:
    """A local Pinecone, over HTTP, that waits a while before every answer."""

    def __init__(self, url: str, api_key: str) -> None:
        self.url = url
        self.api_key = api_key
        self._client: Any = Pinecone(api_key=api_key, host=url)

    def begin_anew(self) -> None:
        """Without any index."""
        for index in self._client.list_indexes():
            self._client.delete_index(index.name)

    def new_index(self, dimension: int) -> int:
        """An empty one; the port of its host."""
        place = ServerlessSpec(cloud="aws", region="us-east-1")
        self._client.create_index(name=INDEX, dimension=dimension, metric="cosine", spec=place)
        return urlsplit(self._client.describe_index(INDEX).host).port or 0

    def rows(self) -> Iterator[Stored]:
        """All records of all indexes."""
        for name in [index.name for index in self._client.list_indexes()]:
            with self._client.Index(host=self._client.describe_index(name).host) as index:
                for page in index.list(namespace=NAMESPACE):
                    fetched = index.fetch(ids=[record.id for record in page.vectors], namespace=NAMESPACE)
                    yield from map(_stored, fetched.vectors.values())

    def close(self) -> None:
        """Its own connections."""
        self._client.close()


def _stored(record: Any) -> Stored:
    """Our own names differ from those that the SDK's runner chose."""
    said = record.metadata
    text, author = said.get("transcription", said.get("text")), said.get("metadata.author", said.get("author"))
    start = said.get("start_time", said.get("start"))
    return said.get("feature_id", record.id), text, author, start, record.values


@contextmanager
def pinecone_server(latency_ms: float) -> Iterator[PineconeServer]:
    """Run one until the block ends."""
    nothing = {"generate": GeneratedCatalogue(assets=0), "generate_twelvelabs": GeneratedIndexes(assets=0)}
    settings = SandboxSettings(latency_ms=latency_ms, **nothing)
    with sandbox_process(settings) as url:
        server = PineconeServer(url, settings.api_key)
        try:
            yield server
        finally:
            server.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
