"""The described account: films, lectures, and an older index of some of the films under an older model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import chain
from threading import RLock

from connector.sandbox._catalogue import lesson_shots, podcast_shots, product_shots, video_shots
from connector.sandbox._settings import TwelveLabsDialect
from connector.sandbox._shots import Shot
from connector.sandbox._twelvelabs._account import Account
from connector.sandbox._twelvelabs._filming import Film, film
from connector.sandbox._twelvelabs._sample_entities import describe_entities
from connector.sandbox._twelvelabs._sample_tasks import described_tasks
from connector.sandbox._twelvelabs._things import Index, IndexedAsset, Upload, object_id

__all__ = ["ARCHIVE", "FILMS", "LECTURES", "described_account"]

FILMS = object_id("index", "films")
LECTURES = object_id("index", "lectures")
ARCHIVE = object_id("index", "archive")

_OPENED = datetime(2026, 3, 2, 8, 0, 0, 137_000, UTC)
_STEP = timedelta(minutes=17, seconds=4, milliseconds=331)
_UNREADY = {7: "pending", 18: "queued", 29: "indexing", 40: "failed", 51: "validating", 63: "failed"}
_ARCHIVED = 12


def described_account(dialect: TwelveLabsDialect, lock: RLock | None = None) -> Account:
    """`films` has more than one page; some of what is in it is unfinished or failed, some is silent or only heard."""
    account = Account(lock)
    films = list(chain(video_shots(), _silent(), podcast_shots()))
    lectures = [shot for shot in lesson_shots() if shot.modality in {"video", "audio"}]
    _fill(account, _index(FILMS, "films", "marengo3.0", 512, 0), films, dialect, _UNREADY)
    _fill(account, _index(LECTURES, "lectures", "marengo3.0", 512, 30), lectures, dialect)
    _fill(account, _index(ARCHIVE, "archive", "marengo2.7", 1024, -300), films[:_ARCHIVED], dialect)
    if dialect.second_dimension is not None:
        second = _index(object_id("index", "films-small"), "films-small", "marengo3.0", dialect.second_dimension, 60)
        _fill(account, second, films[:_ARCHIVED], dialect)
    account.embed_tasks = {task.task_id: task for task in described_tasks()}
    describe_entities(account)
    return account


def _silent() -> Iterator[Shot]:
    for shot in product_shots():
        if shot.slug.endswith("-1"):
            yield shot._replace(modality="video", slug=f"{shot.slug}-turning")


def _index(index_id: str, name: str, model_name: str, dimension: int, days: int) -> Index:
    opened = _OPENED + timedelta(days=days)
    return Index(index_id, name, model_name, ("visual", "audio"), dimension, opened, opened)


def _fill(
    account: Account,
    index: Index,
    shots: Iterable[Shot],
    dialect: TwelveLabsDialect,
    unready: dict[int, str] | None = None,
) -> None:
    account.add_index(index)
    for number, shot in enumerate(shots):
        made = film(shot, index)
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
