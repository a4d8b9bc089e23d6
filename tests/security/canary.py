"""Secrets that nothing else looks like, and finding them in whatever form they come out."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, quote_plus

import psycopg
from psycopg import sql

__all__ = ["DATABASE", "PINECONE", "PROXY", "SECRETS", "SOURCE", "WORD", "leaks", "stored", "written"]

SOURCE: Final = "sk_canary/7f3a+9c&41"
"""Of the source. It looks different in an address, in JSON and in HTML."""

PINECONE: Final = 'pcsk_canary"51+d0/8e'
DATABASE: Final = "pw canary@62:ä/%b7"

PROXY: Final = "px-9d2f-harbour"
"""Nothing of it is in a key: what looks like a part of one is blotted out anyway."""

WORD: Final = "tlk_canary8E2b7f3a9c41d0"
"""One that could be a name, too: of a key in a file, or of an environment variable."""

SECRETS: Final = {
    "the source's key": SOURCE,
    "Pinecone's key": PINECONE,
    "the database's password": DATABASE,
    "a proxy's password": PROXY,
    "a key in the wrong place": WORD,
}

Connection = psycopg.Connection[Any]


def leaks(text: str | bytes) -> list[str]:
    """Which secrets stand in a text, and in what form."""
    held = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return [f"{whose} ({how})" for whose, how, form in _FORMS if form in held]


def written(directory: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a directory that can be read, by name."""
    for path in sorted(directory.rglob("*")):
        if path.is_file() and not path.is_symlink():
            yield str(path.relative_to(directory)), path.read_bytes()


def stored(connection: Connection) -> Iterator[tuple[str, str]]:
    """Every row of every table that is not Postgres' own, by table; and what is said about the sessions."""
    tables = connection.execute(
        "SELECT schemaname, tablename FROM pg_tables "
        "WHERE schemaname NOT IN ('pg_catalog', 'information_schema') AND schemaname NOT LIKE 'pg_%'"
    ).fetchall()
    for schema, table in [*tables, ("pg_catalog", "pg_stat_activity"), ("pg_catalog", "pg_description")]:
        rows = connection.execute(
            sql.SQL("SELECT row_to_json(t)::text FROM {} t").format(sql.Identifier(schema, table))
        )
        yield f"{schema}.{table}", "\n".join(row[0] for row in rows)


def _forms(secret: str) -> Mapping[str, bytes]:
    raw = secret.encode()
    return {
        "plain": raw,
        "in latin-1": secret.encode("latin-1"),
        "in an address": quote(secret, safe="").encode(),
        "in a path": quote(secret).encode(),
        "in a query": quote_plus(secret).encode(),
        "in JSON": json.dumps(secret)[1:-1].encode(),
        "in JSON as UTF-8": json.dumps(secret, ensure_ascii=False)[1:-1].encode(),
        "in HTML": escape(secret).encode(),
        "as Python shows it": repr(raw)[2:-1].encode(),
        **{f"in base64, {at} on": b64encode(bytes(at) + raw)[4 if at else 0 : -4] for at in range(3)},
        **{f"in URL-safe base64, {at} on": urlsafe_b64encode(bytes(at) + raw)[4 if at else 0 : -4] for at in range(3)},
        "in hexadecimal": raw.hex().encode(),
        "its beginning": raw[:14],
    }


_FORMS: Final = [(whose, how, form) for whose, secret in SECRETS.items() for how, form in _forms(secret).items()]
