"""A connection over TLS that is not made: what a person reads of it at night, and what they can do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from vectorferry.connector.plugin import DestinationError
from vectorferry.destinations._postgres import Database, parse_url
from vectorferry.destinations._postgres._errors import translated

from ...certificates import CERTIFICATE, KEY, self_signed
from ...pgbouncer import pgbouncer

VERIFIED: Final = "sslmode=verify-full&sslrootcert="
NAMES: Final = ("IP:127.0.0.1", "DNS:db.example")


@pytest.fixture(scope="module")
def certificates() -> Iterator[dict[str, Path]]:
    """By the name that they are for: a directory that a pool's user can read."""
    with TemporaryDirectory() as parent:
        Path(parent).chmod(0o711)
        directories = {name: Path(parent) / str(number) for number, name in enumerate(NAMES)}
        for name, directory in directories.items():
            directory.mkdir(mode=0o755)
            self_signed(directory, name)
            (directory / KEY).chmod(0o644)
        yield directories


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "asked", "told"),
    [
        ("IP:127.0.0.1", f"{VERIFIED}{{own}}", None),
        ("IP:127.0.0.1", f"{VERIFIED}{{other}}", "has expired, or is none of the authority"),
        ("IP:127.0.0.1", f"{VERIFIED}/not/there.pem", "sslrootcert=FILE, or sslrootcert=system"),
        ("IP:127.0.0.1", "sslmode=disable", "without TLS. Put sslmode=verify-full"),
        ("IP:127.0.0.1", "sslmode=full", "Put one of disable, allow"),
        ("DNS:db.example", f"{VERIFIED}{{own}}", "a host name that the server's certificate is for"),
        (None, f"{VERIFIED}{{own}}", "Have the server, or the pool in between, take TLS"),
    ],
)
def test_what_is_wrong_with_it(
    postgres_url: str,
    passable_path: Path,
    certificates: dict[str, Path],
    name: str | None,
    asked: str,
    told: str | None,
) -> None:
    own, other = (certificates[each] / CERTIFICATE for each in ((name, NAMES[1]) if name else NAMES))
    key, mode = own.with_name(KEY), "require" if name else "disable"
    tls = {"client_tls_sslmode": mode, "client_tls_cert_file": str(own), "client_tls_key_file": str(key)}
    with pgbouncer(postgres_url, passable_path, 1, "session", **tls) as pool:
        address = parse_url(f"{pool}?{asked.format(own=own, other=other)}")
        with closing(Database(address)) as database:
            if told is None:
                with database.plain_transaction() as connection:
                    assert connection.exec_driver_sql("SELECT 1").scalar_one() == 1
                return
            with pytest.raises(DestinationError) as caught, translated("here"), database.plain_transaction():
                pass
    assert told in str(caught.value)
