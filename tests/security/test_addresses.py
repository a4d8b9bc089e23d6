"""However malformed the address of a database is, no command tells a part of the password in it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from ..end_to_end.command import KEY, Command
from ..examples import family

WORDS: Final = ("kept4Secret", "Zebra99")
ADDRESSES: Final = (
    f"postgresql://ada:p@{WORDS[0]}/{WORDS[1]}@127.0.0.1:1/media",
    f"postgresql://ada:{WORDS[0]}/{WORDS[1]}@127.0.0.1:1/media",
    f"postgresql://ada:12/{WORDS[0]}{WORDS[1]}@127.0.0.1:1/media",
    f"postgresql://ada%3A{WORDS[0]}:{WORDS[1]}@127.0.0.1:1/media",
    f"postgresql:ada:{WORDS[0]}{WORDS[1]}@127.0.0.1:1/media",
    f"host=127.0.0.1 port=1 password={WORDS[0]} {WORDS[1]} dbname=media",
)
COMMANDS: Final = (
    *("sync", "plan", "status", "verify", "search --like f", "quarantine list", "quarantine replay", "vectors list"),
    "refill pgvector --from other",
)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("written", family(["in a variable", "in the file"]))
def test_no_command_tells_a_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, written: str
) -> None:
    monkeypatch.setenv("VECTORFERRY_DEBUG", "1")
    for address in ADDRESSES:
        monkeypatch.setenv("DATABASE_URL", address)
        url = address if written == "in the file" else "${DATABASE_URL}"
        vectorferry = Command(tmp_path)
        vectorferry.configure(
            {
                "name": "media",
                "source": {"type": "mixpeek", "api_key": KEY, "base_url": "http://127.0.0.1:1"},
                "destinations": [
                    {"type": "pgvector", "url": url},
                    {"type": "pinecone", "host": "http://127.0.0.1:1", "api_key": KEY, "manifest": {"url": url}},
                    {"type": "pgvector", "name": "other", "url": url, "schema": "other"},
                ],
            }
        )
        result = vectorferry.run(command)
        assert result.exit_code in {1, 2}, result.output
        assert [word for word in WORDS if word in result.output] == [], (address, result.output)
