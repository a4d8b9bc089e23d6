"""Keeping books in a Postgres: what the pgvector destination and the Pinecone manifest have in common."""

from ._copy import upsert_rows
from ._cursors import cursor_table, forget_cursors, read_cursor, write_cursor
from ._database import Database, driver_of
from ._ddl import check_encoding, create_missing, lock_ddl
from ._diff import FeatureKey, Row, TableDiff, WantedRows, diff_table
from ._errors import refusal, translate, translated
from ._ledger import (
    forget_fingerprints,
    forget_unread,
    held_asset_ids,
    held_collections,
    known_assets,
    ledger_hashes,
    ledger_rows,
    recorded_features,
)
from ._locks import collection_lock, try_alone
from ._origins import origin_table, read_origin, write_origin
from ._planned import looking, statements_to_create
from ._quarantine import count_rejected, delete_rejected, read_rejected, replace_rejected
from ._server import PostgresServer
from ._tables import ID, ledger_table, of_assets, quarantine_table
from ._url import check_url, parse_url
from ._wire import Dumpers
from ._writing import delete_assets, delete_keys, held_hashes, send

__all__ = [
    "ID",
    "Database",
    "Dumpers",
    "FeatureKey",
    "PostgresServer",
    "Row",
    "TableDiff",
    "WantedRows",
    "check_encoding",
    "check_url",
    "collection_lock",
    "count_rejected",
    "create_missing",
    "cursor_table",
    "delete_assets",
    "delete_keys",
    "delete_rejected",
    "diff_table",
    "driver_of",
    "forget_cursors",
    "forget_fingerprints",
    "forget_unread",
    "held_asset_ids",
    "held_collections",
    "held_hashes",
    "known_assets",
    "ledger_hashes",
    "ledger_rows",
    "ledger_table",
    "lock_ddl",
    "looking",
    "of_assets",
    "origin_table",
    "parse_url",
    "quarantine_table",
    "read_cursor",
    "read_origin",
    "read_rejected",
    "recorded_features",
    "refusal",
    "replace_rejected",
    "send",
    "statements_to_create",
    "translate",
    "translated",
    "try_alone",
    "upsert_rows",
    "write_cursor",
    "write_origin",
]
