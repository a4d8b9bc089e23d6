"""Addresses as libpq takes them, and nothing of a password in whatever is said about one."""

from __future__ import annotations

import re
from typing import Final

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vectorferry.connector.plugin import ConfigurationError, VectorferryError
from vectorferry.destinations._postgres import Database, parse_url, translated

WORDS: Final = ("kept4Secret", "7hidden7", "Zebra99")
"""What a password is put together of: whichever of them comes out, a part of it has."""

SHAPES: Final = (
    "postgresql://ada:{}@127.0.0.1:1/media",
    "postgresql://ada:{}@127.0.0.1:1",
    "postgresql://ada:{}@/media?host=/nowhere",
    "postgres://ada:{}@127.0.0.1:1,127.0.0.1:2/media?target_session_attrs=any",
    "postgresql+psycopg://ada:{}@127.0.0.1:1/media",
    "postgresql:/ada:{}@127.0.0.1/media",
    "postgresql//ada:{}@127.0.0.1/media",
    "postgresql:ada:{}@127.0.0.1/media",
    "postgresql://ada%3A{}@127.0.0.1:1/media",
    "postgresql://ada:{}127.0.0.1:1/media",
    "postgresql://ada:{}",
    "postgresql://ada:{}@127.0.0.1:1:2/media",
    "postgresql://ada:{}@[::1/media",
    "postgresql://ada:{}@127.0.0.1:1/media?sslmode",
    "postgresql://ada:{}@127.0.0.1:1/media?nosuch={}",
    " postgresql://ada:{}@127.0.0.1:1/media\n",
    '"postgresql://ada:{}@127.0.0.1:1/media"',
    "psql postgresql://ada:{}@127.0.0.1:1/media",
    "DATABASE_URL=postgresql://ada:{}@127.0.0.1:1/media",
    "jdbc:postgresql://127.0.0.1:1/media?user=ada&password={}",
    "mysql://ada:{}@127.0.0.1/media",
    "ada:{}@127.0.0.1/media",
    "host=127.0.0.1 port=1 user=ada password={} dbname=media",
    "host=127.0.0.1 port=1 user=ada password='{}' dbname=media",
    "host=127.0.0.1 port=1 user=ada:{} dbname=media",
    "host=postgresql://ada:{}@127.0.0.1:1/media",
    "dbname=postgresql://ada:{}@127.0.0.1:1/media",
    "host=127.0.0.1;port=1;user=ada;password={}",
    "{}",
)
SPECIAL: Final = "@/:?#%&=[]\\'\" ,;+$!|\t\n\0é"
passwords = st.lists(st.text(SPECIAL, max_size=3), min_size=4, max_size=4).map(
    lambda parts: parts[0] + "".join(word + part for word, part in zip(WORDS, parts[1:], strict=True))
)


@given(st.sampled_from(SHAPES), passwords)
@example("postgresql://ada:{}@127.0.0.1:1/media", f"p@{WORDS[0]}/{WORDS[1]}")
@example("postgresql://ada:{}@127.0.0.1:1/media", f"12/{WORDS[0]}")
@example("postgresql://ada:{}@127.0.0.1:1/media", f"12/?user={WORDS[0]}")
@example("postgresql://ada:{}127.0.0.1:1/media", f"{WORDS[0]}@{WORDS[1]}")
@example("postgresql://ada:{}", f"{WORDS[0]}@{WORDS[1]}")
@example("postgresql://ada:{}", f"/{WORDS[0]}")
@example("postgresql://ada:{}@127.0.0.1:1/media", f",{WORDS[0]}\0")
def test_nothing_of_a_password_is_told(shape: str, password: str) -> None:
    """Neither by us, nor in the words of libpq or of a server, which repeat names."""
    # Where an address lacks its @, the only one of a password takes its place: what follows is a host, as in any other
    # address, and nothing tells that it was meant otherwise. What stands before it is secret all the same.
    takes_its_place = shape.startswith("postgresql://") and "@" not in shape and password.count("@") == 1
    secret = password.partition("@")[0] if takes_its_place else password
    said = []
    try:
        address = parse_url(shape.replace("{}", password), "the `url`")
    except ConfigurationError as error:
        said.append(str(error))
    else:
        words = [f'FATAL: role "{address.parameters.get(name)}" does not exist' for name in ("user", "dbname")]
        said += [address.shown, repr(address), *map(address.without_doubtful, words)]
    assert [word for word in WORDS if word in secret for each in said if word in each] == []


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_of_a_password_is_told_by_a_connection(shape: str) -> None:
    password = f"{WORDS[0]}:{WORDS[1]}"
    with pytest.raises(VectorferryError) as caught:
        connect(shape.replace("{}", password))
    assert [word for word in WORDS if word in str(caught.value)] == []


def connect(url: str) -> None:
    """As a destination does."""
    address = parse_url(url)
    with translated(address.shown, clean=address.without_doubtful), Database(address).plain_transaction():
        pass


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ada@db.example.com/media", "db.example.com/media"),
        ("postgres://ada:pw@db.example.com:6432/media", "db.example.com:6432/media"),
        ("postgresql://one:1,two:2/media?target_session_attrs=read-write", "one:1,two:2/media"),
        ("postgresql://one,two/media", "one,two/media"),
        ("postgresql://[2001:db8::1]:5433/media", "2001:db8::1:5433/media"),
        ("postgresql://ada@%2Fvar%2Frun%2Fpostgresql/media", "/var/run/postgresql/media"),
        ("postgresql:///media?host=/var/run/postgresql&port=6432", "/var/run/postgresql:6432/media"),
        ("postgresql:///media?user=ada@tenant&host=db", "db/media"),
        ("host=db.example.com dbname=media user=ada", "db.example.com/media"),
        ("host=one,two port=1,2 dbname='my media'", "one:1,two:2/my media"),
        ("hostaddr=10.0.0.1 dbname=media", "10.0.0.1/media"),
        ("service=media", "service media"),
        ("postgresql://ada:a b%20c@db/my media", "db/my media"),
        ("postgresql://", "localhost/"),
    ],
)
def test_every_form_is_read_and_shown(text: str, shown: str) -> None:
    address = parse_url(text)
    assert address.shown == shown
    assert psycopg.conninfo.conninfo_to_dict(address.conninfo) == address.parameters


@pytest.mark.parametrize("text", ["", " ", "media", "postgresql://db:port/media", "postgresql://db:99999/media", "\0"])
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape("the `url` is no database address")):
        parse_url(text)


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("postgresql://user:canary@db.example:5432/media?sslmode=require", "postgresql://db.example:5432/media"),
        ("host=/run/postgresql dbname='my media' password=canary", "postgresql://%2Frun%2Fpostgresql/my%20media"),
        ("postgresql://user:canary@[::1]:5432,b.example:6432/media", "postgresql://[::1]:5432,b.example:6432/media"),
    ],
)
def test_a_uri_tells_where_and_nothing_secret(text: str, uri: str) -> None:
    assert parse_url(text).uri == uri
