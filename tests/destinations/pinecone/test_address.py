"""Which hosts get the key: Pinecone's, and the one that was configured."""

from __future__ import annotations

import socket
import ssl
import traceback
from base64 import b64encode
from contextlib import closing, suppress
from pathlib import Path
from threading import Thread

import httpcore
import httpx
import psycopg
import pytest

from vectorferry.connector.http import environment_proxy
from vectorferry.connector.plugin import ConfigurationError, DestinationError, Modality, RetryableError, SearchQuery
from vectorferry.connector.sandbox import Sandbox
from vectorferry.destinations.pinecone._bodies import Body, Envelope
from vectorferry.destinations.pinecone._errors import index_address
from vectorferry.destinations.pinecone._manifest_tables import IndexRow
from vectorferry.destinations.pinecone._project import Project, ProjectSettings
from vectorferry.destinations.pinecone._requests import Requests, Write, WriterLimits

from ...builders import asset, batch, feature
from ...certificates import self_signed_context
from ...pinecone import pinecone_destination
from ...urls import PROXY_SECRETS, UNUSABLE_PROXIES, set_proxies
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


@pytest.mark.long
def test_the_project_is_asked_by_way_of_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=_refuse, args=(listener, heard), daemon=True).start()
        set_proxies(monkeypatch, HTTPS_PROXY=f"http://us%C3%A9r:p@127.0.0.1:{listener.getsockname()[1]}")
        with closing(_project()) as project, pytest.raises(RetryableError, match="403"):
            project.indexes(())
        listener.shutdown(socket.SHUT_RDWR)
    assert heard[0].startswith(b"CONNECT api.pinecone.io:443 ")
    assert b64encode("usér:p".encode()) in heard[0]
    assert b"pc-key" not in b"".join(heard)


@pytest.mark.parametrize(
    ("url", "variables", "proxy"),
    [
        (CLOUD, {}, None),
        (CLOUD, {"ALL_PROXY": "10.0.0.1:3128"}, "http://10.0.0.1:3128"),
        (CLOUD, {"ALL_PROXY": "http://all", "HTTPS_PROXY": "http://u:p@https"}, "http://https"),
        (CLOUD, {"HTTPS_PROXY": "http://proxy", "NO_PROXY": "localhost,.pinecone.io"}, None),
        (CLOUD, {"HTTPS_PROXY": "http://proxy", "NO_PROXY": "pinecone.io:8443"}, "http://proxy"),
        ("https://[::1]:8443", {"HTTPS_PROXY": "http://proxy", "NO_PROXY": "::1"}, None),
        ("http://127.0.0.1:9", {"HTTP_PROXY": "http://proxy", "ALL_PROXY": "http://proxy"}, None),
    ],
)
def test_a_proxy_is_for_encrypted_requests(
    monkeypatch: pytest.MonkeyPatch, url: str, variables: dict[str, str], proxy: str | None
) -> None:
    set_proxies(monkeypatch, **variables)
    environment = environment_proxy(url)
    assert (environment and str(environment.url)) == proxy
    assert environment is None or environment.raw_auth == ((b"u", b"p") if "u:p" in str(variables) else None)


@pytest.mark.parametrize("proxy", ["gopher://127.0.0.1:70", "socks5://127.0.0.1:1080", *UNUSABLE_PROXIES])
def test_no_part_of_a_proxys_password_is_shown(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    set_proxies(monkeypatch, HTTPS_PROXY=proxy)
    for opening in (_project, lambda: Requests(CLOUD, "pc-key", WriterLimits())):
        with pytest.raises(ConfigurationError, match="HTTPS_PROXY") as caught:
            opening()
        printed = "".join(traceback.format_exception(caught.value)) + repr(caught.value.__context__)
        assert [secret for secret in PROXY_SECRETS if secret in printed] == []


@pytest.mark.parametrize("exempt", ["api.pinecone.io", ".svc.aped-1.pinecone.io"])
def test_each_host_is_asked_by_the_way_that_the_environment_names_for_it(
    monkeypatch: pytest.MonkeyPatch, exempt: str
) -> None:
    set_proxies(monkeypatch, HTTPS_PROXY="http://ferry-user:ferry-pass@proxy.example:3128", NO_PROXY=exempt)
    row = IndexRow("m", "text", 8, "cosine", "m.svc.aped-1.pinecone.io")
    with closing(_project()) as project:
        control_plane, index = project._sdk._config, project.reader(row)._sdk._config
        writer = project.writer(row)._requests._client._transport_for_url(httpx.URL(f"https://{row.host}/"))
    by_proxy = {"api.pinecone.io": (False, True), ".svc.aped-1.pinecone.io": (True, False)}[exempt]
    assert (bool(control_plane.proxy_url), bool(index.proxy_url)) == by_proxy
    assert isinstance(writer, httpx.HTTPTransport)
    assert isinstance(writer._pool, httpcore.HTTPProxy) == by_proxy[1]
    assert "ferry-pass" not in repr(control_plane) + repr(index)


def test_the_authorities_that_all_writers_of_a_project_trust_are_read_once() -> None:
    rows = [IndexRow(name, "text", 8, "cosine", f"{name}.svc.aped-1.pinecone.io") for name in ("m", "n")]
    with closing(_project()) as project:
        transports = [project.writer(row)._requests._client._transport for row in rows]
    trusted = [each._pool._ssl_context for each in transports if isinstance(each, httpx.HTTPTransport)]
    assert len(trusted) == len(rows)
    assert trusted[0] is trusted[1]


def _project() -> Project:
    return Project(ProjectSettings("pc-key", CLOUD, "media", "aws", "us-east-1", WriterLimits()))


def _refuse(listener: socket.socket, heard: list[bytes]) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            with connection:
                heard.append(connection.recv(1_000))
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
