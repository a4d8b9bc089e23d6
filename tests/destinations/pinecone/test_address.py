"""Which hosts get the key: Pinecone's, and the one that was configured."""

from __future__ import annotations

import socket
import ssl
from contextlib import closing, suppress
from pathlib import Path
from threading import Thread

import psycopg
import pytest

from vectorferry.connector.plugin import DestinationError, Modality, SearchQuery
from vectorferry.connector.sandbox import Sandbox
from vectorferry.destinations.pinecone._bodies import Body, Envelope
from vectorferry.destinations.pinecone._errors import index_address
from vectorferry.destinations.pinecone._requests import Requests, Write, WriterLimits

from ...builders import asset, batch, feature
from ...certificates import self_signed_context
from ...pinecone import pinecone_destination
from .conftest import Open

NOTHING = Envelope(b"{", b"}", 1)
CLOUD = "https://api.pinecone.io"


@pytest.mark.parametrize(
    ("host", "control_plane", "url"),
    [
        ("media-1a2b.svc.aped-4627-b74a.pinecone.io", CLOUD, "https://media-1a2b.svc.aped-4627-b74a.pinecone.io"),
        ("https://m.svc.private.aped-1.PINECONE.io", CLOUD, "https://m.svc.private.aped-1.PINECONE.io"),
        ("m.svc.pinecone.io", "https://pinecone.internal", "https://m.svc.pinecone.io"),
        ("pinecone.internal:8443", "https://pinecone.internal", "https://pinecone.internal:8443"),
        ("http://localhost:5081", "http://127.0.0.1:5080", "http://localhost:5081"),
    ],
)
def test_indexes_of_pinecone_and_of_the_configured_host_are_used(host: str, control_plane: str, url: str) -> None:
    assert index_address(host, control_plane) == url


@pytest.mark.parametrize(
    ("host", "control_plane"),
    [
        ("evil.example.com", CLOUD),
        ("evilpinecone.io", CLOUD),
        ("m.pinecone.io.example.com", CLOUD),
        ("m.svc.pinecone.io@example.com", CLOUD),
        ("example.com/m.svc.pinecone.io", CLOUD),
        ("http://m.svc.pinecone.io", CLOUD),
        ("http://127.0.0.1:5081", CLOUD),
        ("localhost.example.com", "http://localhost:5080"),
        ("other.internal", "https://pinecone.internal"),
        ("", CLOUD),
    ],
)
def test_any_other_host_is_refused(host: str, control_plane: str) -> None:
    with pytest.raises(DestinationError, match="Pinecone index"):
        index_address(host, control_plane)


def test_a_manifest_that_names_another_host_does_not_get_the_key_there(
    open_pinecone: Open, sandbox: Sandbox, postgres_url: str, schema: str
) -> None:
    open_pinecone().apply(batch(asset("a", feature("f"))))
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        (table,) = connection.execute(
            "SELECT table_name FROM information_schema.columns WHERE table_schema = %s AND column_name = 'host'",
            [schema],
        ).fetchall()
        connection.execute(f"UPDATE {schema}.{table[0]} SET host = 'https://evil.example.com'")
    with (
        closing(pinecone_destination(sandbox, postgres_url, schema)) as destination,
        pytest.raises(DestinationError, match=r"said to be at evil\.example\.com.*\nThe key was not sent there"),
    ):
        destination.search(SearchQuery(Modality.VIDEO, like="f"))


def test_a_host_whose_certificate_is_not_trusted_gets_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHTTPSVERIFY", "0")
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=_hear, args=(listener, self_signed_context(tmp_path), heard), daemon=True)
        thread.start()
        requests = Requests(f"https://127.0.0.1:{listener.getsockname()[1]}", "pc-key", WriterLimits())
        with (
            closing(requests),
            pytest.raises(DestinationError, match=r"certificate .* is not trusted.*\(.*self-signed"),
        ):
            requests.post(Write("writing", "/vectors/upsert", NOTHING), Body(NOTHING, []), 1)
        thread.join()
    assert heard == []


def _hear(listener: socket.socket, context: ssl.SSLContext, heard: list[bytes]) -> None:
    connection, _ = listener.accept()
    with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as encrypted:
        heard.append(encrypted.recv(1_000))
