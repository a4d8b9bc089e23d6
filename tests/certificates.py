"""A certificate for loopback that nobody else signed."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

__all__ = ["CERTIFICATE", "KEY", "self_signed", "self_signed_context"]

CERTIFICATE, KEY = "certificate.pem", "key.pem"


def self_signed(directory: Path, name: str = "IP:127.0.0.1") -> None:
    """Make `CERTIFICATE` and `KEY` in this directory, for a server of this name."""
    key, certificate = directory / KEY, directory / CERTIFICATE
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=server"
        f" -addext subjectAltName={name} -keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )


def self_signed_context(directory: Path) -> ssl.SSLContext:
    """A server's side of TLS; its certificate is in `CERTIFICATE` of this directory."""
    self_signed(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / CERTIFICATE, directory / KEY)
    return context
