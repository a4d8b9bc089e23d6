"""Whoever looks cannot write, whatever they try."""

from __future__ import annotations

from contextlib import closing

import pytest
import sqlalchemy.exc
from sqlalchemy import text

from vectorferry.destinations._postgres import READ_ONLY, Database, parse_url


@pytest.mark.parametrize("write", ["CREATE TABLE looked (n int)", "CREATE SCHEMA looked", "DROP SCHEMA public"])
def test_postgres_refuses_every_write_of_one_who_looks(postgres_url: str, write: str) -> None:
    with closing(Database(parse_url(postgres_url))) as database:
        with (
            pytest.raises(sqlalchemy.exc.DBAPIError, match="read-only transaction"),
            database.plain_transaction(READ_ONLY) as connection,
        ):
            connection.execute(text(write))
        with database.plain_transaction(READ_ONLY) as connection:
            assert connection.execute(text("SELECT 1")).scalar_one() == 1
