"""Database addresses: accepted as libpq takes them, shown without their password. Nothing of one that cannot be read is
ever repeated, since nobody knows which part of it is the password."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr, ValidationInfo

from vectorferry.connector.plugin import ConfigurationError, Spelling

SchemaName = Annotated[
    str, Spelling(r"^[a-z_][a-z0-9_]{0,62}$", "up to 63 lowercase letters, digits and _, with no digit first")
]

_OURS: Final = "postgresql+psycopg://"
"""How SQLAlchemy spells it. libpq knows the other two."""
_URI: Final = re.compile(r"\s*[\w.+-]*://")
_POSTGRES: Final = re.compile(r"postgres(?:ql)?://")
_FORM: Final = "write postgresql://user:password@host:5432/database, or host=… dbname=… as psql takes it"

_HOST: Final = re.compile(r"[\w.-]+|[0-9A-Fa-f:.]+(?:%\w+)?|[/@][^\0]*")
"""A name, a number, or the directory of a socket (@: an abstract one)."""
_USER: Final = re.compile(r"[\w.@+$-]+")
_DATABASE: Final = re.compile(r"[\w. $+-]+")
_LARGEST_PORT: Final = 65_535
_HIDDEN: Final = "***"


@dataclass(frozen=True, slots=True)
class Address:
    """What an address says, by libpq's names of connection parameters:
    https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS."""

    parameters: Mapping[str, str] = field(repr=False)

    @property
    def shown(self) -> str:
        """Hosts, ports and database: enough to know which server is meant, nothing secret."""
        if "host" not in self.parameters and "hostaddr" not in self.parameters and "service" in self.parameters:
            return f"service {_if(_DATABASE, self.parameters['service'])}"
        hosts = self._list("host") or self._list("hostaddr") or ["localhost"]
        pairs = zip_longest(hosts, self._list("port")[: len(hosts)], fillvalue="")
        servers = ",".join(f"{host}:{port}" if port else host for host, port in pairs)
        return f"{servers}/{_if(_DATABASE, self.parameters.get('dbname', ''))}"

    @property
    def uri(self) -> str:
        """Hosts, ports and database as libpq would take them, without user, password and whatever else is set."""
        hosts = self._list("host") or self._list("hostaddr") or ["localhost"]
        pairs = zip_longest(map(_in_uri, hosts), self._list("port")[: len(hosts)], fillvalue="")
        servers = ",".join(f"{host}:{port}" if port else host for host, port in pairs)
        return f"postgresql://{servers}/{quote(_if(_DATABASE, self.parameters.get('dbname', '')), safe='')}"

    @property
    def conninfo(self) -> str:
        """For psycopg, with the password."""
        return make_conninfo("", **self.parameters)

    def without_doubtful(self, words: str) -> str:
        """What libpq or a server said, without names that look as if they were something else: they repeat those of
        users and databases, and where an address was put together wrongly, a part of the password stands there."""
        for name, form in (("user", _USER), ("dbname", _DATABASE)):
            value = self.parameters.get(name, "")
            if value and not form.fullmatch(value):
                words = words.replace(value, _HIDDEN)
        return words

    def _list(self, name: str) -> list[str]:
        """Several hosts are parted by commas."""
        return [part for part in self.parameters.get(name, "").split(",") if part]


def parse_url(text: str, key: str = "the `url`") -> Address:
    """What an address says; `key` is what an error calls it.

    Raises `ConfigurationError`, without repeating anything of the address.
    """
    text = text.strip()
    if text.startswith(_OURS):
        text = f"postgresql://{text.removeprefix(_OURS)}"
    if "\0" in text:  # libpq would read what is before it, which may be half of a password and no more an address
        raise ConfigurationError(f"{key} is no database address; {_FORM}")
    if _URI.match(text):
        _check_uri(text, key)
        text = text.replace(" ", "%20")  # which newer versions of libpq insist on
    try:
        parameters = conninfo_to_dict(text) if text else {}
    except psycopg.Error:
        raise ConfigurationError(f"{key} is no database address; {_FORM}") from None
    if not parameters and not text.startswith("postgres"):
        raise ConfigurationError(f"{key} is no database address; {_FORM}")
    address = Address({name: str(value) for name, value in parameters.items() if value is not None})
    _check(address, key)
    return address


EMBEDDED: Final = Path(".vectorferry/postgres")
"""Where an embedded Postgres is, unless something else is said."""


def say_directory(tree: Any, info: ValidationInfo) -> Any:
    """Settings with their default `directory` as if it had been written, so that it begins at the file, too."""
    folder = info.context.get("folder") if isinstance(info.context, Mapping) else None
    return {"directory": EMBEDDED, **tree} if folder is not None and isinstance(tree, Mapping) else tree


def holds_embedded(folder: Path) -> bool:
    """Whether an embedded Postgres has its data in this folder."""
    return (folder / "server.lock").exists() and (folder / "data" / "PG_VERSION").exists()


def check_url(url: SecretStr | None) -> SecretStr | None:
    """The address itself, for a settings class. Raises `ValueError` for one that `parse_url` refuses; one that names
    environment variables is looked at when they are known."""
    if url is not None and "${" not in url.get_secret_value():
        try:
            parse_url(url.get_secret_value(), "the address")
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
    return url


def _check_uri(text: str, key: str) -> None:
    """Refuse what libpq would read in another way than it was meant: to it, a user and a password end at the first @,
    and there are none behind the first /. What is left of a password would be a host's or a database's name."""
    if not _POSTGRES.match(text):
        raise ConfigurationError(f"{key} should start with postgresql://")
    server, _, database = text.partition("://")[2].partition("/")
    if server.count("@") > 1 or "@" in database.partition("?")[0]:
        raise ConfigurationError(f"{key} has an @ or a / too many: in a password, write them as %40 and %2F")
    if "@" not in server and any(host.endswith(":") for host in server.split(",")):
        # Or what was to be a user, and the database's name a password that begins with a slash.
        raise ConfigurationError(f"{key} has a : with no port behind it; {_FORM}")


def _check(address: Address, key: str) -> None:
    """libpq looks at hosts and ports when it connects only, and repeats them then."""
    hosts = f"{address.parameters.get('host', '')},{address.parameters.get('hostaddr', '')}"
    if not all(_HOST.fullmatch(host) for host in filter(None, hosts.split(","))):
        raise ConfigurationError(f"{key} is no database address: its host is none; {_FORM}")
    for port in filter(None, address.parameters.get("port", "").split(",")):
        if not (port.isdecimal() and port.isascii() and 0 < int(port) <= _LARGEST_PORT):
            raise ConfigurationError(f"{key} is no database address: its port is no number; {_FORM}")


def _in_uri(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith(("/", "@")) else quote(host, safe="")


def _if(form: re.Pattern[str], text: str) -> str:
    return text if not text or form.fullmatch(text) else _HIDDEN
