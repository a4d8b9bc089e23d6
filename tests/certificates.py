"""A certificate for loopback that nobody else signed."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

__all__ = ["CERTIFICATE", "self_signed_context"]

CERTIFICATE = "certificate.pem"


def self_signed_context(directory: Path) -> ssl.SSLContext:
    """A server's side of TLS; its certificate is in `CERTIFICATE` of this directory."""
    key, certificate = directory / "key.pem", directory / CERTIFICATE
    subprocess.run(
        f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=127.0.0.1"
        f" -addext subjectAltName=IP:127.0.0.1 -keyout {key} -out {certificate}".split(),
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
