"""The described account: films, lectures, and an older index of some of the films under an older model."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from threading import RLock

from vectorferry.connector.sandbox._settings import TwelveLabsDialect
from vectorferry.connector.sandbox._twelvelabs._account import Account
from vectorferry.connector.sandbox._twelvelabs._filming import Film, Model
from vectorferry.connector.sandbox._twelvelabs._reels import films, lectures
from vectorferry.connector.sandbox._twelvelabs._sample_entities import describe_entities
from vectorferry.connector.sandbox._twelvelabs._sample_tasks import described_tasks
from vectorferry.connector.sandbox._twelvelabs._things import Index, IndexedAsset, Upload, object_id

__all__ = ["described_account"]

_OPENED = datetime(2026, 3, 2, 8, 0, 0, 137_000, UTC)
_STEP = timedelta(minutes=17, seconds=4, milliseconds=331)
_UNREADY = {7: "pending", 18: "queued", 29: "indexing", 40: "failed", 51: "validating", 63: "failed"}
_ARCHIVED = 12


def described_account(dialect: TwelveLabsDialect, lock: RLock | None = None) -> Account:
    """`films` has more than one page; some of what is in it is unfinished or failed, some is silent or only heard."""
    account = Account(lock)
    new, old = Model("marengo3.0", 512), Model("marengo2.7", 1024)
    _fill(account, _index("films", new, 0), films(new), dialect, _UNREADY)
    _fill(account, _index("lectures", new, 30), lectures(new), dialect)
    _fill(account, _index("archive", old, -300), films(old)[:_ARCHIVED], dialect)
    if dialect.second_dimension is not None:
        small = Model(new.name, dialect.second_dimension)
        _fill(account, _index("films-small", small, 60), films(small)[:_ARCHIVED], dialect)
    account.embed_tasks = {task.task_id: task for task in described_tasks()}
    describe_entities(account)
    return account


def _index(name: str, model: Model, days: int) -> Index:
    opened = _OPENED + timedelta(days=days)
    return Index(object_id("index", name), name, model.name, model.options, model.dimension, opened, opened)


def _fill(
    account: Account,
    index: Index,
    reel: Iterable[Film],
    dialect: TwelveLabsDialect,
    unready: dict[int, str] | None = None,
) -> None:
    account.add_index(index)
    for number, made in enumerate(reel):
        uploaded = account.uploads.setdefault(made.asset_id, _uploaded(made, index.created_at + number * _STEP))
        state = (unready or {}).get(number, "ready")
        status = dialect.unready_status or state if state != "ready" else state
        account.add(_indexed(made, index, uploaded, index.created_at + (number + 1) * _STEP, status))
        index.updated_at = index.created_at + (number + 2) * _STEP


def _uploaded(made: Film, created_at: datetime) -> Upload:
    return Upload(
        made.asset_id,
        made.filename,
        made.file_type,
        created_at,
        url=made.url,
        size=made.system_metadata["size"],
        duration=made.system_metadata["duration"],
        spoken=made.spoken,
    )


def _indexed(made: Film, index: Index, upload: Upload, created_at: datetime, status: str) -> IndexedAsset:
    done = created_at + timedelta(minutes=5, seconds=56, milliseconds=377)
    ready = status == "ready"
    return IndexedAsset(
        object_id("indexed asset", index.index_id, upload.asset_id),
        index.index_id,
        upload.asset_id,
        created_at,
        done if ready else created_at,
        status,
        done if ready else None,
        made.system_metadata,
        dict(made.user_metadata),
        made.segments,
        made.spoken,
        made.stream,
    )
