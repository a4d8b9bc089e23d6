"""Services that mean harm, or are only careless: they give back what they were given, the key first of all."""

from __future__ import annotations

import json
import socketserver
import struct
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import quote

__all__ = ["echoing_service", "refusing_postgres"]


class _Echo(BaseHTTPRequestHandler):
    """The first segment of the path says how: ``/401/json/…`` answers 401 with the key in JSON."""

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Whatever the method."""
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        _, status, form, *_ = self.path.split("/")
        sent = (self.headers.get(name) for name in ("Authorization", "Api-Key", "x-api-key"))
        key = next(filter(None, sent), "").removeprefix("Bearer ")
        body = {
            "json": json.dumps({"error": {"message": f"{key} is no key", "code": key}, "detail": key}),
            "html": f"<html><title>{key}</title>Not with {quote(key)}.</html>",
            "text": f"no entry with {key}",
            "address": f"see https://example.com/?key={quote(key, safe='')}",
            "base64": json.dumps({"message": f"Basic {b64encode(key.encode()).decode()} is refused"}),
        }[form].encode()
        self.send_response_only(int(status), f"Not {quote(key)}")
        for name, value in (
            ("Location", f"https://{quote(key)}:{quote(key)}@{quote(key, safe='')}.example.com/{key}"),
            ("Content-Type", f"text/{'html' if form == 'html' else 'plain'}; echo={quote(key)}"),
            ("X-Echo", key),
            ("Set-Cookie", f"key={quote(key)}"),
            ("Content-Length", str(len(body))),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _RefusingPostgres(socketserver.StreamRequestHandler):
    """Asks for the password in the clear, and refuses it."""

    def handle(self) -> None:
        while True:
            (length,) = struct.unpack("!I", self.rfile.read(4))
            if int.from_bytes(self.rfile.read(length - 4)[:4], "big") >> 16 == 3:
                break
            self.wfile.write(b"N")  # no encryption here
        self.wfile.write(b"R" + struct.pack("!II", 8, 3))
        (length,) = struct.unpack("!xI", self.rfile.read(5))
        self.rfile.read(length - 4)
        said = b'SFATAL\0C28P01\0Mpassword authentication failed for user "ferry"\0\0'
        self.wfile.write(b"E" + struct.pack("!I", len(said) + 4) + said)


class _Threading(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Clients hang up."""


@contextmanager
def echoing_service() -> Iterator[str]:
    """Its address; a status and a form follow in the path."""
    with _running(ThreadingHTTPServer(("127.0.0.1", 0), _Echo)) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def refusing_postgres() -> Iterator[int]:
    """Its port on loopback."""
    with _running(_Threading(("127.0.0.1", 0), _RefusingPostgres)) as port:
        yield port


@contextmanager
def _running(server: socketserver.TCPServer) -> Iterator[int]:
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
