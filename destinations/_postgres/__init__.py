"""Keeping books in a Postgres: what the pgvector destination and the Pinecone manifest have in common."""

from ._copy import upsert_rows
from ._cursors import cursor_table, forget_cursors, read_cursor, write_cursor
from ._database import Database, driver_of
from ._ddl import add_column, check_encoding, create_missing, lacking_columns, lock_ddl
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
from ._quarantine import (
    count_rejected,
    delete_rejected,
    is_storable,
    mark_kept,
    read_rejected,
    replace_rejected,
    unread_assets,
)
from ._rights import check_rights, statement, told_as, why_refused
from ._server import PostgresServer
from ._tables import ID, ledger_table, of_assets, quarantine_table, quarantined_parts
from ._url import Address, SchemaName, check_url, parse_url
from ._wire import Dumpers
from ._writing import delete_assets, delete_keys, held_hashes, send

__all__ = [
    "ID",
    "Address",
    "Database",
    "Dumpers",
    "FeatureKey",
    "PostgresServer",
    "Row",
    "SchemaName",
    "TableDiff",
    "WantedRows",
    "add_column",
    "check_encoding",
    "check_rights",
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
    "is_storable",
    "known_assets",
    "lacking_columns",
    "ledger_hashes",
    "ledger_rows",
    "ledger_table",
    "lock_ddl",
    "looking",
    "mark_kept",
    "of_assets",
    "origin_table",
    "parse_url",
    "quarantine_table",
    "quarantined_parts",
    "read_cursor",
    "read_origin",
    "read_rejected",
    "recorded_features",
    "refusal",
    "replace_rejected",
    "send",
    "statement",
    "statements_to_create",
    "told_as",
    "translate",
    "translated",
    "try_alone",
    "unread_assets",
    "upsert_rows",
    "why_refused",
    "write_cursor",
    "write_origin",
]
